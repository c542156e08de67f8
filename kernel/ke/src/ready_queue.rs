//! Ready threads by priority, first come first served among equals.
//!
//! **Invariant:** a thread is linked in at most one queue: the one of its priority, while its state is Ready. Lives under
//! the dispatcher lock.

use crate::thread::Thread;
use core::{
    ptr::{self, NonNull},
    sync::atomic::Ordering::Relaxed,
};

/// How many priorities there are, 0 included.
pub(crate) const PRIORITIES: usize = 32;

/// The queues' ends are arrays of their own: an end is one indexed access away.
pub(crate) struct ReadyQueues {
    first: [*const Thread; PRIORITIES],
    last: [*const Thread; PRIORITIES],
    /// The [ranks](Thread::rank) of those in the queues.
    filled: u64,
}

impl ReadyQueues {
    pub(crate) fn new() -> Self {
        ReadyQueues { first: [ptr::null(); PRIORITIES], last: [ptr::null(); PRIORITIES], filled: 0 }
    }

    #[cold]
    pub(crate) fn push_back(&mut self, thread: &Thread) {
        let queue = usize::from(thread.priority());
        thread.next.store(ptr::null_mut(), Relaxed);
        // SAFETY: linked threads are alive: a thread is freed only after it has ended, and it is linked only when ready.
        match unsafe { self.last[queue].as_ref() } {
            Some(last) => last.next.store(ptr::from_ref(thread).cast_mut(), Relaxed),
            None => self.first[queue] = thread,
        }
        self.last[queue] = thread;
        self.filled |= thread.rank();
    }

    #[inline(always)]
    pub(crate) fn push_front(&mut self, thread: &Thread) {
        let queue = usize::from(thread.priority());
        let first = self.first[queue];
        thread.next.store(first.cast_mut(), Relaxed);
        if first.is_null() {
            self.last[queue] = thread;
        }
        self.first[queue] = thread;
        self.filled |= thread.rank();
    }

    /// Whether a thread of the priority of `thread` is ready, for whichever CPU.
    #[inline(always)]
    pub(crate) fn has_equal(&self, thread: &Thread) -> bool {
        self.filled & thread.rank() != 0
    }

    /// Whether a thread of the priority of `thread` or a better one is ready, for whichever CPU.
    #[inline(always)]
    pub(crate) fn has_as_good(&self, thread: &Thread) -> bool {
        self.filled >= thread.rank()
    }

    /// Whether a thread of a better priority than that of `thread` is ready, for whichever CPU.
    #[inline(always)]
    pub(crate) fn has_better(&self, thread: &Thread) -> bool {
        self.filled >= 2 * thread.rank()
    }

    /// The priority of the best thread that may run on `cpu`; 0 when there is none.
    pub(crate) fn best_priority(&self, cpu: u32) -> u8 {
        self.best(cpu).map_or(0, |(priority, ..)| priority)
    }

    /// Takes the best thread that may run on `cpu`.
    pub(crate) fn take_best(&mut self, cpu: u32) -> Option<NonNull<Thread>> {
        let (priority, before, thread) = self.best(cpu)?;
        let queue = usize::from(priority);
        // SAFETY: linked threads are alive.
        unsafe {
            let next = thread.as_ref().next.load(Relaxed);
            match before.as_ref() {
                Some(before) => before.next.store(next, Relaxed),
                None => self.first[queue] = next,
            }
            if next.is_null() {
                self.last[queue] = before;
            }
            if self.first[queue].is_null() {
                self.filled &= !thread.as_ref().rank();
            }
        }
        Some(thread)
    }

    /// The best thread for `cpu`, with its priority and the thread linked before it.
    fn best(&self, cpu: u32) -> Option<(u8, *const Thread, NonNull<Thread>)> {
        let mut filled = self.filled;
        while filled != 0 {
            let priority = 63 - filled.leading_zeros() as u8;
            let (mut before, mut thread) = (ptr::null(), self.first[usize::from(priority)]);
            // SAFETY: linked threads are alive.
            while let Some(candidate) = unsafe { thread.as_ref() } {
                if candidate.may_run_on(cpu) {
                    return Some((priority, before, NonNull::from(candidate)));
                }
                (before, thread) = (thread, candidate.next.load(Relaxed).cast_const());
            }
            filled &= !(1 << priority);
        }
        None
    }
}
