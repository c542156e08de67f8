//! Cases 27 to 40: the critical section, sets of interrupts that share one lock, what an ISR queues.

use crate::{
    closures::{Deferred, alone, cards, interrupt, nothing},
    support::{MACHINES, coarse, disturbed, explorer, fine, spawn},
};
use hal_sim::{FaultKind, Setup};
use ke::{
    At, CeilingTooLow, ConnectError, CpuSet, Dirql, Event, InterruptLock, Nested, Passive, SpinLock, flush_queued_dpcs,
    irql, thread::ThreadOptions,
};
use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

/// Vectors of class 5, 8 and 9.
const LOW: u8 = 0x51;
const HIGH: u8 = 0x81;
const HIGHER: u8 = 0x91;

/// State that notices whoever comes in while somebody is in.
#[derive(Default)]
struct Exclusive {
    taken: bool,
    visits: u32,
}

impl Exclusive {
    /// Long enough for anything to happen meanwhile that may.
    fn visit(&mut self, at: &mut At<'_, Dirql>, expected: u8) {
        assert!(!mem::replace(&mut self.taken, true), "two are in one critical section");
        assert_eq!(at.irql(), expected);
        at.cpu();
        self.visits += 1;
        assert!(mem::replace(&mut self.taken, false));
    }
}

fn settled<T: Send + 'static>(state: T, level: u8) -> InterruptLock<T, Dirql> {
    let lock = InterruptLock::new(state);
    lock.settle(level).expect("nobody has settled it");
    lock
}

/// A set of two at IRQL 5 and 8, both on `cpu`, against a thread that synchronizes.
fn a_set(cpus: usize) -> impl Fn(&mut Setup) + 'static {
    move |machine| {
        let [low, high] = cards(machine);
        machine.main(move |at| {
            let lock = settled(Exclusive::default(), 8);
            let served = Arc::new(AtomicU32::new(0));
            let count = |served: &Arc<AtomicU32>| {
                let served = served.clone();
                move |state: &mut Exclusive, events, _: &dyn Deferred, at: &mut At<'_, Dirql>| {
                    state.visit(at, 8);
                    served.fetch_add(events, SeqCst);
                }
            };
            let lower = interrupt(&low, &lock, count(&served), nothing);
            let higher = interrupt(&high, &lock, count(&served), nothing);
            let cpu = cpus as u32 - 1;
            let connection = alone(at, 0, cpu, LOW);
            lower.connect(at, connection, ()).expect("the vector is free");
            let connection = alone(at, 1, cpu, HIGH);
            higher.connect(at, connection, ()).expect("the vector is free");
            for info in [lower.info(at), higher.info(at)] {
                assert_eq!(info.expect("it is connected").synchronize_irql, 8);
            }
            low.access(|card, _| card.to_come = 1);
            high.access(|card, _| card.to_come = 2);
            lock.synchronize(at, |state, at| state.visit(at, 8));
            assert_eq!(lower.synchronize_connected(at, |(), state, at| state.visit(at, 8)), Some(()));
            while served.load(SeqCst) < 3 {
                // Lets everything happen that is to come.
                let expired = Event::new().wait_timeout(at, 1_000);
                assert!(expired.is_err(), "nobody sets it");
            }
            assert_eq!(lock.synchronize(at, |state, _| state.visits), lower.count() as u32 + higher.count() as u32 + 2);
            assert!(lower.disconnect(at).is_some() && higher.disconnect(at).is_some());
        });
    }
}

#[test]
fn c27_isr_and_synchronize_run_at_the_synchronize_irql_with_the_lock() {
    for cpus in MACHINES {
        coarse("c27 critical section", cpus, a_set(cpus));
    }
}

#[test]
fn c29_shared_lock_runs_at_the_highest_dirql() {
    for cpus in MACHINES {
        fine("c29 shared lock", cpus, a_set(cpus));
    }
}

#[test]
fn c28_synchronize_returns_what_the_closure_returns_and_restores_the_level() {
    disturbed("c28 synchronize", 1, |at| {
        let dispatch = SpinLock::new(());
        for level in irql::DEVICE_LOWEST..=irql::DEVICE_HIGHEST {
            let lock = settled(0, level);
            for returned in [0, 1, 2] {
                assert_eq!(lock.synchronize(at, |_, _| returned), returned);
                assert_eq!(at.irql(), irql::PASSIVE);
                dispatch.with(at, |(), at| {
                    assert_eq!(lock.synchronize(at, |_, _| returned), returned);
                    assert_eq!(at.irql(), irql::DISPATCH);
                });
            }
        }
        // From every device level below it.
        let highest = settled(0, irql::DEVICE_HIGHEST);
        for level in irql::DEVICE_LOWEST..irql::DEVICE_HIGHEST {
            settled(0, level).synchronize(at, |_, at| {
                assert_eq!(highest.synchronize_nested(at, |_, at| at.irql()), Ok(irql::DEVICE_HIGHEST));
                assert_eq!(at.irql(), level);
            });
        }
    });
}

