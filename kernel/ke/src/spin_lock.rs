//! Spin locks: data that threads and DPCs share (KSPIN_LOCK, WDFSPINLOCK), held at DISPATCH.
//!
//! **Invariant:** the data is reached only while the lock word is held.

use crate::{
    at::{At, Raised},
    hal::Point,
    level::{AtMost, Dispatch},
    ticket::TicketWord,
    verifier::{Kind, Site},
};
use core::{
    cell::UnsafeCell,
    fmt,
    ops::{Deref, DerefMut},
    panic::Location,
};

/// Data behind a fair spin lock. Taken at DISPATCH or below; held at DISPATCH. Not recursive.
///
/// An ISR cannot take it (`Dirql` is not `AtMost<Dispatch>`): what an ISR shares is its interrupt's state.
///
/// ```
/// use ke::{At, Passive, SpinLock};
/// fn count(seen: &SpinLock<u32>, at: &mut At<'_, Passive>) -> u32 {
///     *seen.acquire(at) += 1;                       // released, and the level lowered, at the end of the statement
///     seen.with(at, |seen, _at| *seen)
/// }
/// ```
pub struct SpinLock<T> {
    word: TicketWord,
    data: UnsafeCell<T>,
}

// SAFETY: the word lets one thread of execution at a time reach the data, so sharing the lock only moves `T` about.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// An unlocked lock around `data`.
    pub const fn new(data: T) -> Self {
        SpinLock { word: TicketWord::new(Kind::Spin), data: UnsafeCell::new(data) }
    }

    /// A lock that is never verified: for what the core and the framework guard in great number, with nothing taken under it.
    #[doc(hidden)]
    pub const fn plain(data: T) -> Self {
        SpinLock { word: TicketWord::plain(), data: UnsafeCell::new(data) }
    }

    /// WdfSpinLockAcquire: raises to DISPATCH and takes the lock, both undone when the guard drops.
    #[inline]
    #[track_caller]
    pub fn acquire<'a, L: AtMost<Dispatch>>(&'a self, at: &'a mut At<'_, L>) -> SpinGuard<'a, T> {
        at.point(Point::AcquireLock, self.word.address(), Location::caller());
        let raised = at.raise_to_dispatch();
        self.word.lock(raised.at.hal, Site::line(Location::caller()));
        SpinGuard { lock: self, raised }
    }

    /// As [`Self::acquire`], of a lock that was made by [`Self::plain`].
    #[inline]
    #[track_caller]
    pub(crate) fn acquire_plain<'a, L: AtMost<Dispatch>>(&'a self, at: &'a mut At<'_, L>) -> SpinGuard<'a, T> {
        at.point(Point::AcquireLock, self.word.address(), Location::caller());
        let raised = at.raise_to_dispatch();
        self.word.lock_plain(raised.at.hal);
        SpinGuard { lock: self, raised }
    }

    /// Runs `f` under the lock.
    #[inline]
    #[track_caller]
    pub fn with<L: AtMost<Dispatch>, R>(
        &self,
        at: &mut At<'_, L>,
        f: impl FnOnce(&mut T, &mut At<'_, Dispatch>) -> R,
    ) -> R {
        let mut guard = self.acquire(at);
        let (data, at) = guard.parts();
        f(data, at)
    }

    /// The data of a lock that nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// The data, without the lock.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpinLock").finish_non_exhaustive()
    }
}

impl<T: Default> Default for SpinLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// A spin lock, held. Owns the token of DISPATCH; the token it was acquired with is usable again when it drops.
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
    raised: Raised<'a, Dispatch>,
}

impl<'a, T> SpinGuard<'a, T> {
    /// The data and the token, side by side.
    #[inline]
    pub fn parts(&mut self) -> (&mut T, &mut At<'a, Dispatch>) {
        // SAFETY: this guard holds the word, and is borrowed for as long as the reference lives.
        (unsafe { &mut *self.lock.data.get() }, &mut self.raised.at)
    }
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard holds the word.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.parts().0
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.word.unlock(self.raised.at.hal);
    }
}
