//! Fibers as coroutines on the explorer's own thread.
//!
//! Stacks outlive schedules: mapping one costs more than a short schedule does.

use super::{FiberId, Fibers, Progress};
use corosensei::{Coroutine, CoroutineResult, Yielder, stack::DefaultStack};
use std::cell::{Cell, RefCell};

/// Virtual memory only, touched as needed.
const STACK_SIZE: usize = 1 << 20;

type Stackful = Coroutine<(), (), (), DefaultStack>;

#[derive(Default)]
pub(crate) struct Coroutines {
    slots: RefCell<Vec<Slot>>,
    /// Stacks of fibers that have ended.
    stacks: RefCell<Vec<DefaultStack>>,
}

struct Slot {
    /// Taken while it runs.
    coroutine: Option<Stackful>,
    /// What the body suspends by; on the coroutine's own stack, set by its first instructions.
    yielder: Cell<*const Yielder<(), ()>>,
}

impl Coroutines {
    fn keep_stack(&self, coroutine: Stackful) {
        self.stacks.borrow_mut().push(coroutine.into_stack());
    }
}

impl Fibers for Coroutines {
    unsafe fn create(&self, body: Box<dyn FnOnce()>) -> FiberId {
        let stack = self
            .stacks
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| DefaultStack::new(STACK_SIZE).expect("the host has memory for a fiber's stack"));
        let mut slots = self.slots.borrow_mut();
        let fiber = slots.len();
        let this: *const Coroutines = self;
        let start = move |yielder: &Yielder<(), ()>, ()| {
            // SAFETY: `self` owns the coroutine, so it outlives every run of it.
            unsafe { (&(*this).slots.borrow())[fiber].yielder.set(yielder) };
            body();
        };
        // SAFETY: by the caller's contract what the body borrows lives until the fiber has ended or is discarded.
        let coroutine = unsafe { Coroutine::with_stack_unchecked(stack, start) };
        slots.push(Slot { coroutine: Some(coroutine), yielder: Cell::new(std::ptr::null()) });
        fiber
    }

    fn resume(&self, fiber: FiberId) -> Progress {
        let taken = self.slots.borrow_mut()[fiber].coroutine.take();
        let mut coroutine = taken.expect("the machine resumes only fibers that are suspended");
        match coroutine.resume(()) {
            CoroutineResult::Yield(()) => {
                self.slots.borrow_mut()[fiber].coroutine = Some(coroutine);
                Progress::Suspended
            }
            CoroutineResult::Return(()) => {
                self.keep_stack(coroutine);
                Progress::Ended
            }
        }
    }

    fn suspend(&self, fiber: FiberId) {
        let yielder = self.slots.borrow()[fiber].yielder.get();
        // SAFETY: the caller is this fiber, whose first instructions set the pointer to a value on its own stack.
        unsafe { (*yielder).suspend(()) };
    }

    unsafe fn discard(&self, fiber: FiberId) -> bool {
        let taken = self.slots.borrow_mut()[fiber].coroutine.take();
        let mut coroutine = taken.expect("the machine discards only fibers that are suspended");
        // SAFETY: by the caller's contract there is nothing to drop on this stack.
        unsafe { coroutine.force_reset() };
        self.keep_stack(coroutine);
        true
    }

    fn clear(&self) {
        self.slots.borrow_mut().clear();
    }
}
