//! Six faults that drivers really have, planted in a small edu driver: each is found, with a schedule that can be replayed.
//! The same driver without a fault passes the same scenario.

mod common;

use common::start;
use framework::prelude::*;
use hal_sim::{Explorer, Failure, FaultKind, Setup, StandInCell, model};
use ke::{Dpc, Importance};
use std::{sync::Arc, time::Duration};

const NONE: u8 = 0;
const CLEARS_AFTER_START: u8 = 1;
const OVERWRITES_STATE: u8 = 2;
const DOES_NOT_ACKNOWLEDGE: u8 = 3;
const FORGETS_A_GUARD: u8 = 4;
const RUNS_AFTER_STOP: u8 = 5;

const FACTORIAL_DONE: u32 = 0x01;
const RAISED: u32 = 0x10;

registers! {
    struct Regs {
        0x08 factorial: Rw,
        0x20 status: Rw,
        0x24 irq_status: Ro,
        0x60 irq_raise: Wo,
        0x64 irq_ack: Wo,
    }
}

/// An edu driver with fault `F`.
struct Mini<const F: u8> {
    regs: Regs,
    irq: Interrupt<MiniInterrupt<F>>,
    computed: Event,
    raised: Event,
    /// What a driver would call "the device is still there", had it forgotten that the framework takes care of that.
    released: Arc<StandInCell<bool>>,
    /// A timer of the core, which nobody stops when the device stops.
    stray: ke::Timer<Stray>,
}

struct MiniInterrupt<const F: u8>;

struct Stray(Arc<StandInCell<bool>>);

impl ke::TimerRoutine for Stray {
    fn expired(&self, _: &mut At<'_, Dispatch>) {
        assert!(!self.0.get(), "a callback runs on a device that was released");
    }
}

impl<const F: u8> Device for Mini<F> {
    const NAME: &'static str = "mini";
    const IDS: &'static [PciId] = &[PciId(0x1234, 0x11e8)];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let released = Arc::new(StandInCell::new(false));
        Ok(Mini {
            regs: hw.map_bar(at, 0)?,
            irq: hw.interrupt(MiniInterrupt, 0).create()?,
            computed: Event::new(),
            raised: Event::new(),
            stray: ke::Timer::new(Stray(released.clone())),
            released,
        })
    }

    fn release_hardware(self, (): &(), _: &mut At<'_, Passive>) {
        self.released.set(true);
    }
}

impl<const F: u8> EvtIsr for MiniInterrupt<F> {
    type Device = Mini<F>;
    type State = u32;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, mini: &Mini<F>, pending: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        let status = mini.regs.irq_status.read(irq);
        if status == 0 {
            return Claim::NotMine;
        }
        if F != DOES_NOT_ACKNOWLEDGE {
            mini.regs.irq_ack.write(irq, status);
        }
        if F == OVERWRITES_STATE {
            *pending = status;
        } else {
            *pending |= status;
        }
        irq.queue_dpc();
        Claim::Mine
    }

    fn evt_enable(&self, mini: &Mini<F>, _: &mut u32, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        mini.regs.status.write(irq, 0x80);
        Ok(())
    }

    fn evt_disable(&self, mini: &Mini<F>, _: &mut u32, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        mini.regs.status.write(irq, 0);
        Ok(())
    }
}

impl<const F: u8> EvtDpc for MiniInterrupt<F> {
    fn evt_dpc(&self, mini: &Mini<F>, irq: &mut DpcCx<'_, Self>) {
        let status = irq.synchronize(|pending, _| std::mem::take(pending));
        if F == RUNS_AFTER_STOP {
            mini.stray.start(irq, 1_000_000);
        }
        if status & FACTORIAL_DONE != 0 {
            mini.computed.set(irq);
        }
        if status & RAISED != 0 {
            mini.raised.set(irq);
        }
    }
}

