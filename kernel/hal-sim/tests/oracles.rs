//! Each oracle catches what it is for: a small driver of the edu model, right or with one planted fault, below the
//! framework.

use hal_sim::{
    Device, Explorer, Failure, FaultKind, Granularity, LineInput, Setup, StandInCell, Stats, Switcher, model::Edu,
    platform,
};
use io::{Bus, Grant, Line, LineSource, PciDevice, Polarity, Trigger};
use ke::{
    At, Claim, Connection, Dirql, Dispatch, DmaBuffer, Event, Interrupt, InterruptLock, Mmio, Mode, Passive,
    ServiceRoutine, Source, SpinLock,
    hal::MsiMessage,
    thread::{self, ThreadOptions},
};
use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

const VECTOR: u8 = 0x51;
/// A line to which nobody is wired.
const GSI: u32 = 9;

/// What is wrong with a run of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    ClearAfterStart,
    NoAcknowledge,
    ForgottenGuard,
    DisconnectedOnly,
    PanicInIsr,
    PanicInDpc,
}

struct Board {
    pci: Arc<PciDevice>,
    registers: Mmio,
}

/// What the callbacks share: alive while the interrupt is connected.
struct Edu5 {
    board: Board,
    done: Event,
}

impl Edu5 {
    fn register(&self, offset: usize) -> ke::Register<u32> {
        self.board.registers.register(offset).expect("edu has this register")
    }
}

struct Handler {
    fault: Fault,
}

impl ServiceRoutine for Handler {
    type State = u32;
    type Level = Dirql;
    type Context = Arc<Edu5>;

    fn service(&self, edu: &Arc<Edu5>, pending: &mut u32, this: &Interrupt<Self>, at: &mut At<'_, Dirql>) -> Claim {
        let status = edu.register(0x24).read(at);
        if status == 0 {
            return Claim::NotMine;
        }
        assert_ne!(self.fault, Fault::PanicInIsr, "planted in the ISR");
        if self.fault != Fault::NoAcknowledge {
            edu.register(0x64).write(at, status);
        }
        *pending |= status;
        this.queue_dpc(at);
        Claim::Mine
    }

    fn dpc(&self, edu: &Arc<Edu5>, this: &Interrupt<Self>, at: &mut At<'_, Dispatch>) {
        assert_ne!(self.fault, Fault::PanicInDpc, "planted in the DPC");
        let status = if self.fault == Fault::ForgottenGuard {
            let mut guard = this.lock().acquire(at);
            let status = mem::take(&mut *guard);
            mem::forget(guard);
            status
        } else {
            this.lock().synchronize(at, |pending, _| mem::take(pending))
        };
        if status != 0 {
            edu.done.set(at);
        }
    }

    fn work_item(&self, _: &Arc<Edu5>, _: &Interrupt<Self>, _: &mut At<'_, Passive>) {}

    fn describe(&self) -> String {
        "edu".to_owned()
    }
}

fn board(at: &mut At<'_, Passive>) -> Board {
    let bus = Bus::enumerate(at, &platform());
    let pci = bus.devices()[0].clone();
    pci.enable(at).expect("the device is there");
    pci.set_bus_master(at, true).expect("the device is there");
    let registers = pci.map_bar(at, 0).expect("edu has one BAR");
    Board { pci, registers }
}

/// Connects, computes 5! twice with the interrupt on CPU `cpu`, disconnects.
fn factorial(at: &mut At<'_, Passive>, fault: Fault, cpu: u32) {
    let edu = Arc::new(Edu5 { board: board(at), done: Event::new() });
    let message = MsiMessage { address: 0xfee0_0000 | u64::from(cpu) << 12, data: VECTOR.into() };
    let mut sources = edu.board.pci.program_messages(at, &[Some(message)]).expect("edu has a message");
    let source = Arc::new(sources.remove(0));
    let lock = InterruptLock::new(0);
    lock.settle(VECTOR >> 4).expect("nobody has settled it");
    let interrupt = Interrupt::new(Handler { fault }, lock);
    let connection = Connection { cpu, vector: VECTOR, mode: Mode::Latched, source: source.clone() };
    interrupt.connect(at, connection, edu.clone()).expect("the vector is free");
    source.switch_on(at).expect("the device is there");
    edu.register(0x20).write(at, 0x80);
    for _ in 0..2 {
        if fault != Fault::ClearAfterStart {
            edu.done.clear(at);
        }
        edu.register(0x08).write(at, 5);
        if fault == Fault::ClearAfterStart {
            edu.done.clear(at);
        }
        edu.done.wait(at).expect("the device stays");
        assert_eq!(edu.register(0x08).read(at), 120);
    }
    if fault == Fault::DisconnectedOnly {
        edu.register(0x08).write(at, 6);
    } else {
        source.switch_off(at).expect("the device is there");
    }
    let context = interrupt.disconnect(at);
    assert!(context.is_some_and(|context| Arc::ptr_eq(&context, &edu)));
}

fn explorer(name: &str, cpus: usize) -> Explorer {
    Explorer::new(name).cpus(cpus).bound(2)
}

fn edu_with(fault: Fault, interrupt_on: u32) -> impl Fn(&mut Setup) + 'static {
    move |machine| {
        machine.device(Edu::new());
        machine.main(move |at| factorial(at, fault, interrupt_on));
    }
}

