//! Serialization scopes: callbacks of one scope never overlap, whatever they are callbacks of; others do.

use crate::bells::{self, Bells, Regs, start};
use framework::{DeviceRef, ExecutionLevel, Inherited, ScopeLevel, prelude::*};
use hal_sim::Explorer;
use ke::thread::{self, ThreadOptions};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

/// Nanoseconds until a timer expires.
const SOON: u64 = 1_000;

/// A device with a scope at `L`, and objects in it and beside it.
struct Stage<L: ScopeLevel> {
    regs: Regs,
    scope: Scope<u32, L>,
    /// How many callbacks of the scope are at work, and how many others.
    inside: [AtomicU32; 2],
    overlaps: AtomicU32,
    done: Event,
}

/// Which of [`Stage::inside`].
const SERIALIZED: usize = 0;
const LOOSE: usize = 1;

impl<L: ScopeLevel> Stage<L> {
    fn new(regs: Regs) -> Self {
        let (inside, overlaps) = (Default::default(), AtomicU32::new(0));
        Stage { regs, scope: Scope::new(0), inside, overlaps, done: Event::new() }
    }

    /// In a callback of the scope.
    fn take_turn<C: AtMost<Dispatch>>(&self, turns: &mut u32, at: &mut At<'_, C>) {
        assert_eq!(at.irql(), L::IRQL);
        assert_eq!(self.inside[SERIALIZED].fetch_add(1, SeqCst), 0, "two callbacks of one scope");
        self.dwell(LOOSE, at);
        self.inside[SERIALIZED].fetch_sub(1, SeqCst);
        *turns += 1;
        self.done.set(at);
    }

    /// In a callback that is not.
    fn run_loose<C: Level>(&self, at: &mut At<'_, C>) {
        self.inside[LOOSE].fetch_add(1, SeqCst);
        self.dwell(SERIALIZED, at);
        self.inside[LOOSE].fetch_sub(1, SeqCst);
    }

    /// Here others may come.
    fn dwell<C: Level>(&self, others: usize, at: &mut At<'_, C>) {
        self.regs.status.read(at);
        self.overlaps.fetch_add(self.inside[others].load(SeqCst), SeqCst);
    }

    /// Waits until the callbacks of the scope have had so many turns.
    fn await_turns(&self, turns: u32, at: &mut At<'_, Passive>)
    where
        Passive: AtMost<L>,
    {
        while self.scope.enter(at, |had, _| *had) < turns {
            self.done.wait(at).expect("the device is not stopped meanwhile");
            self.done.clear(at);
        }
    }
}

/// All at DISPATCH: an interrupt's DPC, a DPC object and a timer in the scope, and a DPC object outside.
struct Swift {
    stage: Stage<Dispatch>,
    _interrupt: Interrupt<Turn>,
    dpc: Dpc<Turn>,
    timer: Timer<Turn>,
    loose: Dpc<Loose>,
}

/// All at PASSIVE: an interrupt's work item, a work item object and a timer in the scope, and a work item object outside. The
/// level is inherited.
struct Slow {
    stage: Stage<Inherited<Slow>>,
    _interrupt: Interrupt<SlowTurn>,
    item: WorkItem<SlowTurn>,
    timer: Timer<SlowTurn>,
    loose: WorkItem<Loose>,
    nobody_sets_this: Event,
}

impl ExecutionLevel for Sensors {
    type Level = Passive;
}
impl ExecutionLevel for Slow {
    type Level = Inherited<Sensors>;
}

struct Sensors;
struct Turn;
struct SlowTurn;
struct Loose;

impl DriverEntry for Sensors {
    fn driver_entry(_: &mut DriverInit, _: &mut At<'_, Passive>) -> Result<Self> {
        Ok(Sensors)
    }
}

impl Device for Swift {
    const NAME: &'static str = "swift";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        Ok(Swift {
            stage: Stage::new(hw.map_bar(at, 0)?),
            _interrupt: hw.interrupt(Turn, ()).affinity(Affinity::cpu(0)).create()?,
            dpc: hw.dpc(Turn),
            timer: hw.timer(Turn).create(),
            loose: hw.dpc(Loose),
        })
    }
}

impl Device for Slow {
    const NAME: &'static str = "slow";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = Sensors;
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        Ok(Slow {
            stage: Stage::new(hw.map_bar(at, 0)?),
            _interrupt: hw.interrupt(SlowTurn, ()).create()?,
            item: hw.work_item(SlowTurn),
            timer: hw.timer(SlowTurn).create(),
            loose: hw.work_item(Loose),
            nobody_sets_this: Event::new(),
        })
    }
}

