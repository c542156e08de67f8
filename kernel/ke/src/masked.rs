//! A masked interrupt, as a value: it can be made in an ISR and given up in a DPC.
//!
//! **Invariant:** each value is one mask of one interrupt, undone exactly once, when it is dropped, at whatever level that
//! happens: the interrupt knows its machine while it is connected, and an interrupt that is not connected has nothing to
//! deliver.

use crate::{at::At, hal::Point, level::Level};
use alloc::sync::{Arc, Weak};
use core::{fmt, panic::Location, ptr};

/// What a [`Masked`] undoes.
pub(crate) trait Maskable: Send + Sync {
    /// One mask less. Any IRQL.
    fn undo_mask(&self);
}

/// An interrupt is masked while this exists; masks count. Dropping it unmasks too.
#[must_use = "dropped here, the interrupt is unmasked at once"]
pub struct Masked {
    interrupt: Weak<dyn Maskable>,
}

impl Masked {
    pub(crate) fn new(interrupt: Arc<dyn Maskable>) -> Self {
        Masked { interrupt: Arc::downgrade(&interrupt) }
    }

    /// Unmasks; what came meanwhile is delivered now. Any IRQL.
    #[track_caller]
    pub fn unmask<L: Level>(self, at: &mut At<'_, L>) {
        at.point(Point::Unmask, ptr::from_ref(&self).addr(), Location::caller());
    }
}

impl Drop for Masked {
    fn drop(&mut self) {
        if let Some(interrupt) = self.interrupt.upgrade() {
            interrupt.undo_mask();
        }
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masked").finish_non_exhaustive()
    }
}