fn right(cpus: usize, granularity: Granularity) -> Stats {
    let explorer = explorer(&format!("edu below the framework, {granularity:?}"), cpus).granularity(granularity);
    explorer.limit(Duration::from_secs(4)).run(edu_with(Fault::None, cpus as u32 - 1))
}

fn planted(fault: Fault) -> Failure {
    let failure = explorer(&format!("planted {fault:?}"), 1).expect_failure(edu_with(fault, 0));
    assert_eq!(failure.replay().replay_string(), failure.replay_string());
    failure
}

#[test]
fn the_right_driver_passes_every_schedule() {
    let one = right(1, Granularity::Coarse);
    assert!(one.complete && one.schedules > 10, "{one}");
    let two = right(2, Granularity::Coarse);
    assert!(two.complete && two.schedules > one.schedules, "{two}");
}

#[test]
fn the_core_serves_it_whatever_comes_between_two_hal_calls() {
    for cpus in [1, 2] {
        let stats = right(cpus, Granularity::Fine);
        assert!(stats.schedules > 100, "{stats}");
    }
}

#[test]
fn both_switchers_run_the_same_schedule() {
    for seed in 0..5 {
        let run = |switcher| {
            let explorer = explorer("switchers", 2).granularity(Granularity::Fine).switcher(switcher);
            explorer.record_random(seed, edu_with(Fault::None, 1)).to_string()
        };
        let coroutines = run(Switcher::Coroutines);
        assert!(coroutines.contains("-> interrupt 0x51"), "{coroutines}");
        assert_eq!(coroutines, run(Switcher::Batons));
    }
}

#[test]
fn an_event_cleared_after_the_start_is_a_lost_wake_up() {
    let failure = planted(Fault::ClearAfterStart);
    assert_eq!((failure.kind(), failure.deviations()), (FaultKind::LostWakeup, 1), "{failure}");
    assert!(failure.message().contains("thread main waits after Wait at kernel/hal-sim/tests/oracles.rs"), "{failure}");
    let trace = failure.trace().to_string();
    let position = |what: &str| trace.find(what).unwrap_or_else(|| panic!("no {what} in\n{trace}"));
    assert!(position("factorial done") < position("-> interrupt 0x51"), "{failure}");
}

#[test]
fn an_interrupt_that_is_claimed_and_not_acknowledged_is_noticed() {
    assert_eq!(planted(Fault::NoAcknowledge).kind(), FaultKind::StillAsserted);
}

#[test]
fn a_forgotten_guard_is_an_irql_imbalance() {
    let failure = planted(Fault::ForgottenGuard);
    assert_eq!(failure.kind(), FaultKind::IrqlImbalance, "{failure}");
}

#[test]
fn a_source_left_on_after_disconnecting_is_a_callback_after_teardown() {
    let failure = planted(Fault::DisconnectedOnly);
    assert_eq!(failure.kind(), FaultKind::UnexpectedInterrupt, "{failure}");
    assert!(failure.message().contains("1234:11e8"), "{failure}");
}

#[test]
fn a_panic_in_a_callback_is_a_bug_check_and_the_process_lives() {
    for (fault, who) in
        [(Fault::PanicInIsr, "panic in ISR on CPU 0 at IRQL 5"), (Fault::PanicInDpc, "panic in DPC on CPU 0 at IRQL 2")]
    {
        let failure = planted(fault);
        assert_eq!(failure.kind(), FaultKind::BugCheck, "{failure}");
        assert!(failure.message().contains(who), "{failure}");
        assert!(failure.message().contains("tests/oracles.rs"), "{failure}");
    }
}

#[test]
fn a_lock_taken_twice_is_a_deadlock() {
    let failure = explorer("lock twice", 2).without_verifier().expect_failure(|machine| {
        machine.main(|at| {
            let lock = Arc::new(SpinLock::new(0));
            mem::forget(lock.acquire(at));
            let _twice = lock.acquire(at);
        });
    });
    assert_eq!(failure.kind(), FaultKind::Deadlock, "{failure}");
    assert!(failure.message().contains("CPU 0 (main) spins after AcquireLock at"), "{failure}");
}

