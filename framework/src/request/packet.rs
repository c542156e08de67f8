//! What a request and its submitter share: whether it is to be cancelled, where it is, and what became of it.

use crate::{Result, Status, queue::AnyQueue};
use alloc::{sync::Arc, vec::Vec};
use core::{
    fmt,
    sync::atomic::{
        AtomicBool, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
};
use ke::{At, AtMost, Dispatch, Event, PlaceCell, SpinLock};

/// What became of a request (IO_STATUS_BLOCK, with the buffer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// How many bytes were read, written or put out; or why not.
    pub result: Result<usize>,
    /// The bytes that were read or put out: as many as `result` says.
    pub data: Vec<u8>,
}

/// The shared half of a request.
pub struct Packet {
    /// The queue that it waits in or was last given out by; `None` before and after.
    home: SpinLock<Option<Arc<dyn AnyQueue>>>,
    cancelled: AtomicBool,
    /// It is cancelled because its device goes.
    gone: AtomicBool,
    /// Where the driver has parked it.
    pub(crate) parked: PlaceCell,
    /// The driver dropped it.
    abandoned: AtomicBool,
    /// The driver keeps it while the device sleeps.
    kept: AtomicBool,
    /// Its place among those that its queue has given out. Belongs to that queue's lock.
    slot: AtomicUsize,
    /// Its number among those that wait in its queue, likewise.
    number: AtomicUsize,
    outcome: SpinLock<Option<Completion>>,
    pub(crate) done: Event,
}

impl Packet {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Packet {
            home: SpinLock::plain(None),
            cancelled: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            parked: PlaceCell::new(),
            abandoned: AtomicBool::new(false),
            kept: AtomicBool::new(false),
            slot: AtomicUsize::new(0),
            number: AtomicUsize::new(0),
            outcome: SpinLock::plain(None),
            done: Event::new(),
        })
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(SeqCst)
    }

    /// It is to be cancelled, wherever it is. `false`: it was already.
    ///
    /// Whoever puts it somewhere says first where, then looks whether it is cancelled; here it is said first, then looked where
    /// it is. So one of the two sees the other.
    pub(crate) fn cancel<L: AtMost<Dispatch>>(self: &Arc<Self>, at: &mut At<'_, L>) -> bool {
        if self.cancelled.swap(true, SeqCst) {
            return false;
        }
        let home = self.home.acquire(at).clone();
        if let Some(queue) = home {
            queue.cancel(self, &mut at.up_to_dispatch());
        }
        true
    }

    /// As [`Self::cancel`], because the device goes: to the submitter it is gone.
    pub(crate) fn lose<L: AtMost<Dispatch>>(self: &Arc<Self>, at: &mut At<'_, L>) {
        self.gone.store(true, SeqCst);
        self.cancel(at);
    }

    pub(crate) fn set_home<L: AtMost<Dispatch>>(&self, queue: Option<Arc<dyn AnyQueue>>, at: &mut At<'_, L>) {
        let before = core::mem::replace(&mut *self.home.acquire(at), queue);
        drop(before);
    }

    /// The driver let it go without a word.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, SeqCst);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(SeqCst)
    }

    pub(crate) fn set_kept(&self, kept: bool) {
        self.kept.store(kept, SeqCst);
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.kept.load(SeqCst)
    }

    /// Under its queue's lock.
    pub(crate) fn slot(&self) -> usize {
        self.slot.load(Relaxed)
    }

    /// Under its queue's lock.
    pub(crate) fn set_slot(&self, slot: usize) {
        self.slot.store(slot, Relaxed);
    }

    /// Under its queue's lock.
    pub(crate) fn number(&self) -> usize {
        self.number.load(Relaxed)
    }

    /// Under its queue's lock.
    pub(crate) fn set_number(&self, number: usize) {
        self.number.store(number, Relaxed);
    }

    /// The end of it. By the owner of the request, once.
    pub(crate) fn finish<L: AtMost<Dispatch>>(&self, mut completion: Completion, at: &mut At<'_, L>) {
        if completion.result == Err(Status::Cancelled) && self.gone.load(SeqCst) {
            completion.result = Err(Status::Gone);
        }
        self.set_home(None, at);
        self.outcome.with(at, |outcome, at| {
            debug_assert!(outcome.is_none(), "a request is completed once");
            *outcome = Some(completion);
            self.done.set(at);
        });
    }

    /// What became of it, once: `None` while it is not completed.
    pub(crate) fn take_outcome<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> Option<Completion> {
        self.outcome.acquire(at).take()
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

impl Completion {
    /// `n` bytes of `data`, or why not.
    pub(crate) fn of(result: Result<usize>, mut data: Vec<u8>) -> Self {
        data.truncate(*result.as_ref().unwrap_or(&0));
        Completion { result, data }
    }

    /// What nobody has looked at.
    pub(crate) fn refused(status: Status) -> Self {
        Completion { result: Err(status), data: Vec::new() }
    }
}