impl Serialized for Turn {
    type Device = Swift;
    type Data = u32;
    type Level = Dispatch;

    fn scope<'a>(&'a self, dev: &'a Swift) -> &'a Scope<u32> {
        &dev.stage.scope
    }
}

impl Serialized for SlowTurn {
    type Device = Slow;
    type Data = u32;
    type Level = Inherited<Slow>;

    fn scope<'a>(&'a self, dev: &'a Slow) -> &'a Scope<u32, Passive> {
        &dev.stage.scope
    }
}

impl EvtIsr for Turn {
    type Device = Swift;
    type State = ();
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, dev: &Swift, (): &mut (), irq: &mut IsrCx<'_, Self>) -> Claim {
        let claim = dev.stage.regs.quiet(irq, 0);
        irq.queue_dpc();
        claim
    }
}

impl EvtSerializedDpc for Turn {
    fn evt_dpc(&self, dev: &Swift, turns: &mut u32, irq: &mut DpcCx<'_, Self>) {
        irq.synchronize(|(), _| ());
        dev.stage.take_turn(turns, irq);
    }
}

impl EvtSerializedDpcFunc for Turn {
    fn evt_dpc_func(&self, dev: &Swift, turns: &mut u32, at: &mut At<'_, Dispatch>) {
        dev.stage.take_turn(turns, at);
    }
}

impl EvtSerializedTimerFunc for Turn {
    fn evt_timer_func(&self, dev: &Swift, turns: &mut u32, at: &mut At<'_, Dispatch>) {
        dev.stage.take_turn(turns, at);
    }
}

impl EvtIsr for SlowTurn {
    type Device = Slow;
    type State = ();
    type Level = Dirql;
    type Deferred = ByWorkItem;

    fn evt_isr(&self, dev: &Slow, (): &mut (), irq: &mut IsrCx<'_, Self>) -> Claim {
        let claim = dev.stage.regs.quiet(irq, 0);
        irq.queue_work_item();
        claim
    }
}

impl EvtSerializedWorkItem for SlowTurn {
    fn evt_work_item(&self, dev: &Slow, turns: &mut u32, irq: &mut WorkCx<'_, Self>) {
        dev.stage.take_turn(turns, irq);
    }
}

impl EvtSerializedWorkItemFunc for SlowTurn {
    fn evt_work_item_func(&self, dev: &Slow, turns: &mut u32, at: &mut At<'_, Passive>) {
        dev.stage.take_turn(turns, at);
    }
}

impl EvtSerializedTimerFunc for SlowTurn {
    fn evt_timer_func(&self, dev: &Slow, turns: &mut u32, at: &mut At<'_, Passive>) {
        dev.stage.take_turn(turns, at);
    }
}

impl EvtDpcFunc for Loose {
    type Device = Swift;

    fn evt_dpc_func(&self, dev: &Swift, at: &mut At<'_, Dispatch>) {
        dev.stage.run_loose(at);
    }
}

impl EvtWorkItemFunc for Loose {
    type Device = Slow;

    fn evt_work_item_func(&self, dev: &Slow, at: &mut At<'_, Passive>) {
        dev.stage.inside[LOOSE].fetch_add(1, SeqCst);
        // A worker that is blocked lets another one start.
        assert_eq!(dev.nobody_sets_this.wait_timeout(at, SOON), Err(WaitError::TimedOut));
        dev.stage.inside[LOOSE].fetch_sub(1, SeqCst);
    }
}

