//! Locks taken in opposite orders: found although nobody ever waits, from one run of each order.

use super::*;
use ke::thread::{self, ThreadOptions};
use std::sync::Arc;

const OPPOSITE: &str = "locks are taken in opposite orders";

fn here(mark: &str) -> String {
    place("orders.rs", include_str!("orders.rs"), mark)
}

#[test]
fn spin_locks_in_opposite_orders() {
    let failure = explorer("spin order", 1).expect_failure(|machine| {
        machine.main(|at| {
            let (a, b) = (SpinLock::new(()), SpinLock::new(()));
            let mut first = a.acquire(at); // a first
            drop(b.acquire(first.parts().1)); // then b
            drop(first);
            let mut first = b.acquire(at); // b first
            drop(a.acquire(first.parts().1)); // then a
        });
    });
    let lines = [here("a first"), here("then b"), here("b first"), here("then a")];
    let said: Vec<&str> = lines.iter().map(String::as_str).chain([OPPOSITE]).collect();
    assert_says(&failure, "VERIFIER_VIOLATION", &said);
}

#[test]
fn wait_locks_in_a_circle_of_three_threads() {
    let failure = explorer("wait order", 1).expect_failure(|machine| {
        machine.main(|at| {
            let locks = Arc::new([(); 3].map(|()| WaitLock::new(())));
            for n in 0..3 {
                let locks = locks.clone();
                let body = move |at: &mut At<'_, Passive>| {
                    let _first = locks[n].acquire(at); // one
                    let _second = locks[(n + 1) % 3].acquire(at); // and the next
                };
                let thread = thread::spawn(at, ThreadOptions::named("one of three"), body);
                thread.expect("there is memory").join(at).expect("no device is used");
            }
        });
    });
    assert_says(&failure, "VERIFIER_VIOLATION", &[OPPOSITE, &here("one"), &here("and the next")]);
    assert_eq!(failure.message().matches("elsewhere").count(), 2, "{failure}");
}

#[test]
fn a_lock_of_an_enable_callback_held_while_the_interrupt_is_disabled() {
    let failure = found("lock of a callback", |dev, at| {
        let _guard = dev.wait.acquire(at); // held
        dev.passive.disable(at).expect("it is enabled");
    });
    let said = [OPPOSITE, &here("held"), &line_of("takes the driver's lock"), "framework/src/interrupt/object.rs"];
    assert_says(&failure, "VERIFIER_VIOLATION", &said);
}

#[test]
fn locks_in_one_order_are_in_order_however_often() {
    let stats = Explorer::new("one order").cpus(2).bound(2).run(|machine| {
        machine.main(|at| {
            let locks = Arc::new((SpinLock::new(0), SpinLock::new(0)));
            let theirs = locks.clone();
            let both = move |at: &mut At<'_, Passive>| {
                let mut first = theirs.0.acquire(at);
                *theirs.1.acquire(first.parts().1) += 1;
            };
            let other = thread::spawn(at, ThreadOptions::named("other"), both).expect("no allocation fails here");
            let mut first = locks.0.acquire(at);
            *locks.1.acquire(first.parts().1) += 1;
            drop(first);
            other.join(at).expect("no device is used");
            assert_eq!(*locks.1.acquire(at), 2);
            assert_eq!(verifier::status(at).orders, 1);
        });
    });
    assert!(stats.complete, "{stats}");
}
