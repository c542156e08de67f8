//! Fibers as operating system threads of which one at a time holds the baton.

use super::{FiberId, Fibers, Progress};
use std::{
    cell::RefCell,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

#[derive(Default)]
pub(crate) struct Batons {
    fibers: RefCell<Vec<Fiber>>,
    root: Arc<Gate>,
}

struct Fiber {
    gate: Arc<Gate>,
    thread: Option<JoinHandle<()>>,
}

/// Where one party waits for the baton.
#[derive(Default)]
struct Gate {
    baton: Mutex<Option<Progress>>,
    passed: Condvar,
}

impl Gate {
    fn pass(&self, how: Progress) {
        *self.baton.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
        self.passed.notify_one();
    }

    fn wait(&self) -> Progress {
        let mut baton = self.baton.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(how) = baton.take() {
                return how;
            }
            baton = self.passed.wait(baton).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A fiber's body on its way to its thread.
struct Body(Box<dyn FnOnce()>);

// SAFETY: the thread runs the body only while everybody else waits for the baton, and the gate's mutex orders what one
// holder did before what the next one does: to the data this is one thread.
unsafe impl Send for Body {}

impl Body {
    fn run(self) {
        (self.0)();
    }
}

impl Fibers for Batons {
    unsafe fn create(&self, body: Box<dyn FnOnce()>) -> FiberId {
        let gate = Arc::new(Gate::default());
        let (own, root, body) = (gate.clone(), self.root.clone(), Body(body));
        let start = move || {
            own.wait();
            body.run();
            root.pass(Progress::Ended);
        };
        let thread = thread::Builder::new().name("fiber".to_owned()).spawn(start);
        let thread = Some(thread.expect("the host has memory for a thread"));
        let mut fibers = self.fibers.borrow_mut();
        fibers.push(Fiber { gate, thread });
        fibers.len() - 1
    }

    fn resume(&self, fiber: FiberId) -> Progress {
        let gate = self.fibers.borrow()[fiber].gate.clone();
        gate.pass(Progress::Suspended);
        let progress = self.root.wait();
        if progress == Progress::Ended {
            let thread = self.fibers.borrow_mut()[fiber].thread.take();
            let joined = thread.expect("a thread ends once").join();
            joined.expect("the machine catches every unwind of a fiber's body");
        }
        progress
    }

    fn suspend(&self, fiber: FiberId) {
        let gate = self.fibers.borrow()[fiber].gate.clone();
        self.root.pass(Progress::Suspended);
        gate.wait();
    }

    unsafe fn discard(&self, _: FiberId) -> bool {
        false
    }

    fn clear(&self) {
        self.fibers.borrow_mut().clear();
    }
}
