//! The spin locks and interrupt locks that each CPU holds, with the lines that took them.
//!
//! Releasing is not noted, because it is one store: an entry is held as long as its lock still serves the same turn
//! ([`Hal::turn`](crate::hal::Hal::turn)). What is not is taken out the next time that somebody looks.
//!
//! **Invariant:** a CPU's entries are a stack that its own CPU alone changes. An ISR that interrupts a change leaves it as it was:
//! it puts its own entries above, and takes out none but what is released.

use super::{order::Taken, site::Site};
use crate::{hal::HalRef, ticket::TicketWord};
use core::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
    compiler_fence,
};

/// Ten device classes, and some locks in each; what is beyond is not watched.
const MOST: usize = 32;

struct Entry {
    /// 0 while the entry is being made.
    word: AtomicUsize,
    turn: AtomicU64,
    id: AtomicU32,
    site: AtomicPtr<()>,
}

/// One CPU's.
pub(crate) struct Held {
    entries: [Entry; MOST],
    count: AtomicUsize,
}

impl Held {
    pub(crate) fn new() -> Self {
        let entry = || Entry {
            word: AtomicUsize::new(0),
            turn: AtomicU64::new(0),
            id: AtomicU32::new(0),
            site: AtomicPtr::default(),
        };
        Held { entries: core::array::from_fn(|_| entry()), count: AtomicUsize::new(0) }
    }

    /// A turn of `word` begins on this CPU, at DISPATCH or above.
    pub(crate) fn push(&self, hal: HalRef<'_>, word: &TicketWord, taken: Taken) {
        let count = self.count.load(Relaxed);
        let Some(entry) = self.entries.get(count) else { return };
        // The place is taken before it is filled, and filled before it counts: an ISR may come in between.
        entry.word.store(0, Relaxed);
        compiler_fence(SeqCst);
        self.count.store(count + 1, Relaxed);
        compiler_fence(SeqCst);
        let address = word.expose();
        entry.turn.store(hal.turn(address), Relaxed);
        entry.id.store(taken.id, Relaxed);
        entry.site.store(taken.site.word().cast_mut(), Relaxed);
        compiler_fence(SeqCst);
        entry.word.store(address, Relaxed);
    }

    /// Takes out what was released, from the top. On this CPU.
    pub(crate) fn purge(&self, hal: HalRef<'_>) {
        loop {
            let count = self.count.load(Relaxed);
            let Some(last) = count.checked_sub(1) else { return };
            if self.entries[last].is_kept(hal) {
                return;
            }
            self.count.store(last, Relaxed);
        }
    }

    /// How many entries there are.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// What is held, from entry `first` on, in the order in which it was taken. On this CPU.
    pub(crate) fn from(&self, hal: HalRef<'_>, first: usize) -> impl Iterator<Item = Taken> {
        self.entries.iter().take(self.count()).skip(first).filter_map(move |entry| entry.held(hal))
    }
}

impl Entry {
    /// Held, or being made.
    fn is_kept(&self, hal: HalRef<'_>) -> bool {
        let word = self.word.load(Relaxed);
        word == 0 || hal.turn(word) == self.turn.load(Relaxed)
    }

    fn held(&self, hal: HalRef<'_>) -> Option<Taken> {
        let word = self.word.load(Relaxed);
        let held = word != 0 && hal.turn(word) == self.turn.load(Relaxed);
        // SAFETY: stored by `push`, before the word was.
        held.then(|| Taken { id: self.id.load(Relaxed), site: unsafe { Site::from_word(self.site.load(Relaxed)) } })
    }
}