impl<const F: u8> Mini<F> {
    /// Two requests at once: a factorial and a raised interrupt.
    fn compute_and_raise(&self, at: &mut At<'_, Passive>) -> Result<u32> {
        if F != CLEARS_AFTER_START {
            self.computed.clear(at);
        }
        self.regs.factorial.write(at, 5);
        if F == CLEARS_AFTER_START {
            self.computed.clear(at);
        }
        self.regs.irq_raise.write(at, RAISED);
        if F == FORGETS_A_GUARD {
            std::mem::forget(self.irq.acquire_lock(at));
        }
        self.raised.wait(at)?;
        self.computed.wait(at)?;
        Ok(self.regs.factorial.read(at))
    }
}

fn explorer(name: &str, cpus: usize) -> Explorer {
    Explorer::new(name).cpus(cpus).limit(Duration::from_secs(30))
}

fn scenario<const F: u8>(machine: &mut Setup) {
    machine.device(model::Edu::new());
    machine.main(|at| {
        let pnp = start::<Mini<F>>(at);
        let mini = pnp.device::<Mini<F>>("mini#0").expect("the device is there");
        let answer = mini.with(at, |mini, at| mini.compute_and_raise(at)).expect("it is started");
        assert_eq!(answer, Ok(120));
        pnp.shut_down(at);
    });
}

/// Explores the driver with fault `F` until it is found: its replay string brings it back.
fn find<const F: u8>(name: &str, cpus: usize) -> Failure {
    replayed(explorer(name, cpus).expect_failure(scenario::<F>))
}

fn replayed(failure: Failure) -> Failure {
    let again = failure.replay();
    assert_eq!(again.replay_string(), failure.replay_string());
    eprintln!("found {}: {}", failure.replay_string(), failure.message());
    failure
}

#[test]
fn without_a_fault_every_schedule_passes() {
    for cpus in [1, 2] {
        explorer("no fault", cpus).run(scenario::<NONE>);
    }
}

#[test]
fn an_event_cleared_after_the_start_loses_its_wake_up() {
    assert_eq!(find::<CLEARS_AFTER_START>("cleared after start", 1).kind(), FaultKind::LostWakeup);
}

#[test]
fn state_overwritten_instead_of_added_to_loses_an_interrupt() {
    assert_eq!(find::<OVERWRITES_STATE>("state overwritten", 1).kind(), FaultKind::LostWakeup);
}

#[test]
fn an_isr_that_claims_without_acknowledging_is_seen() {
    assert_eq!(find::<DOES_NOT_ACKNOWLEDGE>("no acknowledge", 1).kind(), FaultKind::StillAsserted);
}

#[test]
fn a_forgotten_guard_is_seen() {
    let failure = find::<FORGETS_A_GUARD>("forgotten guard", 1);
    assert!(matches!(failure.kind(), FaultKind::IrqlImbalance | FaultKind::BugCheck), "{failure}");
}

#[test]
fn a_callback_after_the_stop_is_seen() {
    let failure = find::<RUNS_AFTER_STOP>("callback after stop", 1);
    assert_eq!(failure.kind(), FaultKind::BugCheck);
    assert!(failure.message().contains("released"), "{failure}");
}

/// Needs two CPUs: a DPC on the other CPU and a thread both count, without the lock that would make that right.
#[test]
fn a_remote_dpc_that_takes_no_lock_loses_a_count() {
    let scenario = |machine: &mut Setup| {
        machine.main(|at| {
            let count = Arc::new(StandInCell::new(0));
            let counted = count.clone();
            let count_one = move |_: [usize; 2], _: &mut At<'_, Dispatch>| counted.set(counted.get() + 1);
            let dpc = Dpc::with(count_one, Importance::High, Some(1));
            assert!(dpc.insert(at), "it was not queued");
            count.set(count.get() + 1);
            dpc.flush(at);
            assert_eq!(count.get(), 2, "a count was lost");
        });
    };
    let failure = replayed(explorer("remote DPC without the lock", 2).expect_failure(scenario));
    assert_eq!(failure.kind(), FaultKind::BugCheck);
    assert!(failure.message().contains("a count was lost"), "{failure}");
}
