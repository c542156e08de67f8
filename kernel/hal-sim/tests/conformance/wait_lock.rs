//! Case 60: a wait lock with a time-out.

use crate::support::{MACHINES, coarse, fine, spawn};
use ke::{Event, WaitLock, thread::ThreadOptions};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

const TIMEOUT: u64 = 10_000_000;

#[test]
fn c60_a_wait_lock_that_stays_taken_times_out() {
    for cpus in MACHINES {
        fine("c60 times out", cpus, |machine| {
            machine.main(|at| {
                let shared = Arc::new((WaitLock::new(0), Event::new(), Event::new()));
                let owner = shared.clone();
                let holder = spawn(at, ThreadOptions::named("holder"), move |at| {
                    let mut value = owner.0.acquire(at);
                    *value += 1;
                    owner.1.set(at);
                    owner.2.wait(at).expect("no device goes away here");
                });
                shared.1.wait(at).expect("no device goes away here");
                assert!(shared.0.acquire_timeout(at, 0).is_none(), "taken, and no time to wait");
                let before = at.now();
                assert!(shared.0.acquire_timeout(at, TIMEOUT).is_none(), "taken all the time");
                assert!(at.now() >= before + TIMEOUT, "not before its time");
                shared.2.set(at);
                // Who gave up is no waiter any more, so the lock comes free and is found free.
                let value = shared.0.acquire_timeout(at, u64::MAX).expect("it comes free");
                assert_eq!(*value, 1);
                drop(value);
                holder.join(at).expect("no device goes away here");
                assert!(shared.0.acquire_timeout(at, 0).is_some(), "free");
            });
        });
    }
}

#[test]
fn c60_a_lock_that_comes_free_at_its_time_out_is_owned_or_not() {
    fine("c60 at its time-out", 2, |machine| {
        machine.main(|at| {
            let lock = Arc::new(WaitLock::new(0));
            let other = lock.clone();
            let mut value = lock.acquire(at);
            let waiter = spawn(at, ThreadOptions::named("waiter"), move |at| {
                if let Some(mut value) = other.acquire_timeout(at, TIMEOUT) {
                    *value += 1;
                }
            });
            let slept = Event::new().wait_timeout(at, TIMEOUT);
            assert!(slept.is_err());
            *value += 1;
            drop(value);
            waiter.join(at).expect("no device goes away here");
            // Whether it got the lock or not, the lock is free again, and nobody was forgotten.
            let value = lock.try_acquire(at).expect("free");
            assert!((1..=2).contains(&*value));
        });
    });
}

#[test]
fn c60_who_gives_up_in_the_middle_of_the_queue_costs_nobody_a_turn() {
    for cpus in MACHINES {
        let outcomes = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let seen = outcomes.clone();
        coarse("c60 among waiters", cpus, move |machine| {
            let outcomes = seen.clone();
            machine.main(move |at| {
                let lock = Arc::new(WaitLock::new(0));
                let held = lock.acquire(at);
                let waiters = [None, Some(TIMEOUT), None].map(|timeout| {
                    let (lock, outcomes) = (lock.clone(), outcomes.clone());
                    spawn(at, ThreadOptions::named("waiter"), move |at| {
                        let guard = match timeout {
                            None => Some(lock.acquire(at)),
                            Some(timeout) => lock.acquire_timeout(at, timeout),
                        };
                        if timeout.is_some() {
                            outcomes[usize::from(guard.is_some())].fetch_add(1, SeqCst);
                        }
                        guard.into_iter().for_each(|mut value| *value += 1);
                    })
                });
                // All of them queue; the one whose time-out is as long as this sleep may give up, or be given the lock.
                assert!(Event::new().wait_timeout(at, TIMEOUT).is_err(), "nobody sets it");
                drop(held);
                waiters.into_iter().for_each(|waiter| waiter.join(at).expect("no device goes away here"));
                let turns = lock.try_acquire(at).map(|value| *value).expect("everybody has had a turn");
                assert!((2..=3).contains(&turns), "{turns} turns");
            });
        });
        let [gave_up, got_it] = [0, 1].map(|n: usize| outcomes[n].load(SeqCst));
        assert!(gave_up > 0 && got_it > 0, "{gave_up} schedules in which it gives up, {got_it} in which it does not");
    }
}
