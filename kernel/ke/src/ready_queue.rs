//! Ready threads by priority, first come first served among equals.
//!
//! **Invariant:** a thread is linked in at most one queue: the one of its priority, while its state is Ready. Lives under
//! the dispatcher lock.

use crate::thread::Thread;
use core::{
    ptr::{self, NonNull},
    sync::atomic::Ordering::Relaxed,
};

const PRIORITIES: usize = 32;

struct Queue {
    first: *const Thread,
    last: *const Thread,
}

pub(crate) struct ReadyQueues {
    queues: [Queue; PRIORITIES],
    /// Bit n: queue n is not empty.
    filled: u32,
}

impl ReadyQueues {
    pub(crate) fn new() -> Self {
        ReadyQueues { queues: [const { Queue { first: ptr::null(), last: ptr::null() } }; PRIORITIES], filled: 0 }
    }

    pub(crate) fn push_back(&mut self, thread: &Thread) {
        let queue = &mut self.queues[usize::from(thread.priority())];
        thread.next_ready.store(ptr::null_mut(), Relaxed);
        // SAFETY: linked threads are alive: a thread is freed only after it has ended, and it is linked only when ready.
        match unsafe { queue.last.as_ref() } {
            Some(last) => last.next_ready.store(ptr::from_ref(thread).cast_mut(), Relaxed),
            None => queue.first = thread,
        }
        queue.last = thread;
        self.filled |= 1 << thread.priority();
    }

    pub(crate) fn push_front(&mut self, thread: &Thread) {
        let queue = &mut self.queues[usize::from(thread.priority())];
        thread.next_ready.store(queue.first.cast_mut(), Relaxed);
        if queue.first.is_null() {
            queue.last = thread;
        }
        queue.first = thread;
        self.filled |= 1 << thread.priority();
    }

    /// Whether a thread of this priority is ready, for whichever CPU.
    pub(crate) fn has(&self, priority: u8) -> bool {
        self.filled >> priority & 1 != 0
    }

    /// Whether a thread of a better priority than this is ready, for whichever CPU.
    pub(crate) fn has_better(&self, priority: u8) -> bool {
        self.filled >> priority > 1
    }

    /// The priority of the best thread that may run on `cpu`; 0 when there is none.
    pub(crate) fn best_priority(&self, cpu: u32) -> u8 {
        self.best(cpu).map_or(0, |(priority, ..)| priority)
    }

    /// Takes the best thread that may run on `cpu`.
    pub(crate) fn take_best(&mut self, cpu: u32) -> Option<NonNull<Thread>> {
        let (priority, before, thread) = self.best(cpu)?;
        let queue = &mut self.queues[usize::from(priority)];
        // SAFETY: linked threads are alive.
        unsafe {
            let next = thread.as_ref().next_ready.load(Relaxed);
            match before.as_ref() {
                Some(before) => before.next_ready.store(next, Relaxed),
                None => queue.first = next,
            }
            if next.is_null() {
                queue.last = before;
            }
        }
        if queue.first.is_null() {
            self.filled &= !(1 << priority);
        }
        Some(thread)
    }

    /// The best thread for `cpu`, with its priority and the thread linked before it.
    fn best(&self, cpu: u32) -> Option<(u8, *const Thread, NonNull<Thread>)> {
        let mut filled = self.filled;
        while filled != 0 {
            let priority = 31 - filled.leading_zeros() as u8;
            let (mut before, mut thread) = (ptr::null(), self.queues[usize::from(priority)].first);
            // SAFETY: linked threads are alive.
            while let Some(candidate) = unsafe { thread.as_ref() } {
                if candidate.may_run_on(cpu) {
                    return Some((priority, before, NonNull::from(candidate)));
                }
                (before, thread) = (thread, candidate.next_ready.load(Relaxed).cast_const());
            }
            filled &= !(1 << priority);
        }
        None
    }
}
