//! The three forms of IoConnectInterruptEx (semantics of 4.2): their validation, their defaults, all or nothing.

use crate::support::{AtDirql, Card, GSI, Seen, Serving, Sharer, VECTOR, card_on, coarse, line_at};
use hal_sim::{
    Device, LineInput, Setup,
    model::{BusAccess, Identity, Model, PciModel, Step},
};
use io::{
    Bus, Grant,
    connect::{ConnectFailure, FullySpecified, InterruptResource, LineBased, Locks, MessageBased, Origin, Version},
};
use ke::{At, ConnectError, CpuSet, Dirql, Dispatch, Interrupt, InterruptLock, Mode, Passive, ServiceRoutine};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

fn stated(at: &mut At<'_, Passive>, vector: u8, synchronize_irql: u8) -> FullySpecified {
    let source = LineInput::program(at, GSI, Mode::LevelSensitive, 0, vector);
    FullySpecified {
        vector,
        irql: vector >> 4,
        synchronize_irql,
        mode: Mode::LevelSensitive,
        share_vector: false,
        affinity: CpuSet::of([0]),
        floating_save: false,
        origin: Origin::Own(Arc::new(source)),
    }
}

/// A sharer whose lock has not settled.
fn unsettled(card: &Device<Card>) -> AtDirql {
    Sharer::with(card.clone(), InterruptLock::new(0))
}

#[test]
fn one_interrupt_alone_is_one_connect() {
    coarse("fully specified", 2, |machine| {
        let card = card_on(machine, GSI);
        machine.main(move |at| {
            let alone = unsettled(&card);
            stated(at, VECTOR, 9).connect(at, &alone.interrupt, alone.seen.clone()).expect("all is well");
            let info = alone.interrupt.info(at).expect("it is connected");
            assert_eq!((info.irql, info.synchronize_irql), (VECTOR >> 4, 9));
            alone.start(2);
            alone.finish(at);
            alone.leave(at);
        });
    });
}

#[test]
fn what_nt_refuses_of_a_fully_specified_connect_is_refused() {
    coarse("refused connects", 1, |machine| {
        let card = card_on(machine, GSI);
        machine.main(move |at| {
            let refused = |at: &mut At<'_, Passive>, lock: Option<u8>, change: &dyn Fn(&mut FullySpecified)| {
                let sharer = unsettled(&card);
                lock.into_iter().for_each(|irql| sharer.interrupt.lock().settle(irql).expect("nobody has settled it"));
                let mut stated = stated(at, VECTOR, 5);
                change(&mut stated);
                let failure = stated.connect(at, &sharer.interrupt, sharer.seen.clone()).expect_err("it is wrong");
                assert!(!sharer.interrupt.is_connected());
                failure
            };
            let nobody = refused(at, None, &|stated| stated.affinity = CpuSet::of([7]));
            assert_eq!(nobody, ConnectFailure::NoCpu { affinity: CpuSet::of([7]), wanted: None });
            let wrong = refused(at, None, &|stated| stated.irql = 4);
            assert_eq!(wrong, ConnectFailure::WrongIrql { vector: VECTOR, irql: 4 });
            for synchronize_irql in [4, 13] {
                let wrong = refused(at, None, &|stated| stated.synchronize_irql = synchronize_irql);
                assert_eq!(wrong, ConnectFailure::WrongSynchronizeIrql { irql: 5, synchronize_irql });
            }
            let other = refused(at, Some(8), &|_| ());
            assert_eq!(other, ConnectFailure::OtherCeiling { ceiling: 8, synchronize_irql: 5 });
            let passive = Sharer::<Passive>::with(card.clone(), InterruptLock::new(0));
            let failure = stated(at, VECTOR, 5).connect(at, &passive.interrupt, passive.seen.clone());
            assert_eq!(failure, Err(ConnectFailure::NotPassive { irql: 5, synchronize_irql: 5 }));
        });
    });
}

#[test]
fn several_with_a_common_lock_are_one_connect_each() {
    coarse("common lock", 2, |machine| {
        let (low, high) = (card_on(machine, GSI), card_on(machine, GSI + 1));
        machine.main(move |at| {
            let lock = InterruptLock::new(0);
            let (low, high) = (AtDirql::with(low.clone(), lock.clone()), AtDirql::with(high.clone(), lock.clone()));
            stated(at, 0x51, 8).connect(at, &low.interrupt, low.seen.clone()).expect("all is well");
            let source = LineInput::program(at, GSI + 1, Mode::LevelSensitive, 1, 0x81);
            let mut on_the_other = stated(at, 0x81, 8);
            LineInput::program(at, GSI, Mode::LevelSensitive, 0, 0x51);
            on_the_other.affinity = CpuSet::of([1]);
            on_the_other.origin = Origin::Own(Arc::new(source));
            on_the_other.connect(at, &high.interrupt, high.seen.clone()).expect("all is well");
            assert_eq!(lock.settled_ceiling(), Some(8));
            high.start(1);
            high.finish(at);
            high.leave(at);
            low.leave(at);
        });
    });
}

