//! The word that excludes: a fair (ticket) spin lock without data or level.
//!
//! **Invariant:** whoever holds the word runs at a level from which nothing else on this CPU takes it.

use crate::hal::HalRef;
use core::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

#[derive(Debug)]
pub(crate) struct TicketWord {
    next: AtomicU32,
    serving: AtomicU32,
}

impl TicketWord {
    pub(crate) const fn new() -> Self {
        TicketWord { next: AtomicU32::new(0), serving: AtomicU32::new(0) }
    }

    #[inline(always)]
    pub(crate) fn lock(&self, hal: HalRef<'_>) {
        let ticket = self.next.fetch_add(1, Relaxed);
        while self.serving.load(Acquire) != ticket {
            hal.spin(self.address());
        }
    }

    /// Called by the holder alone.
    #[inline(always)]
    pub(crate) fn unlock(&self, hal: HalRef<'_>) {
        self.serving.store(self.serving.load(Relaxed).wrapping_add(1), Release);
        hal.spin_wake(self.address());
    }

    pub(crate) fn address(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }
}