#[test]
fn c31_a_lock_outside_the_set_keeps_its_own_level() {
    for cpus in MACHINES {
        coarse("c31 another lock", cpus, move |machine| {
            let [low, high, other] = cards(machine);
            machine.main(move |at| {
                let (set, own) = (settled(Exclusive::default(), 8), settled(Exclusive::default(), 9));
                let expect = |level| {
                    move |state: &mut Exclusive, _, _: &dyn Deferred, at: &mut At<'_, Dirql>| state.visit(at, level)
                };
                let lower = interrupt(&low, &set, expect(8), nothing);
                let higher = interrupt(&high, &set, expect(8), nothing);
                let highest = interrupt(&other, &own, expect(9), nothing);
                let cpu = cpus as u32 - 1;
                let connection = alone(at, 0, cpu, LOW);
                lower.connect(at, connection, ()).expect("the vector is free");
                let connection = alone(at, 1, cpu, HIGH);
                higher.connect(at, connection, ()).expect("the vector is free");
                let connection = alone(at, 2, cpu, HIGHER);
                highest.connect(at, connection, ()).expect("the vector is free");
                for card in [&low, &high, &other] {
                    card.access(|card, _| card.to_come = 1);
                }
                while lower.count() + higher.count() + highest.count() < 3 {
                    assert!(Event::new().wait_timeout(at, 1_000).is_err(), "nobody sets it");
                }
                assert_eq!((set.ceiling(), own.ceiling()), (8, 9));
                assert!(lower.disconnect(at).is_some() && higher.disconnect(at).is_some());
                assert!(highest.disconnect(at).is_some());
            });
        });
    }
}

#[test]
fn c33_a_lock_below_its_interrupt_is_refused() {
    coarse("c33 synchronize IRQL too low", 1, |machine| {
        let [card] = cards(machine);
        machine.main(move |at| {
            let lock = settled((), 5);
            let high = interrupt(&card, &lock, |(), _, _, _| (), nothing);
            let connection = alone(at, 0, 0, HIGH);
            let refused = ConnectError::SynchronizeTooLow { irql: 8, ceiling: 5 };
            assert_eq!(high.connect(at, connection, ()), Err(refused));
            assert!(!high.is_connected());
            assert_eq!(lock.settle(8), Err(CeilingTooLow { line: 8, ceiling: 5 }));
            assert_eq!(lock.ceiling(), 5);
        });
    });
}

/// The lower ISR goes up, the higher one is refused to go down; both at once on two CPUs.
#[test]
fn c34_nesting_ascends_or_is_refused() {
    for cpus in MACHINES {
        fine("c34 nesting", cpus, move |machine| {
            let [low, high] = cards(machine);
            machine.main(move |at| {
                let (lower, higher) = (settled(0, 5), settled(0, 8));
                let equal = settled((), 5);
                let up = higher.clone();
                let ascending = move |own: &mut u32, events: u32, _: &dyn Deferred, at: &mut At<'_, Dirql>| {
                    let nested = up.synchronize_nested(at, |theirs, at| {
                        *theirs += events;
                        at.irql()
                    });
                    assert_eq!((nested, at.irql()), (Ok(8), 5));
                    let refused = equal.synchronize_nested(at, |(), _| ());
                    assert_eq!(refused, Err(Nested::NotHigher { here: 5, there: 5 }));
                    *own += events;
                };
                let down = lower.clone();
                let descending = move |own: &mut u32, events: u32, _: &dyn Deferred, at: &mut At<'_, Dirql>| {
                    let refused = down.synchronize_nested(at, |theirs, _| *theirs += 100);
                    assert_eq!((refused, at.irql()), (Err(Nested::NotHigher { here: 8, there: 5 }), 8));
                    *own += events;
                };
                let (low_one, high_one) =
                    (interrupt(&low, &lower, ascending, nothing), interrupt(&high, &higher, descending, nothing));
                let connection = alone(at, 0, 0, LOW);
                low_one.connect(at, connection, ()).expect("the vector is free");
                let connection = alone(at, 1, cpus as u32 - 1, HIGH);
                high_one.connect(at, connection, ()).expect("the vector is free");
                low.access(|card, _| card.to_come = 1);
                high.access(|card, _| card.to_come = 1);
                while lower.synchronize(at, |own, _| *own) < 1 || higher.synchronize(at, |own, _| *own) < 2 {
                    assert!(Event::new().wait_timeout(at, 1_000).is_err(), "nobody sets it");
                }
                assert!(low_one.disconnect(at).is_some() && high_one.disconnect(at).is_some());
            });
        });
    }
}

