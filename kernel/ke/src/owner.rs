//! Who is in a section, for code that must not enter it twice.
//!
//! **Invariant:** written only by who is inside, so a thread of execution that asks about itself gets the truth, whatever the
//! others do. A DPC counts as the thread that it interrupted, which is right as long as no DPC can interrupt who is inside, or
//! none enters.

use crate::{at::At, level::Level};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

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
        self.0.store(at.hal.current_thread().addr(), Relaxed);
    }

    /// It leaves: it still holds the lock.
    #[inline]
    pub fn clear(&self) {
        self.0.store(0, Relaxed);
    }

    /// Whether this thread of execution is inside. Any IRQL.
    #[inline]
    pub fn is_me<L: Level>(&self, at: &At<'_, L>) -> bool {
        self.0.load(Relaxed) == at.hal.current_thread().addr()
    }
}