#[test]
fn locks_in_opposite_order_are_a_deadlock_in_some_schedule() {
    let failure = explorer("lock order", 2).without_verifier().expect_failure(|machine| {
        machine.main(|at| {
            let locks = Arc::new((SpinLock::new(()), SpinLock::new(())));
            let theirs = locks.clone();
            let other = thread::spawn(at, ThreadOptions::named("other"), move |at| {
                let mut first = theirs.1.acquire(at);
                let _second = theirs.0.acquire(first.parts().1);
            });
            let other = other.expect("no allocation fails here");
            let mut first = locks.0.acquire(at);
            drop(locks.1.acquire(first.parts().1));
            drop(first);
            other.join(at).expect("no device is used");
        });
    });
    assert_eq!(failure.kind(), FaultKind::Deadlock, "{failure}");
}

#[test]
fn a_race_on_data_without_a_lock_is_found() {
    let failure = explorer("race", 2).expect_failure(|machine| {
        machine.main(|at| {
            let cell = Arc::new(StandInCell::new(0));
            let theirs = cell.clone();
            let other = thread::spawn(at, ThreadOptions::named("other"), move |_| theirs.set(theirs.get() + 1));
            cell.set(cell.get() + 1);
            other.expect("no allocation fails here").join(at).expect("no device is used");
            assert_eq!(cell.get(), 2, "an increment was lost");
        });
    });
    assert!(failure.message().contains("an increment was lost"), "{failure}");
}

/// Starts a DMA transfer of 64 bytes from the device's buffer to `physical`.
fn start_dma(at: &mut At<'_, Passive>, board: &Board, physical: u64, device_offset: u32) {
    let write = |at: &mut At<'_, Passive>, offset, value| {
        board.registers.register::<u32>(offset).expect("edu has this register").write(at, value);
    };
    write(at, 0x80, 0x40000 + device_offset);
    write(at, 0x88, physical as u32);
    write(at, 0x90, 64);
    write(at, 0x98, 1 | 2);
}

#[test]
fn a_device_that_writes_freed_memory_is_caught() {
    let failure = explorer("late DMA", 1).expect_failure(|machine| {
        machine.device(Edu::new());
        machine.main(|at| {
            let board = board(at);
            let buffer = DmaBuffer::new(at, 64, (1 << 28) - 1).expect("there is memory");
            start_dma(at, &board, buffer.device_address(), 0);
            buffer.free(at);
        });
    });
    assert_eq!(failure.kind(), FaultKind::DeviceMemory, "{failure}");
    assert!(failure.message().contains("freed memory"), "{failure}");
}

#[test]
fn without_bus_master_a_late_device_writes_nothing() {
    explorer("late DMA without bus master", 1).run(|machine| {
        machine.device(Edu::new());
        machine.main(|at| {
            let board = board(at);
            let buffer = DmaBuffer::new(at, 64, (1 << 28) - 1).expect("there is memory");
            start_dma(at, &board, buffer.device_address(), 0);
            board.pci.set_bus_master(at, false).expect("the device is there");
            buffer.free(at);
        });
    });
}

#[test]
fn a_transfer_outside_of_the_devices_buffer_is_a_device_abort() {
    let failure = explorer("DMA to the last byte", 1).expect_failure(|machine| {
        machine.device(Edu::new());
        machine.main(|at| {
            let board = board(at);
            let buffer = DmaBuffer::new(at, 64, (1 << 28) - 1).expect("there is memory");
            start_dma(at, &board, buffer.device_address(), 4096 - 64);
        });
    });
    assert_eq!(failure.kind(), FaultKind::DeviceAbort, "{failure}");
}

#[test]
fn memory_left_at_the_end_is_a_leak() {
    let failure = explorer("leak", 1).expect_failure(|machine| {
        machine.main(|at| drop(DmaBuffer::new(at, 64, u64::MAX)));
    });
    assert_eq!(failure.kind(), FaultKind::Leak, "{failure}");
}

#[test]
fn a_thread_left_at_the_end_is_a_leak() {
    let failure = explorer("thread left", 1).expect_failure(|machine| {
        machine.main(|at| {
            let never = Event::new();
            let waits = move |at: &mut At<'_, Passive>| never.wait(at).expect("no device is used");
            thread::spawn(at, ThreadOptions::named("forgotten"), waits).expect("no allocation fails here");
        });
    });
    assert_eq!(failure.kind(), FaultKind::Leak, "{failure}");
    assert!(failure.message().contains("thread forgotten waits after Wait at"), "{failure}");
}