#[test]
fn c35_a_lock_taken_before_the_first_connect_excludes_and_loses_nothing() {
    for cpus in MACHINES {
        fine("c35 lock before connect", cpus, move |machine| {
            let [card] = cards(machine);
            machine.main(move |at| {
                let lock = InterruptLock::new(Exclusive::default());
                let theirs = lock.clone();
                let other = spawn(at, ThreadOptions::named("early").on(CpuSet::of([cpus as u32 - 1])), move |at| {
                    let mut guard = theirs.acquire(at);
                    let (state, mut at) = guard.parts();
                    let level = at.irql();
                    assert!([irql::DEVICE_HIGHEST, 5].contains(&level));
                    state.visit(&mut at, level);
                });
                let mut guard = lock.acquire(at);
                let (state, mut high) = guard.parts();
                state.visit(&mut high, irql::DEVICE_HIGHEST);
                drop(guard);
                lock.settle(5).expect("nobody has settled it");
                let late = interrupt(
                    &card,
                    &lock,
                    |state: &mut Exclusive, _, _, at: &mut At<'_, Dirql>| state.visit(at, 5),
                    nothing,
                );
                let connection = alone(at, 0, 0, LOW);
                late.connect(at, connection, ()).expect("the vector is free");
                card.access(|card, _| card.to_come = 1);
                other.join(at).expect("no device goes away here");
                while late.count() < 1 {
                    assert!(Event::new().wait_timeout(at, 1_000).is_err(), "nobody sets it");
                }
                assert_eq!(lock.synchronize(at, |state, _| state.visits), 3);
                assert!(late.disconnect(at).is_some());
            });
        });
    }
}

#[test]
fn c37_a_lock_taken_twice_is_a_deadlock_that_is_reported() {
    // By types it takes a forgotten guard to try.
    let twice = |machine: &mut Setup| {
        machine.main(|at| {
            let lock = settled((), 8);
            let member = lock.clone();
            mem::forget(lock.acquire(at));
            let _twice = member.acquire(at);
        });
    };
    let failure = explorer("c37 lock twice", 2).without_verifier().expect_failure(twice);
    assert_eq!(failure.kind(), FaultKind::Deadlock, "{failure}");
    assert!(failure.message().contains("CPU 0 (main) spins after AcquireLock at"), "{failure}");

    let failure = explorer("c37 lock twice", 2).expect_failure(twice);
    assert_eq!(failure.kind(), FaultKind::BugCheck, "{failure}");
    let lines = ["the interrupt lock taken at", "sets.rs", "is taken again at"];
    assert!(lines.iter().all(|line| failure.message().contains(line)), "{failure}");
}

#[test]
fn c40_five_queues_one_run() {
    for cpus in MACHINES {
        fine("c40 five queues", cpus, move |machine| {
            let [card] = cards(machine);
            machine.main(move |at| {
                let lock = settled(0, 5);
                let isr = |sum: &mut u32, _, this: &dyn Deferred, at: &mut At<'_, Dirql>| {
                    let queued = [1, 2, 3, 4, 5].map(|_| {
                        *sum += 1;
                        this.queue_dpc(at)
                    });
                    assert_eq!(queued, [true, false, false, false, false]);
                };
                let runs = Arc::new((AtomicU32::new(0), AtomicU32::new(0), Event::new()));
                let seen = runs.clone();
                let dpc = move |lock: &InterruptLock<u32, Dirql>, at: &mut At<'_, ke::Dispatch>| {
                    seen.0.fetch_add(1, SeqCst);
                    seen.1.fetch_add(lock.synchronize(at, |sum, _| mem::take(sum)), SeqCst);
                    seen.2.set(at);
                };
                let five = interrupt(&card, &lock, isr, dpc);
                let connection = alone(at, 0, cpus as u32 - 1, LOW);
                five.connect(at, connection, ()).expect("the vector is free");
                card.access(|card, _| card.to_come = 1);
                runs.2.wait(at).expect("no device goes away here");
                flush_queued_dpcs(at);
                assert_eq!((runs.0.load(SeqCst), runs.1.load(SeqCst)), (1, 5));
                assert!(five.disconnect(at).is_some());
            });
        });
    }
}

/// Whatever the device does. (Case 12, deleting a connected interrupt, has no call.)
#[test]
fn nothing_of_an_interrupt_runs_after_it_was_disconnected() {
    for cpus in MACHINES {
        fine("teardown", cpus, move |machine| {
            let [card] = cards(machine);
            machine.main(move |at: &mut At<'_, Passive>| {
                let gone = Arc::new(AtomicU32::new(0));
                let (in_isr, in_dpc) = (gone.clone(), gone.clone());
                let isr = move |(): &mut (), _, this: &dyn Deferred, at: &mut At<'_, Dirql>| {
                    assert_eq!(in_isr.load(SeqCst), 0, "an ISR after teardown");
                    this.queue_dpc(at);
                };
                let dpc = move |_: &InterruptLock<(), Dirql>, at: &mut At<'_, ke::Dispatch>| {
                    assert_eq!((in_dpc.load(SeqCst), at.irql()), (0, irql::DISPATCH), "a DPC after teardown");
                };
                let lock = settled((), 5);
                let only = interrupt(&card, &lock, isr, dpc);
                for _ in 0..2 {
                    gone.store(0, SeqCst);
                    let connection = alone(at, 0, cpus as u32 - 1, LOW);
                    only.connect(at, connection, ()).expect("the vector is free");
                    card.access(|card, _| card.to_come = 2);
                    assert!(only.disconnect(at).is_some());
                    gone.store(1, SeqCst);
                }
            });
        });
    }
}
