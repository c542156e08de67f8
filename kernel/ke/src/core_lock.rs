//! The core's own spin locks: never verified, so that they cost nothing to name.
//!
//! **Invariant:** the core takes them in one order, each under those that its module says, and no driver's code runs under one.

use crate::{
    at::At,
    level::{AtMost, Dispatch},
    spin_lock::{SpinGuard, SpinLock},
};

/// As [`SpinLock`], for what the core guards.
pub(crate) struct CoreLock<T>(SpinLock<T>);

impl<T> CoreLock<T> {
    pub(crate) const fn new(data: T) -> Self {
        CoreLock(SpinLock::plain(data))
    }

    /// Raises to DISPATCH and takes the lock, both undone when the guard drops.
    #[inline]
    #[track_caller]
    pub(crate) fn acquire<'a, L: AtMost<Dispatch>>(&'a self, at: &'a mut At<'_, L>) -> SpinGuard<'a, T> {
        self.0.acquire_plain(at)
    }

    /// Runs `f` under the lock.
    #[inline]
    #[track_caller]
    pub(crate) fn with<L: AtMost<Dispatch>, R>(
        &self,
        at: &mut At<'_, L>,
        f: impl FnOnce(&mut T, &mut At<'_, Dispatch>) -> R,
    ) -> R {
        let mut guard = self.acquire(at);
        let (data, at) = guard.parts();
        f(data, at)
    }

    /// The data of a lock that nobody else can reach.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}
