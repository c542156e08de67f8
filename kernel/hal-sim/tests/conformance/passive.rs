//! Cases 55 and 57: passive-level interrupts.

use crate::{
    closures::{Deferred, alone, cards, interrupt, nothing},
    support::{MACHINES, coarse, fine, spawn},
};
use hal_sim::Setup;
use ke::{At, Event, InterruptLock, Passive, WaitError, irql, thread::ThreadOptions};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
};

/// Two passive-level interrupts whose ISRs sleep. `inside` counts the ISRs that are at it, `most` the most at once.
fn sleepers(shared: bool, cpus: usize, overlapped: Arc<AtomicBool>) -> impl Fn(&mut Setup) + 'static {
    move |machine| {
        let [one, other] = cards(machine);
        let overlapped = overlapped.clone();
        machine.main(move |at| {
            let first = InterruptLock::<u32, Passive>::new(0);
            let second = if shared { first.clone() } else { InterruptLock::new(0) };
            let inside = Arc::new(AtomicU32::new(0));
            let sleeping = || {
                let (inside, overlapped) = (inside.clone(), overlapped.clone());
                move |served: &mut u32, events: u32, _: &dyn Deferred, at: &mut At<'_, Passive>| {
                    assert_eq!(at.irql(), irql::PASSIVE);
                    if inside.fetch_add(1, SeqCst) > 0 {
                        assert!(!shared, "two ISRs are under one lock");
                        overlapped.store(true, SeqCst);
                    }
                    assert_eq!(Event::new().wait_timeout(at, 1_000), Err(WaitError::TimedOut));
                    *served += events;
                    inside.fetch_sub(1, SeqCst);
                }
            };
            let slow = interrupt(&one, &first, sleeping(), nothing);
            let slower = interrupt(&other, &second, sleeping(), nothing);
            let connection = alone(at, 0, 0, 0x51);
            slow.connect(at, connection, ()).expect("the vector is free");
            let connection = alone(at, 1, cpus as u32 - 1, 0x81);
            slower.connect(at, connection, ()).expect("the vector is free");
            one.access(|card, _| card.to_come = 2);
            other.access(|card, _| card.to_come = 1);
            let served = |at: &mut At<'_, Passive>| {
                let served = first.synchronize(at, |served, _| *served);
                if shared { served } else { served + second.synchronize(at, |served, _| *served) }
            };
            while served(at) < 3 {
                assert!(Event::new().wait_timeout(at, 10_000).is_err(), "nobody sets it");
            }
            assert!(slow.disconnect(at).is_some() && slower.disconnect(at).is_some());
        });
    }
}

#[test]
fn c55_passive_isrs_sleep_and_never_overlap_under_one_lock() {
    for cpus in MACHINES {
        fine("c55 one wait lock", cpus, sleepers(true, cpus, Arc::default()));
    }
}

#[test]
fn c55_passive_isrs_overlap_with_locks_of_their_own() {
    for cpus in MACHINES {
        let overlapped = Arc::new(AtomicBool::new(false));
        fine("c55 two wait locks", cpus, sleepers(false, cpus, overlapped.clone()));
        assert!(overlapped.load(SeqCst), "no schedule has both ISRs at it");
    }
}

#[test]
fn c57_a_wait_lock_is_tried_without_waiting() {
    for cpus in MACHINES {
        coarse("c57 try", cpus, |machine| {
            machine.main(|at| {
                let lock = InterruptLock::<u32, Passive>::new(7);
                let (held, tried) = (Arc::new(Event::new()), Arc::new(Event::new()));
                let (theirs, hold, release) = (lock.clone(), held.clone(), tried.clone());
                let other = spawn(at, ThreadOptions::named("holder"), move |at| {
                    theirs.synchronize(at, |_, at| {
                        hold.set(at);
                        release.wait(at).expect("no device goes away here");
                    });
                });
                held.wait(at).expect("no device goes away here");
                assert!(lock.try_acquire(at).is_none());
                assert!(lock.try_acquire(at).is_none(), "who tries in vain changes nothing");
                tried.set(at);
                other.join(at).expect("no device goes away here");
                assert_eq!(lock.try_acquire(at).map(|guard| *guard), Some(7));
                assert!(lock.try_acquire(at).is_some(), "the guard before it was dropped");
            });
        });
    }
}
