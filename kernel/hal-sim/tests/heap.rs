//! The heap above DISPATCH: freeing is put aside, allocating is a failure that names the callback.

use hal_sim::{Explorer, FaultKind, LevelCheckedAllocator, blocks_put_aside};
use ke::{Dirql, Dispatch, InterruptLock, SpinLock};

#[global_allocator]
static HEAP: LevelCheckedAllocator = LevelCheckedAllocator;

#[test]
fn a_box_that_a_synchronize_closure_captured_may_drop_at_dirql() {
    Explorer::new("box dropped at DIRQL").cpus(2).run(|machine| {
        machine.main(|at| {
            let (lock, boxed) = (InterruptLock::<u32, Dirql>::new(0), Box::new(7));
            lock.synchronize(at, move |state, _| *state = *boxed);
            assert_eq!(blocks_put_aside(), 1);
            lock.synchronize(at, |state, _| assert_eq!(*state, 7));
            // Below, blocks go at once.
            drop(Box::new(8));
            assert_eq!(blocks_put_aside(), 1);
        });
    });
}

#[test]
fn an_allocation_at_dirql_fails_the_schedule() {
    let failure = Explorer::new("box made at DIRQL").expect_failure(|machine| {
        machine.main(|at| {
            let lock = InterruptLock::<Option<Box<[u8; 40]>>, Dirql>::new(None);
            lock.synchronize(at, |state, _| *state = Some(Box::new([1; 40])));
        });
    });
    assert_eq!(failure.kind(), FaultKind::AllocationAtDirql, "{failure}");
    assert!(failure.message().contains("main allocates 40 bytes on CPU 0 at IRQL 12"), "{failure}");
    let held = "held here: the interrupt lock taken at kernel/hal-sim/tests/heap.rs:29:";
    assert!(failure.message().contains(held), "{failure}");
}

#[test]
fn an_allocation_at_dispatch_is_allowed() {
    Explorer::new("box made at DISPATCH").run(|machine| {
        machine.main(|at| {
            let lock = SpinLock::new(None);
            lock.with(at, |state: &mut Option<Box<u8>>, at: &mut ke::At<'_, Dispatch>| {
                *state = Some(Box::new(at.irql()));
            });
            assert_eq!(lock.with(at, |state, _| state.take()), Some(Box::new(2)));
            assert_eq!(blocks_put_aside(), 0);
        });
    });
}
