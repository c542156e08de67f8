//! Who is in a section, for code that must not enter it twice.
//!
//! **Invariant:** written only by who is inside, so a thread of execution that asks about itself gets the truth, whatever the
//! others do. A DPC counts as the thread that it interrupted, which is right as long as no DPC can interrupt who is inside, or
//! none enters.

use crate::{at::At, level::Level};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A thread of execution, to be compared with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadId(usize);

impl<L: Level> At<'_, L> {
    /// The thread that runs here, or that the running DPC or ISR has interrupted (KeGetCurrentThread). Any IRQL.
    #[inline]
    pub fn thread_id(&self) -> ThreadId {
        ThreadId(self.hal.current_thread().addr())
    }
}

/// The thread of execution inside a section that a lock guards.
#[derive(Debug, Default)]
pub struct OwnerCell(AtomicUsize);

impl OwnerCell {
    /// Nobody is inside.
    pub const fn new() -> Self {
        OwnerCell(AtomicUsize::new(0))
    }

    /// This thread of execution has entered: it holds the lock.
    #[inline]
    pub fn set<L: Level>(&self, at: &At<'_, L>) {
        self.0.store(at.thread_id().0, Relaxed);
    }

    /// It leaves: it still holds the lock.
    #[inline]
    pub fn clear(&self) {
        self.0.store(0, Relaxed);
    }

    /// Whether this thread of execution is inside. Any IRQL.
    #[inline]
    pub fn is_me<L: Level>(&self, at: &At<'_, L>) -> bool {
        self.0.load(Relaxed) == at.thread_id().0
    }
}
