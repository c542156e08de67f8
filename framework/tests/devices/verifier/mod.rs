//! What types cannot catch, the verifier finds at run time: each test is a mistake of a driver, and the line that made it is in
//! the report.

use crate::bells::{self, Bells, Regs, start};
use framework::{DeviceRef, prelude::*};
use hal_sim::{Explorer, Failure, FaultKind, Setup};
use ke::{
    AtMost, Dispatch, MayWait,
    verifier::{self, Verifier},
};

mod callbacks;
mod guards;
mod objects;
mod orders;
mod waits;

/// What the driver is to do wrong, in the callback that its kind says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    ForgetsSpinGuardInDpc,
    ForgetsInterruptGuardInDpc,
    ForgetsSpinGuardInWorkItem,
    ForgetsWaitGuardInWorkItem,
    ForgetsAndLowersInWorkItem,
    TakesLockInWorkItem,
    ForgetsGuardInPassiveIsr,
    TakesOwnLockInPassiveIsr,
    DisablesItselfInPassiveIsr,
    DisablesItselfInWorkItem,
    FlushesItself,
}

/// A driver with one interrupt that has a DPC (bell 0), one that has a work item (bell 1), and one at PASSIVE (bell 2).
struct Careless {
    regs: Regs,
    spin: SpinLock<u32>,
    wait: WaitLock<u32>,
    by_work: Interrupt<ToWork>,
    passive: Interrupt<AtPassive>,
    item: WorkItem<Item>,
    fault: SpinLock<Fault>,
    outcome: SpinLock<Option<Result<()>>>,
    served: Event,
}

struct ToDpc;
struct ToWork;
struct AtPassive;
struct Item;

impl Device for Careless {
    const NAME: &'static str = "careless";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let regs: Regs = hw.map_bar(at, 0)?;
        hw.interrupt(ToDpc, 0).create()?;
        let dev = Careless {
            by_work: hw.interrupt(ToWork, 0).create()?,
            passive: hw.interrupt(AtPassive, 0).create()?,
            item: hw.work_item(Item),
            spin: SpinLock::new(0),
            wait: WaitLock::new(0),
            fault: SpinLock::new(Fault::Nothing),
            outcome: SpinLock::new(None),
            served: Event::new(),
            regs,
        };
        if dev.regs.fail_at.read(at) == PREPARE {
            std::mem::forget(dev.spin.acquire(at)); // forgets in prepare_hardware
        }
        Ok(dev)
    }
}

/// In the model's `fail_at`: where the driver forgets a guard.
const PREPARE: u32 = 1;

impl EvtIsr for ToDpc {
    type Device = Careless;
    type State = u32;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, dev: &Careless, _: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        irq.queue_dpc();
        dev.regs.quiet(irq, 0)
    }
}

impl EvtDpc for ToDpc {
    fn evt_dpc(&self, dev: &Careless, irq: &mut DpcCx<'_, Self>) {
        match dev.fault(irq) {
            Fault::ForgetsSpinGuardInDpc => std::mem::forget(dev.spin.acquire(irq)), // forgets in evt_dpc
            Fault::ForgetsInterruptGuardInDpc => std::mem::forget(irq.acquire_lock()), // forgets the interrupt's
            _ => dev.served.set(irq),
        }
    }
}

impl EvtIsr for ToWork {
    type Device = Careless;
    type State = u32;
    type Level = Dirql;
    type Deferred = ByWorkItem;

    fn evt_isr(&self, dev: &Careless, _: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        irq.queue_work_item();
        dev.regs.quiet(irq, 1)
    }
}

impl EvtWorkItem for ToWork {
    fn evt_work_item(&self, dev: &Careless, irq: &mut WorkCx<'_, Self>) {
        match dev.fault(irq) {
            Fault::ForgetsSpinGuardInWorkItem => std::mem::forget(dev.spin.acquire(irq)), // forgets in evt_work_item
            Fault::ForgetsWaitGuardInWorkItem => std::mem::forget(dev.wait.acquire(irq)), // forgets the wait lock's
            Fault::ForgetsAndLowersInWorkItem => {
                std::mem::forget(dev.spin.acquire(irq)); // forgets and goes on
                dev.served.set(irq);
            }
            Fault::TakesLockInWorkItem => {
                *dev.wait.acquire(irq) += 1; // takes it in the work item
                dev.served.set(irq);
            }
            Fault::DisablesItselfInWorkItem => dev.note(dev.by_work.disable(irq), irq),
            _ => dev.served.set(irq),
        }
    }
}

impl EvtIsr for AtPassive {
    type Device = Careless;
    type State = u32;
    type Level = Passive;
    type Deferred = Nothing;

    fn evt_enable(&self, dev: &Careless, _: &mut u32, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        *dev.wait.acquire(irq) += 1; // takes the driver's lock
        Ok(())
    }