/// Explores `first` in the main thread beside `second` in another: in how many schedules a callback of the scope overlapped one
/// that is not of it. Each schedule has three turns; that none overlaps another is asserted in them.
fn explore<D: Device>(
    what: &str,
    cpus: usize,
    stage: fn(&D) -> &AtomicU32,
    first: fn(&D, &mut At<'_, Passive>),
    second: fn(&D, &mut At<'_, Passive>),
) -> u32 {
    let overlaps = Arc::new(AtomicU32::new(0));
    let seen = overlaps.clone();
    let explorer = Explorer::new(&format!("{what} on {cpus}")).cpus(cpus);
    explorer.limit(Duration::from_secs(2)).run(move |machine| {
        machine.device(Bells::default());
        let seen = seen.clone();
        machine.main(move |at| {
            let pnp = start::<D>(at);
            let device: DeviceRef<D> = pnp.device(&format!("{}#0", D::NAME)).expect("it started");
            let other = device.clone();
            let other = move |at: &mut At<'_, Passive>| other.with(at, second).expect("it is started");
            let other = thread::spawn(at, ThreadOptions::named("other"), other).expect("the host has memory");
            device.with(at, first).expect("it is started");
            other.join(at).expect("no device is used here");
            let overlapped = device.with(at, |dev, _| stage(dev).load(SeqCst)).expect("it is started");
            seen.fetch_add(u32::from(overlapped > 0), SeqCst);
            pnp.shut_down(at);
        });
    });
    overlaps.load(SeqCst)
}

#[test]
fn c10_a_serialized_dpc_overlaps_no_callback_of_its_scope_and_an_unserialized_one_does() {
    let first = |dev: &Swift, at: &mut At<'_, Passive>| {
        dev.timer.start(at, SOON);
        dev.stage.regs.ring.write(at, 1);
        dev.stage.await_turns(3, at);
    };
    let second = |dev: &Swift, at: &mut At<'_, Passive>| {
        dev.dpc.enqueue(at);
        dev.loose.enqueue(at);
    };
    for cpus in [1, 2, 3] {
        let overlapped = explore("a dispatch scope", cpus, |dev: &Swift| &dev.stage.overlaps, first, second);
        assert_eq!(overlapped > 0, cpus > 1, "{overlapped} schedules with an overlap on {cpus}");
    }
}

#[test]
fn c52_a_serialized_work_item_overlaps_no_callback_of_its_scope_and_an_unserialized_one_does() {
    let first = |dev: &Slow, at: &mut At<'_, Passive>| {
        dev.timer.start(at, SOON);
        dev.stage.regs.ring.write(at, 1);
        dev.stage.await_turns(3, at);
    };
    let second = |dev: &Slow, at: &mut At<'_, Passive>| {
        dev.loose.enqueue(at);
        dev.item.enqueue(at);
        dev.loose.flush(at);
    };
    for cpus in [1, 2] {
        let overlapped = explore("a passive scope", cpus, |dev: &Slow| &dev.stage.overlaps, first, second);
        assert!(overlapped > 0, "no schedule with an overlap on {cpus}");
    }
}

/// A passive-level interrupt may continue in a DPC of a dispatch scope.
struct Mixed {
    regs: Regs,
    turns: Scope<u32>,
    done: Event,
    _interrupt: Interrupt<MixedTurn>,
}

struct MixedTurn;

impl Device for Mixed {
    const NAME: &'static str = "mixed";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let interrupt = hw.interrupt(MixedTurn, ()).create()?;
        Ok(Mixed { regs: hw.map_bar(at, 0)?, turns: Scope::new(0), done: Event::new(), _interrupt: interrupt })
    }
}

impl EvtIsr for MixedTurn {
    type Device = Mixed;
    type State = ();
    type Level = Passive;
    type Deferred = ByDpc;

    fn evt_isr(&self, dev: &Mixed, (): &mut (), irq: &mut IsrCx<'_, Self>) -> Claim {
        let claim = dev.regs.quiet(irq, 0);
        if claim == Claim::Mine {
            irq.queue_dpc();
        }
        claim
    }
}

impl Serialized for MixedTurn {
    type Device = Mixed;
    type Data = u32;
    type Level = Dispatch;

    fn scope<'a>(&'a self, dev: &'a Mixed) -> &'a Scope<u32> {
        &dev.turns
    }
}

impl EvtSerializedDpc for MixedTurn {
    fn evt_dpc(&self, dev: &Mixed, turns: &mut u32, irq: &mut DpcCx<'_, Self>) {
        *turns += 1;
        dev.done.set(irq);
    }
}

#[test]
fn c11_a_passive_interrupt_may_continue_in_a_dpc_of_a_dispatch_scope() {
    for cpus in [1, 2] {
        let explorer = Explorer::new(&format!("passive ISR, dispatch scope on {cpus}")).cpus(cpus);
        explorer.limit(Duration::from_secs(1)).run(|machine| {
            machine.device(Bells::default());
            machine.main(|at| {
                let pnp = start::<Mixed>(at);
                let device: DeviceRef<Mixed> = pnp.device("mixed#0").expect("it started");
                let ring = |dev: &Mixed, at: &mut At<'_, Passive>| {
                    dev.regs.ring.write(at, 1);
                    dev.done.wait(at).expect("the device is not stopped meanwhile");
                    dev.turns.enter(at, |turns, _| *turns)
                };
                assert_eq!(device.with(at, ring), Ok(1));
                pnp.shut_down(at);
            });
        });
    }
}
