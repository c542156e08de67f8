//! Every CPU's DPC queue, its inbox for DPCs from other CPUs, and the drain.
//!
//! The queue is drained at DISPATCH, interrupts on, before the CPU returns below DISPATCH (see [`crate::drain`]).
//!
//! **Invariant:** the queue is touched by its own CPU alone, with interrupts off; other CPUs push into the inbox.
//!
//! **Invariant:** [`pending::HIGH_DPC`] is set exactly while DPCs of high importance are linked; [`pending::DPC`] only while
//! others are, and always but for low ones that may wait. So the drain looks at the pending word, not at the queue.

use crate::{
    at::At,
    hal::{self, HalRef},
    level::Dispatch,
    percpu::pending,
    raw_dpc::{DpcKind, Importance, RawDpc},
};
use core::{
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicPtr, AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// How many low-importance DPCs a CPU lets lie before it drains them without other cause.
const LOW_DEPTH: u32 = 4;

/// In the address of what runs: it has been seen running (the watchdog's).
const MARK: usize = 1;
const _: () = assert!(align_of::<DpcKind>() > MARK, "the address leaves the bit free");

/// One CPU's queue. `tail` points at the last `next`, or at `head` when nothing is linked, so linking has no empty case. What
/// that last one holds means nothing: it becomes null when the queue is taken.
pub(crate) struct DpcQueue {
    head: AtomicPtr<RawDpc>,
    tail: AtomicPtr<AtomicPtr<RawDpc>>,
    high: AtomicPtr<RawDpc>,
    low: AtomicU32,
    running: AtomicPtr<DpcKind>,
}

impl DpcQueue {
    pub(crate) fn new() -> Self {
        DpcQueue {
            head: AtomicPtr::default(),
            tail: AtomicPtr::default(),
            high: AtomicPtr::default(),
            low: AtomicU32::new(0),
            running: AtomicPtr::default(),
        }
    }

    /// Once, where the queue stays.
    pub(crate) fn place(&self) {
        self.tail.store(ptr::from_ref(&self.head).cast_mut(), Relaxed);
    }

    /// # Safety
    /// This CPU's queue, interrupts off; `dpc` is claimed by the caller and alive.
    #[inline(always)]
    pub(crate) unsafe fn link_last(&self, dpc: &RawDpc) {
        // SAFETY: `tail` points at `head` or at the `next` of the last linked, living DPC.
        unsafe { (*self.tail.load(Relaxed)).store(ptr::from_ref(dpc).cast_mut(), Relaxed) };
        self.tail.store(ptr::from_ref(&dpc.next).cast_mut(), Relaxed);
    }

    /// # Safety
    /// As [`Self::link_last`].
    pub(crate) unsafe fn link_first(&self, hal: HalRef<'_>, dpc: &RawDpc) {
        hal.set_pending(pending::HIGH_DPC);
        dpc.next.store(self.high.load(Relaxed), Relaxed);
        self.high.store(ptr::from_ref(dpc).cast_mut(), Relaxed);
    }

    /// Counts a low-importance DPC; `true` when they have waited enough.
    pub(crate) fn one_more_low(&self) -> bool {
        self.low.fetch_add(1, Relaxed) + 1 >= LOW_DEPTH
    }

    /// Whether no DPC below high importance is linked, not even one that may wait.
    pub(crate) fn is_empty(&self) -> bool {
        ptr::eq(self.tail.load(Relaxed), &self.head)
    }

    /// The name of the DPC that this CPU runs.
    pub(crate) fn running_name(&self) -> Option<&'static str> {
        let unmarked = self.running.load(Relaxed).map_addr(|address| address & !MARK);
        // SAFETY: null, or stored by `run_one` from a reference to a `static` or constant.
        unsafe { unmarked.as_ref().map(|kind| (kind.name)()) }
    }

    /// Marks the DPC that runs, until the next one begins. `false`: none runs. On this CPU, above DISPATCH.
    pub(crate) fn mark(&self) -> bool {
        let running = self.running.load(Relaxed);
        if !running.is_null() {
            self.running.store(running.map_addr(|address| address | MARK), Relaxed);
        }
        !running.is_null()
    }

    /// Whether the DPC that runs has been marked.
    pub(crate) fn is_marked(&self) -> bool {
        self.running.load(Relaxed).addr() & MARK != 0
    }
}

