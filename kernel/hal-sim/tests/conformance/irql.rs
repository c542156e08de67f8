//! Cases 68 and 70: levels and spin locks.

use crate::support::{MACHINES, coarse, disturbed, fine, spawn};
use ke::{Dirql, InterruptLock, SpinLock, irql, thread::ThreadOptions};
use std::sync::Arc;

/// Raising to a lower level and lowering to a higher one cannot be written: a guard owns the level that it undoes.
#[test]
fn c68_raising_to_each_level_and_back_restores_it() {
    disturbed("c68 levels", 1, |at| {
        let dispatch = SpinLock::new(());
        for level in irql::DEVICE_LOWEST..=irql::DEVICE_HIGHEST {
            let lock = InterruptLock::<(), Dirql>::new(());
            lock.settle(level).expect("nobody has settled it");
            assert_eq!(lock.synchronize(at, |(), at| at.irql()), level);
            assert_eq!(at.irql(), irql::PASSIVE);
            dispatch.with(at, |(), at| {
                assert_eq!(at.irql(), irql::DISPATCH);
                assert_eq!(lock.synchronize(at, |(), at| at.irql()), level);
                assert_eq!(at.irql(), irql::DISPATCH);
            });
            assert_eq!(at.irql(), irql::PASSIVE);
        }
        // Equal: nothing to raise, nothing to lower.
        let other = SpinLock::new(());
        dispatch.with(at, |(), at| {
            other.with(at, |(), at| assert_eq!(at.irql(), irql::DISPATCH));
            assert_eq!(at.irql(), irql::DISPATCH);
        });
    });
}

/// KeAcquireSpinLockAtDpcLevel is the same call from DISPATCH. There is no try: nothing in the tree wants one.
#[test]
fn c70_a_spin_lock_excludes_and_keeps_the_level_from_wherever_it_is_taken() {
    for cpus in MACHINES {
        fine("c70 spin lock", cpus, |machine| {
            machine.main(|at| {
                let locks = Arc::new((SpinLock::new(()), SpinLock::new(0)));
                let theirs = locks.clone();
                let other = spawn(at, ThreadOptions::named("other"), move |at| {
                    // From DISPATCH.
                    theirs.0.with(at, |(), at| {
                        theirs.1.with(at, |sum, at| {
                            assert_eq!(at.irql(), irql::DISPATCH);
                            *sum += 1;
                        });
                        assert_eq!(at.irql(), irql::DISPATCH);
                    });
                });
                {
                    let mut sum = locks.1.acquire(at);
                    let before = *sum;
                    let (sum, at) = sum.parts();
                    assert_eq!(at.irql(), irql::DISPATCH);
                    *sum = before + 1;
                }
                assert_eq!(at.irql(), irql::PASSIVE);
                other.join(at).expect("no device goes away here");
                assert_eq!(*locks.1.acquire(at), 2);
            });
        });
    }
}

#[test]
fn c70_a_held_spin_lock_is_taken_when_it_is_released_and_not_before() {
    coarse("c70 held", 2, |machine| {
        machine.main(|at| {
            let lock = Arc::new(SpinLock::new(1));
            let theirs = lock.clone();
            let guard = lock.acquire(at);
            drop(guard);
            let other = spawn(at, ThreadOptions::named("other"), move |at| *theirs.acquire(at) *= 2);
            lock.with(at, |value, _| *value += 1);
            other.join(at).expect("no device goes away here");
            assert!([3, 4].contains(&*lock.acquire(at)));
        });
    });
}
