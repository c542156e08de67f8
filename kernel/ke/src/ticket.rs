//! The word that excludes: a fair (ticket) spin lock without data or level.
//!
//! Tickets are even. While a lock is [verified](crate::verifier), every ticket has [`VERIFIED`] beside its number: so it is never
//! the one that is served, and who draws it comes to the slow path, where it is masked off. Releasing is the same for all.
//!
//! **Invariant:** whoever holds the word runs at a level from which nothing else on this CPU takes it.

use crate::{
    hal::HalRef,
    verifier::{self, Kind, Site},
};
use core::{
    hint, ptr,
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// In a ticket: the lock is verified, or nobody has looked yet whether it is to be.
const VERIFIED: u32 = 1;
/// From one ticket to the next.
const STEP: u32 = 2;

#[derive(Debug)]
#[repr(C)]
pub(crate) struct TicketWord {
    next: AtomicU32,
    serving: AtomicU32,
    /// Which lock it is, once it has been verified; before that its kind alone.
    id: AtomicU32,
}

impl TicketWord {
    /// A lock of drivers: verified while the verifier is on, from its first turn.
    pub(crate) const fn new(kind: Kind) -> Self {
        Self::with(VERIFIED, kind.first_id())
    }

    /// A lock of the core, which is never verified.
    pub(crate) const fn plain() -> Self {
        Self::with(0, 0)
    }

    const fn with(next: u32, id: u32) -> Self {
        TicketWord { next: AtomicU32::new(next), serving: AtomicU32::new(0), id: AtomicU32::new(id) }
    }

    /// For `site`.
    #[inline(always)]
    pub(crate) fn lock(&self, hal: HalRef<'_>, site: Site) {
        let ticket = self.next.fetch_add(STEP, Relaxed);
        if self.serving.load(Acquire) != ticket {
            hint::cold_path();
            hal.lock_slowly(ptr::from_ref(self).cast(), ticket, site.word());
        }
    }

    /// A lock of the core.
    #[inline(always)]
    pub(crate) fn lock_plain(&self, hal: HalRef<'_>) {
        let ticket = self.next.fetch_add(STEP, Relaxed);
        while self.serving.load(Acquire) != ticket {
            hal.spin(self.address());
        }
    }

    /// The rest of [`Self::lock`], when `ticket` is not served at once.
    pub(crate) fn lock_slowly(&self, hal: HalRef<'_>, ticket: u32, site: Site) {
        let marked = ticket & VERIFIED != 0;
        let verified = marked && verifier::is_on(hal);
        if verified {
            verifier::before_turn(hal, self, site);
        }
        while self.serving.load(Acquire) != ticket & !VERIFIED {
            hal.spin(self.address());
        }
        if verified {
            verifier::turn_begins(hal, self, site);
        } else if marked {
            self.next.fetch_and(!VERIFIED, Relaxed);
        }
    }

    /// Called by the holder alone.
    #[inline(always)]
    pub(crate) fn unlock(&self, hal: HalRef<'_>) {
        self.serving.store(self.serving.load(Relaxed).wrapping_add(STEP), Release);
        hal.spin_wake(self.address());
    }

    pub(crate) fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// The address, for [`turn_at`].
    pub(crate) fn expose(&self) -> usize {
        ptr::from_ref(self).expose_provenance()
    }

    pub(crate) fn id(&self) -> &AtomicU32 {
        &self.id
    }
}

/// What tells this turn of a lock from all others: its number, and which lock it is.
///
/// # Safety
/// There was a [`TicketWord`] at address `word`, and its memory is still mapped, whatever it holds now.
pub(crate) unsafe fn turn_at(word: usize) -> u64 {
    let word = ptr::with_exposed_provenance::<TicketWord>(word);
    // SAFETY: by the contract the addresses can be read; volatile, because somebody else's data may be there by now.
    let (serving, id) = unsafe {
        (
            (&raw const (*word).serving).cast::<u32>().read_volatile(),
            (&raw const (*word).id).cast::<u32>().read_volatile(),
        )
    };
    u64::from(id) << 32 | u64::from(serving)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_told_from_the_next_and_from_another_locks() {
        let (one, other) = (TicketWord::new(Kind::Spin), TicketWord::new(Kind::Interrupt));
        // SAFETY: both words are there.
        let turn = |word: &TicketWord| unsafe { turn_at(word.expose()) };
        let first = turn(&one);
        assert_eq!(first, turn(&one));
        assert_ne!(first, turn(&other));
        one.serving.store(STEP, Relaxed);
        assert_ne!(first, turn(&one));
    }
}