    fn evt_isr(&self, dev: &Careless, _: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        match dev.fault(irq) {
            Fault::ForgetsGuardInPassiveIsr => std::mem::forget(dev.spin.acquire(irq)), // forgets in a passive evt_isr
            Fault::TakesOwnLockInPassiveIsr => drop(dev.passive.acquire_lock(irq)),     // takes its own lock
            Fault::DisablesItselfInPassiveIsr => dev.note(dev.passive.disable(irq), irq),
            _ => dev.served.set(irq),
        }
        dev.regs.quiet(irq, 2)
    }
}

impl EvtWorkItemFunc for Item {
    type Device = Careless;

    fn evt_work_item_func(&self, dev: &Careless, at: &mut At<'_, Passive>) {
        if dev.fault(at) == Fault::FlushesItself {
            dev.item.flush(at); // flushes itself
        }
        dev.served.set(at);
    }
}

impl Careless {
    fn fault<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> Fault {
        *self.fault.acquire(at)
    }

    fn note<L: AtMost<Dispatch>>(&self, outcome: Result<()>, at: &mut At<'_, L>) {
        *self.outcome.acquire(at) = Some(outcome);
        self.served.set(at);
    }

    /// Does `fault` as soon as `bell` rings, and waits for the callback.
    fn err<L: MayWait>(&self, fault: Fault, bell: u32, at: &mut At<'_, L>) {
        *self.fault.acquire(at) = fault;
        self.served.clear(at);
        self.regs.ring.write(at, 1 << bell);
        self.served.wait(at).expect("the device stays");
    }
}

fn explorer(name: &str, cpus: usize) -> Explorer {
    Explorer::new(name).cpus(cpus).bound(0).random(0)
}

/// A started device does what `f` says, then all is taken down.
fn on_device(f: impl Fn(&Careless, &mut At<'_, Passive>) + Clone + Send + 'static) -> impl Fn(&mut Setup) + 'static {
    move |machine| {
        machine.device(Bells::default());
        let f = f.clone();
        machine.main(move |at| {
            let pnp = start::<Careless>(at);
            let device: DeviceRef<Careless> = pnp.device("careless#0").expect("it started");
            device.with(at, f).expect("it stays");
            pnp.shut_down(at);
        });
    }
}

/// How the driver's mistake ends.
fn found(name: &str, f: impl Fn(&Careless, &mut At<'_, Passive>) + Clone + Send + 'static) -> Failure {
    explorer(name, 2).expect_failure(on_device(f))
}

/// The verifier has found it, and says each of `said`.
#[track_caller]
fn assert_says(failure: &Failure, kind: &str, said: &[&str]) {
    assert_eq!(failure.kind(), FaultKind::BugCheck, "{failure}");
    assert!(failure.message().contains(kind), "{failure}");
    for what in said {
        assert!(failure.message().contains(what), "{what} is missing in {failure}");
    }
}

/// `file.rs:line` of the one line of a module here that ends in the comment `mark`.
fn place(file: &str, source: &str, mark: &str) -> String {
    let mark = format!("// {mark}");
    let lines: Vec<usize> =
        (1..).zip(source.lines()).filter(|(_, line)| line.ends_with(&mark)).map(|(n, _)| n).collect();
    let [line] = lines[..] else { panic!("{mark} stands at {lines:?}") };
    format!("framework/tests/devices/verifier/{file}:{line}:")
}

/// A line of the driver above.
fn line_of(mark: &str) -> String {
    place("mod.rs", include_str!("mod.rs"), mark)
}

#[test]
fn a_careful_driver_has_nothing_to_fear() {
    let stats = Explorer::new("careful").cpus(2).bound(1).random(50).run(on_device(|dev, at| {
        for bell in 0..3 {
            dev.err(Fault::Nothing, bell, at);
        }
        dev.served.clear(at);
        assert!(dev.item.enqueue(at));
        dev.served.wait(at).expect("the device stays");
        let mut first = dev.wait.acquire(at);
        *first += dev.spin.with(at, |spin, _| *spin);
        drop(first);
        let info = verifier::status(at);
        assert!(info.on && info.locks > 3, "{info:?}");
    }));
    assert!(stats.complete, "{stats}");
}

#[test]
fn turned_off_it_finds_nothing_and_turned_on_again_it_covers_new_locks() {
    explorer("off and on", 1).run(|machine| {
        machine.main(|at| {
            verifier::stop(at);
            let before = verifier::status(at).locks;
            let take = |spin: &SpinLock<()>, wait: &WaitLock<()>, at: &mut At<'_, Passive>| {
                drop(spin.acquire(at));
                drop(wait.acquire(at));
            };
            let (spin, wait) = (SpinLock::new(()), WaitLock::new(()));
            take(&spin, &wait, at);
            assert_eq!(verifier::status(at).locks, before, "no lock was looked at");
            verifier::start(at, Verifier::UNTIMED);
            take(&spin, &wait, at);
            assert_eq!(verifier::status(at).locks, before, "these have become ordinary");
            take(&SpinLock::new(()), &WaitLock::new(()), at);
            assert_eq!(verifier::status(at).locks, before + 2);
        });
    });
}
