//! Case 60: a wait lock with a time-out.

use crate::support::{fine, spawn};
use ke::{Event, WaitLock, thread::ThreadOptions};
use std::sync::Arc;

const TIMEOUT: u64 = 10_000_000;

#[test]
fn c60_a_wait_lock_that_stays_taken_times_out() {
    for cpus in [1, 2] {
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