/// The lines of a device that has two: a resource each, on vectors of the classes 5 and 8.
fn two_lines(at: &mut At<'_, Passive>, shared: bool) -> [InterruptResource; 2] {
    [(GSI, 0x51), (GSI + 1, 0x81)].map(|(gsi, vector)| InterruptResource::Line {
        line: line_at(at, gsi, Mode::LevelSensitive, 0, vector),
        shared,
        pin: None,
    })
}

type Routine = Serving<Dirql>;

fn serve<'a>(sharers: &'a [AtDirql]) -> impl FnMut(u16) -> (Routine, Arc<Seen>) + 'a {
    |n| (Serving::default(), sharers[usize::from(n)].seen.clone())
}

#[test]
fn lines_are_connected_at_one_level_with_a_lock_each_or_one_for_all() {
    for common in [false, true] {
        coarse("line based", 1, move |machine| {
            let cards = [card_on(machine, GSI), card_on(machine, GSI + 1)];
            machine.main(move |at| {
                let sharers = cards.map(|card| unsettled(&card));
                let resources = two_lines(at, true);
                let form = LineBased { resources: &resources, synchronize_irql: 0 };
                let lock = InterruptLock::new(0);
                let locks = if common { Locks::Shared(lock.clone()) } else { Locks::Each(&mut |_| 0) };
                let connected = form.connect(at, locks, &mut serve(&sharers)).expect("all is well");
                assert_eq!((connected.count(), connected.unified_irql()), (2, 8));
                let infos = [0, 1].map(|n| connected.get(n).and_then(|each| each.info(at)).expect("it is connected"));
                assert_eq!(infos.map(|info| (info.irql, info.synchronize_irql)), [(5, 8), (8, 8)]);
                sharers.iter().for_each(|sharer| sharer.start(1));
                sharers.iter().for_each(|sharer| sharer.finish(at));
                let (contexts, told) = connected.disconnect(at);
                assert_eq!((contexts.len(), told), (2, Ok(())));
                assert_eq!(*lock.acquire(at), if common { 2 } else { 0 }, "who shares the lock shares the state");
            });
        });
    }
}

#[test]
fn all_lines_or_none() {
    coarse("all or nothing", 1, |machine| {
        let cards = [card_on(machine, GSI), card_on(machine, GSI + 1)];
        let taken = card_on(machine, GSI + 1);
        machine.main(move |at| {
            let sharers = cards.map(|card| unsettled(&card));
            let resources = two_lines(at, false);
            let InterruptResource::Line { line, .. } = &resources[1] else { unreachable!("both are lines") };
            let lock = InterruptLock::new(0);
            lock.settle(8).expect("nobody has settled it");
            let there = AtDirql::with(taken.clone(), lock);
            there.join(at, line);
            let form = LineBased { resources: &resources, synchronize_irql: 0 };
            let refused = form.connect(at, Locks::Each(&mut |_| 0), &mut serve(&sharers)).err();
            let not_shared = ConnectError::NotShared { cpu: 0, vector: 0x81 };
            assert_eq!(refused, Some(ConnectFailure::Core(not_shared)));
            assert_eq!(ke::connected_interrupts(at).len(), 1, "the first was disconnected again");
            there.start(1);
            there.finish(at);
            there.leave(at);
            let nothing = LineBased { resources: &[], synchronize_irql: 0 };
            let refused = nothing.connect(at, Locks::Each(&mut |_| 0), &mut serve(&sharers)).err();
            assert_eq!(refused, Some(ConnectFailure::NoInterrupt));
        });
    });
}

/// Rings by two messages.
#[derive(Debug, Default)]
struct Bells {
    to_come: [u32; 2],
    pending: [u32; 2],
}

impl PciModel for Bells {
    fn identity(&self) -> Identity {
        Identity { msi_messages: 2, ..Identity::new(0x1234, 0xbe12) }
    }
}

impl Model for Bells {
    fn read(&mut self, _: usize, _: u64, _: usize, _: &mut BusAccess<'_>) -> u64 {
        0
    }
    fn write(&mut self, _: usize, _: u64, _: usize, _: u64, _: &mut BusAccess<'_>) {}
    fn steps(&self, steps: &mut Vec<Step>) {
        (0..2).filter(|n| self.to_come[*n] > 0).for_each(|n| steps.push(Step::soon(n as u32, "rings")));
    }
    fn step(&mut self, n: u32, bus: &mut BusAccess<'_>) {
        self.to_come[n as usize] -= 1;
        self.pending[n as usize] += 1;
        bus.interrupt(n as u8);
    }
    fn interrupt_status(&self) -> u64 {
        0
    }
}

/// Serves message `0` or `1`.
struct Ringing(u16);

struct Heard {
    bells: Device<Bells>,
    rings: [AtomicU32; 2],
    all: ke::Event,
}

impl ServiceRoutine for Ringing {
    type State = u32;
    type Level = Dirql;
    type Context = Arc<Heard>;

