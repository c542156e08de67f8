//! The wait locks that each thread owns, with the lines that took them.
//!
//! Taking and releasing a verified wait lock are both noted.
//!
//! **Invariant:** a thread's entries are its own: its code alone changes them, at whatever level.

use super::{order::Taken, site::Site};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering::Relaxed};

/// What is beyond is not watched.
const MOST: usize = 12;

struct Entry {
    id: AtomicU32,
    site: AtomicPtr<()>,
}

/// One thread's.
pub(crate) struct Waits {
    entries: [Entry; MOST],
    count: AtomicUsize,
}

impl Waits {
    pub(crate) fn new() -> Self {
        let entry = || Entry { id: AtomicU32::new(0), site: AtomicPtr::default() };
        Waits { entries: core::array::from_fn(|_| entry()), count: AtomicUsize::new(0) }
    }

    pub(crate) fn push(&self, taken: Taken) {
        let count = self.count.load(Relaxed);
        if let Some(entry) = self.entries.get(count) {
            entry.set(taken);
            self.count.store(count + 1, Relaxed);
        }
    }

    /// Takes out the lock `id`, if it is in.
    pub(crate) fn remove(&self, id: u32) {
        let count = self.count.load(Relaxed);
        let Some(place) = self.entries[..count].iter().rposition(|entry| entry.id.load(Relaxed) == id) else { return };
        for n in place + 1..count {
            self.entries[n - 1].set(self.entries[n].get());
        }
        self.count.store(count - 1, Relaxed);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// From entry `first` on, in the order in which they were taken.
    pub(crate) fn from(&self, first: usize) -> impl Iterator<Item = Taken> {
        self.entries.iter().take(self.count()).skip(first).map(Entry::get)
    }
}

impl Entry {
    fn set(&self, taken: Taken) {
        self.id.store(taken.id, Relaxed);
        self.site.store(taken.site.word().cast_mut(), Relaxed);
    }

    fn get(&self) -> Taken {
        // SAFETY: an entry that counts was set.
        Taken { id: self.id.load(Relaxed), site: unsafe { Site::from_word(self.site.load(Relaxed)) } }
    }
}