#[test]
fn a_vector_left_connected_at_the_end_is_a_leak() {
    let failure = explorer("vector left", 1).bound(0).expect_failure(|machine| {
        machine.device(Edu::new());
        machine.main(|at| {
            let edu = Arc::new(Edu5 { board: board(at), done: Event::new() });
            let lock = InterruptLock::new(0);
            lock.settle(VECTOR >> 4).expect("nobody has settled it");
            let source = Arc::new(LineInput::program(at, GSI, Mode::Latched, 0, VECTOR));
            let connection = Connection { cpu: 0, vector: VECTOR, mode: Mode::Latched, source };
            let interrupt = Interrupt::new(Handler { fault: Fault::None }, lock);
            interrupt.connect(at, connection, edu).expect("the vector is free");
        });
    });
    assert_eq!(failure.kind(), FaultKind::Leak, "{failure}");
    assert!(failure.message().contains("vector 0x51 of CPU 0 is still connected"), "{failure}");
}

#[test]
fn a_line_that_is_programmed_while_it_is_open_is_an_impossible_request() {
    let failure = explorer("open line", 1).bound(0).expect_failure(|machine| {
        machine.main(|at| {
            let line = Line { gsi: GSI, trigger: Trigger::Edge, polarity: Polarity::ActiveHigh };
            let controller = platform().line_controller().expect("it has one").clone();
            let program = |at: &mut At<'_, Passive>| {
                let source = LineSource::program(at, &controller, line, Grant { cpu: 0, vector: VECTOR });
                source.expect("the I/O APIC has this input")
            };
            let source = program(at);
            InterruptLock::<_, Dirql>::new(()).synchronize(at, |(), at| source.unmask(at));
            program(at);
        });
    });
    assert_eq!(failure.kind(), FaultKind::Hal, "{failure}");
    assert!(failure.message().contains("line 9 is programmed while it is not masked"), "{failure}");
}

#[test]
fn who_polls_without_end_is_a_livelock() {
    let failure = explorer("polls", 1).bound(0).expect_failure(|machine| {
        machine.main(|at| {
            let never = Event::new();
            loop {
                never.clear(at);
            }
        });
    });
    assert_eq!(failure.kind(), FaultKind::Livelock, "{failure}");
}

#[test]
fn allocations_fail_where_the_explorer_wants_them_to() {
    let failed = Arc::new(AtomicUsize::new(0));
    let count = failed.clone();
    let stats = explorer("no memory", 1).failing_allocations().random(0).run(move |machine| {
        let failed = count.clone();
        machine.main(move |at| {
            for _ in 0..2 {
                match DmaBuffer::new(at, 64, u64::MAX) {
                    Ok(buffer) => buffer.free(at),
                    Err(_) => _ = failed.fetch_add(1, Relaxed),
                }
            }
        });
    });
    // None, the first, the second, both (where the first schedule of two runs again on the way).
    assert_eq!(stats.schedules, 4);
    assert!(failed.load(Relaxed) >= 4);
}

#[test]
fn a_device_that_is_gone_answers_all_ones() {
    let vanished = Arc::new(AtomicUsize::new(0));
    let count = vanished.clone();
    explorer("gone", 1).run(move |machine| {
        let vanished = count.clone();
        machine.device(Edu::new().may_vanish());
        machine.main(move |at| {
            let Some(pci) = Bus::enumerate(at, &platform()).devices().first().cloned() else { return };
            if pci.enable(at).is_err() {
                return;
            }
            let Ok(registers) = pci.map_bar(at, 0) else { return };
            let register = registers.register::<u32>(0).expect("edu has this register");
            let identity = register.read(at);
            assert!([0x0100_00ed, u32::MAX].contains(&identity), "{identity:#x}");
            vanished.fetch_add(usize::from(identity == u32::MAX), Relaxed);
        });
    });
    assert!(vanished.load(Relaxed) > 0, "no schedule removed the device before the read");
}

#[test]
fn a_test_can_pull_a_device_out_and_look_into_it() {
    hal_sim::run_once(1, |machine| {
        let edu: Device<Edu> = machine.device(Edu::new());
        machine.main(move |at| {
            let board = board(at);
            let register = board.registers.register::<u32>(0x60).expect("edu has this register");
            register.write(at, 2);
            assert_eq!(edu.with(|edu| edu.raised()), 1);
            edu.remove();
            assert_eq!(register.read(at), u32::MAX);
            assert!(!board.pci.is_present(at));
        });
    });
}
