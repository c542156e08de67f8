//! The lock of this crate's own tables: a ticket lock that masks this CPU's interrupts while it is held.
//!
//! It needs no token, because the allocator and the console have none, and no level, because it is short.
//!
//! **Invariant:** whoever holds one takes only locks that come later in this order: MMIO window, stacks, heap, page
//! tables, frames, console.

use core::{
    cell::UnsafeCell,
    hint,
    ops::{Deref, DerefMut},
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};
use x86_64::instructions::interrupts;

/// Data behind a lock that masks interrupts. Any IRQL.
pub struct MaskedLock<T> {
    next: AtomicU32,
    serving: AtomicU32,
    data: UnsafeCell<T>,
}

// SAFETY: the lock gives the data to one CPU at a time.
unsafe impl<T: Send> Sync for MaskedLock<T> {}

impl<T> MaskedLock<T> {
    /// An open lock.
    pub const fn new(data: T) -> Self {
        MaskedLock { next: AtomicU32::new(0), serving: AtomicU32::new(0), data: UnsafeCell::new(data) }
    }

    /// Waits for the data, with interrupts masked.
    pub fn lock(&self) -> MaskedGuard<'_, T> {
        let unmask = interrupts::are_enabled();
        interrupts::disable();
        let ticket = self.next.fetch_add(1, Relaxed);
        while self.serving.load(Acquire) != ticket {
            hint::spin_loop();
        }
        MaskedGuard { lock: self, unmask }
    }

    /// Opens the lock whoever holds it: for the report of a bug check, after the other CPUs have stopped.
    ///
    /// # Safety
    /// No holder of the lock runs again.
    pub unsafe fn force_open(&self) {
        self.serving.store(self.next.load(Relaxed), Release);
    }
}

/// The data of a [`MaskedLock`]. Guards of one CPU end last-in first-out.
pub struct MaskedGuard<'a, T> {
    lock: &'a MaskedLock<T>,
    unmask: bool,
}

impl<T> Deref for MaskedGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: this guard holds the lock.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for MaskedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard holds the lock.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T> Drop for MaskedGuard<'_, T> {
    fn drop(&mut self) {
        // Only the holder moves `serving`.
        self.lock.serving.store(self.lock.serving.load(Relaxed).wrapping_add(1), Release);
        if self.unmask {
            interrupts::enable();
        }
    }
}
