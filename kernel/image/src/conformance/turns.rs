//! The probe's objects: callbacks that take turns in a scope, at DISPATCH and at PASSIVE, and note whether another one was there.

use super::Probe;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use framework::{ScopeLevel, prelude::*};

/// Which callback it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Interrupt,
    Object,
    Timer,
}

/// What a scope's callbacks share: how many turns each kind has had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turns([u64; 3]);

impl Turns {
    pub fn of(self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }
}

/// A scope, and what its callbacks should never see.
pub struct Watched<L: ScopeLevel> {
    pub scope: Scope<Turns, L>,
    inside: AtomicBool,
    faults: AtomicU32,
}

impl<L: ScopeLevel> Watched<L> {
    fn new() -> Self {
        Watched { scope: Scope::new(Turns::default()), inside: AtomicBool::new(false), faults: AtomicU32::new(0) }
    }

    /// In a callback of the scope.
    pub fn take<C: Level>(&self, turns: &mut Turns, kind: Kind, at: &mut At<'_, C>) {
        let alone = !self.inside.swap(true, SeqCst);
        turns.0[kind as usize] += 1;
        super::soft::dawdle();
        self.inside.store(false, SeqCst);
        self.faults.fetch_add(u32::from(!alone || at.irql() != L::IRQL), SeqCst);
    }

    /// How often two were there at a time, or one at a wrong IRQL.
    pub fn faults(&self) -> u32 {
        self.faults.load(SeqCst)
    }
}

/// The objects.
pub struct Objects {
    pub swift: Watched<Dispatch>,
    pub slow: Watched<Passive>,
    pub dpc: Dpc<Swift>,
    pub timer: Timer<Swift>,
    pub item: WorkItem<Slow>,
    pub passive_timer: Timer<Slow>,
    /// Every millisecond.
    pub tick: Timer<Count>,
    /// Starts itself again.
    pub again: Timer<Again>,
}

/// In the dispatch scope.
pub struct Swift;
/// In the passive scope.
pub struct Slow;
/// In no scope: how often it ran.
pub struct Count(pub AtomicU32);
/// In no scope: it starts itself again.
pub struct Again;

/// From one tick to the next, in nanoseconds.
pub const PERIOD: u64 = 1_000_000;

impl Objects {
    pub fn create(hw: &mut Creator<Probe>) -> Self {
        Objects {
            swift: Watched::new(),
            slow: Watched::new(),
            dpc: hw.dpc(Swift),
            timer: hw.timer(Swift).create(),
            item: hw.work_item(Slow),
            passive_timer: hw.timer(Slow).create(),
            tick: hw.timer(Count(AtomicU32::new(0))).period(PERIOD).create(),
            again: hw.timer(Again).create(),
        }
    }

    pub fn ticks(&self) -> u32 {
        self.tick.handler().0.load(SeqCst)
    }
}

impl Serialized for Swift {
    type Device = Probe;
    type Data = Turns;
    type Level = Dispatch;

    fn scope<'a>(&'a self, probe: &'a Probe) -> &'a Scope<Turns> {
        &probe.objects.swift.scope
    }
}

impl EvtSerializedDpcFunc for Swift {
    fn evt_dpc_func(&self, probe: &Probe, turns: &mut Turns, at: &mut At<'_, Dispatch>) {
        probe.objects.swift.take(turns, Kind::Object, at);
    }
}

impl EvtSerializedTimerFunc for Swift {
    fn evt_timer_func(&self, probe: &Probe, turns: &mut Turns, at: &mut At<'_, Dispatch>) {
        probe.objects.swift.take(turns, Kind::Timer, at);
    }
}

impl Serialized for Slow {
    type Device = Probe;
    type Data = Turns;
    type Level = Passive;

    fn scope<'a>(&'a self, probe: &'a Probe) -> &'a Scope<Turns, Passive> {
        &probe.objects.slow.scope
    }
}

impl EvtSerializedWorkItemFunc for Slow {
    fn evt_work_item_func(&self, probe: &Probe, turns: &mut Turns, at: &mut At<'_, Passive>) {
        probe.objects.slow.take(turns, Kind::Object, at);
    }
}

impl EvtSerializedTimerFunc for Slow {
    fn evt_timer_func(&self, probe: &Probe, turns: &mut Turns, at: &mut At<'_, Passive>) {
        probe.objects.slow.take(turns, Kind::Timer, at);
    }
}

impl EvtTimerFunc for Count {
    type Device = Probe;
    type Level = Dispatch;

    fn evt_timer_func(&self, _: &Probe, _: &mut At<'_, Dispatch>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl EvtTimerFunc for Again {
    type Device = Probe;
    type Level = Dispatch;

    fn evt_timer_func(&self, probe: &Probe, at: &mut At<'_, Dispatch>) {
        probe.objects.tick.handler().0.fetch_add(1, SeqCst);
        probe.objects.again.start(at, PERIOD / 10);
    }
}