    fn service(
        &self,
        heard: &Arc<Heard>,
        state: &mut u32,
        this: &Interrupt<Self>,
        at: &mut At<'_, Dirql>,
    ) -> ke::Claim {
        let n = usize::from(self.0);
        let rings = heard.bells.access(|bells, _| std::mem::take(&mut bells.pending[n]));
        *state += rings;
        heard.rings[n].fetch_add(rings, SeqCst);
        this.queue_dpc(at);
        ke::Claim::Mine
    }
    fn dpc(&self, heard: &Arc<Heard>, _: &Interrupt<Self>, at: &mut At<'_, Dispatch>) {
        if heard.rings.iter().all(|rings| rings.load(SeqCst) == 2) {
            heard.all.set(at);
        }
    }
    fn work_item(&self, _: &Arc<Heard>, _: &Interrupt<Self>, _: &mut At<'_, Passive>) {}
    fn describe(&self) -> String {
        format!("bell {}", self.0)
    }
}

#[test]
fn messages_are_connected_at_one_level_raised_if_asked() {
    coarse("message based", 2, |machine: &mut Setup| {
        let bells = machine.device(Bells::default());
        machine.main(move |at| {
            let function = Bus::enumerate(at, &hal_sim::platform()).devices()[0].clone();
            function.set_bus_master(at, true).expect("it is there");
            let grants = [0x62, 0x63].map(|vector| Grant { cpu: 0, vector });
            let messages = grants.map(|grant| Some(at.msi_message(grant.cpu, grant.vector)));
            let sources = function.program_messages(at, &messages).expect("it has two messages");
            let resource = |(grant, source)| InterruptResource::Message { grant, source: Arc::new(source) };
            let resources: Vec<_> = grants.into_iter().zip(sources).map(resource).collect();

            let heard = Heard { bells: bells.clone(), rings: [0, 0].map(AtomicU32::new), all: ke::Event::new() };
            let heard = Arc::new(heard);
            let by_lines = LineBased { resources: &resources, synchronize_irql: 0 };
            let refused =
                by_lines.connect::<Ringing>(at, Locks::Each(&mut |_| 0), &mut |n| (Ringing(n), heard.clone()));
            assert_eq!(refused.err(), Some(ConnectFailure::HasMessages { messages: 2 }));

            let form = MessageBased { resources: &resources, synchronize_irql: 9 };
            let none: Option<(Locks<'_, Routine>, _)> = None;
            let version = form.connect(at, (Locks::Each(&mut |_| 0), &mut |n| (Ringing(n), heard.clone())), none);
            let Ok(Version::Messages(connected)) = version else { panic!("it has messages") };
            assert_eq!((connected.count(), connected.unified_irql()), (2, 9));
            bells.with(|bells| bells.to_come = [2, 2]);
            heard.all.wait(at).expect("no device goes away here");
            let states = [0, 1].map(|n| *connected.get(n).expect("both are connected").lock().acquire(at));
            assert_eq!(states, [2, 2], "a lock and a state each");
            let (contexts, told) = connected.disconnect(at);
            assert_eq!((contexts.len(), told), (2, Ok(())));
        });
    });
}

#[test]
fn without_messages_the_lines_fall_back() {
    coarse("fallback", 1, |machine| {
        let cards = [card_on(machine, GSI), card_on(machine, GSI + 1)];
        machine.main(move |at| {
            let sharers = cards.map(|card| unsettled(&card));
            let resources = two_lines(at, true);
            let form = MessageBased { resources: &resources, synchronize_irql: 0 };
            let make: io::connect::Make<'_, Ringing> = &mut |_| unreachable!("there is no message");
            let fallback: Option<(Locks<'_, Routine>, _)> = None;
            let refused = form.connect(at, (Locks::Each(&mut |_| 0), make), fallback).err();
            assert_eq!(refused, Some(ConnectFailure::NoInterrupt));
            let make: io::connect::Make<'_, Ringing> = &mut |_| unreachable!("there is no message");
            let mut lines = serve(&sharers);
            let fallback = Some((Locks::Each(&mut |_| 0), &mut lines as io::connect::Make<'_, Routine>));
            let version = form.connect(at, (Locks::Each(&mut |_| 0), make), fallback);
            let Ok(Version::Lines(connected)) = version else { panic!("it has lines") };
            sharers.iter().for_each(|sharer| sharer.start(1));
            sharers.iter().for_each(|sharer| sharer.finish(at));
            let (contexts, told) = connected.disconnect(at);
            assert_eq!((contexts.len(), told), (2, Ok(())));
        });
    });
}