/// DPCs that other CPUs have queued here: a lock-free stack, taken whole.
pub(crate) struct Inbox {
    newest: AtomicPtr<RawDpc>,
    newest_high: AtomicPtr<RawDpc>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Inbox { newest: AtomicPtr::default(), newest_high: AtomicPtr::default() }
    }

    /// # Safety
    /// `dpc` is claimed by the caller and alive until its routine has started.
    pub(crate) unsafe fn push(&self, dpc: &RawDpc, importance: Importance) {
        let stack = if importance == Importance::High { &self.newest_high } else { &self.newest };
        let mut newest = stack.load(Relaxed);
        loop {
            dpc.next.store(newest, Relaxed);
            match stack.compare_exchange_weak(newest, ptr::from_ref(dpc).cast_mut(), Release, Relaxed) {
                Ok(_) => return,
                Err(now) => newest = now,
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.newest.load(Relaxed).is_null() && self.newest_high.load(Relaxed).is_null()
    }
}

/// Moves what other CPUs have queued here into this CPU's queue, oldest first, and sets what is pending. Interrupts off.
pub(crate) fn empty_inbox(hal: HalRef<'_>) {
    let cpu = hal::percpu(hal);
    if cpu.inbox.is_empty() {
        return;
    }
    // SAFETY: pushed DPCs are claimed and alive; this CPU's queue with interrupts off.
    unsafe {
        for_each_oldest_first(&cpu.inbox.newest_high, |dpc| cpu.dpcs.link_first(hal, dpc));
        for_each_oldest_first(&cpu.inbox.newest, |dpc| cpu.dpcs.link_last(dpc));
    }
    if !cpu.dpcs.is_empty() {
        hal.set_pending(pending::DPC);
    }
}

/// # Safety
/// What is on the stack is claimed and alive.
unsafe fn for_each_oldest_first(stack: &AtomicPtr<RawDpc>, mut link: impl FnMut(&RawDpc)) {
    let mut newest = stack.swap(ptr::null_mut(), Acquire);
    let mut oldest: *mut RawDpc = ptr::null_mut();
    // SAFETY: the chain is this function's alone since the swap; each `next` is read before `link` changes it.
    unsafe {
        while let Some(dpc) = newest.as_ref() {
            newest = dpc.next.swap(oldest, Relaxed);
            oldest = ptr::from_ref(dpc).cast_mut();
        }
        while let Some(dpc) = oldest.as_ref() {
            oldest = dpc.next.load(Relaxed);
            link(dpc);
        }
    }
}

/// Runs what is queued on this CPU, in order. At DISPATCH, interrupts off at the call and at the return.
///
/// # Safety
/// [`pending::DPC`] is set.
#[inline(always)]
pub(crate) unsafe fn drain(hal: HalRef<'_>) {
    hal.clear_pending(pending::DPC);
    let queue = &hal::percpu(hal).dpcs;
    let batch = queue.head.load(Relaxed);
    debug_assert!(!batch.is_null(), "the pending word says that DPCs are queued");
    // SAFETY: by the contract and the invariant above something is linked.
    let batch = unsafe { NonNull::new_unchecked(batch) };
    // SAFETY: `tail` points at the `next` of the last linked, living DPC; this CPU's queue with interrupts off.
    unsafe { (*queue.tail.load(Relaxed)).store(ptr::null_mut(), Relaxed) };
    queue.tail.store(ptr::from_ref(&queue.head).cast_mut(), Relaxed);
    queue.low.store(0, Relaxed);
    hal.enable_interrupts();
    // SAFETY: the batch was linked in this queue and is this function's alone now.
    unsafe { run_batch(hal, queue, batch) };
    hal.disable_interrupts();
}

/// # Safety
/// `dpc` begins a chain of linked DPCs that nobody else has.
#[inline(always)]
unsafe fn run_batch(hal: HalRef<'_>, queue: &DpcQueue, mut dpc: NonNull<RawDpc>) {
    loop {
        // SAFETY: linked, so alive until it begins; `next` is read before that.
        let next = unsafe { dpc.as_ref() }.next.load(Relaxed);
        // SAFETY: as above, and taken out.
        unsafe { run_one(hal, queue, dpc) };
        let Some(next) = NonNull::new(next) else { break };
        if hal.pending() & pending::HIGH_DPC != 0 {
            run_high(hal);
        }
        dpc = next;
    }
    queue.running.store(ptr::null_mut(), Relaxed);
}

/// Runs what is queued on this CPU with high importance. At DISPATCH, interrupts on.
#[cold]
pub(crate) fn run_high(hal: HalRef<'_>) {
    let queue = &hal::percpu(hal).dpcs;
    loop {
        hal.disable_interrupts();
        hal.clear_pending(pending::HIGH_DPC);
        let first = queue.high.load(Relaxed);
        // SAFETY: linked, so alive.
        let next = unsafe { first.as_ref() }.map(|dpc| dpc.next.load(Relaxed));
        queue.high.store(next.unwrap_or_default(), Relaxed);
        hal.enable_interrupts();
        let Some(dpc) = NonNull::new(first) else { break };
        // SAFETY: linked until just now, taken out with interrupts off.
        unsafe { run_one(hal, queue, dpc) };
    }
    queue.running.store(ptr::null_mut(), Relaxed);
}

/// Leaves it noted as running: whoever runs several clears that after the last.
///
/// # Safety
/// `dpc` was linked and is in no queue any more.
#[inline(always)]
unsafe fn run_one(hal: HalRef<'_>, queue: &DpcQueue, dpc: NonNull<RawDpc>) {
    // SAFETY: linked until now, so alive until its routine begins.
    let kind = unsafe { dpc.as_ref() }.kind();
    queue.running.store(ptr::from_ref(kind).cast_mut(), Relaxed);
    // SAFETY: here code at DISPATCH begins on this CPU; the drain holds no other token.
    let at = unsafe { At::<Dispatch>::mint(hal) };
    // SAFETY: whoever queued it promised that the routine may be called with its context.
    unsafe { (kind.routine)(dpc, at) };
}
