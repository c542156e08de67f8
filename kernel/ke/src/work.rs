//! Work items: how an ISR or DPC gets something done at PASSIVE (IO_WORKITEM, WDFWORKITEM).
//!
//! A bounded pool of worker threads takes items in the order they came. When items wait and every worker is blocked,
//! one more is started.
//!
//! **Invariant:** an item is in the pool's queue at most once. It may be queued again as soon as its routine has started,
//! and may then overlap itself.
//!
//! **Invariant:** a queued or running item is alive: a [`WorkItem`]'s link holds a reference, an interrupt's is flushed.

use crate::{
    at::At,
    barrier,
    event::Event,
    hal::{self, Point},
    level::{Dispatch, Level, MayWait, Passive, irql},
    raw_dpc::{DpcKind, RawDpc},
    spin_lock::SpinLock,
    thread::{self, Thread, ThreadOptions},
    wait::{Patience, WaitList, wait_on},
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    fmt,
    panic::Location,
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

/// The pool never has more workers than this.
const MAX_WORKERS: u32 = 64;
/// NT's delayed work queue runs at 12.
const WORKER_PRIORITY: u8 = 12;

/// What all items of one kind share.
pub(crate) struct WorkKind {
    pub(crate) routine: unsafe fn(*const (), &mut At<'_, Passive>),
}

/// What the pool queues.
pub(crate) struct RawWork {
    queued: AtomicBool,
    /// Queued or running, how many times. Changes under the pool's lock.
    outstanding: AtomicU32,
    /// Set when `outstanding` becomes 0, under the pool's lock.
    idle: Event,
    next: AtomicPtr<RawWork>,
    context: AtomicPtr<()>,
    kind: &'static WorkKind,
    /// Brings it from DIRQL to DISPATCH.
    carrier: RawDpc,
}

const CARRIER: DpcKind = DpcKind { routine: carry, name: || "work item" };

/// # Safety
/// `item` is the [`RawWork`] whose carrier this is.
unsafe fn carry(dpc: NonNull<RawDpc>, mut at: At<'_, Dispatch>) {
    // SAFETY: called as a DPC's routine.
    let item = unsafe { RawDpc::begin(dpc) };
    // SAFETY: by the contract; a queued item is alive.
    push(&mut at, unsafe { &*item.cast::<RawWork>() });
}

impl RawWork {
    pub(crate) const fn new(kind: &'static WorkKind) -> Self {
        RawWork {
            queued: AtomicBool::new(false),
            outstanding: AtomicU32::new(0),
            idle: Event::new(),
            next: AtomicPtr::new(ptr::null_mut()),
            context: AtomicPtr::new(ptr::null_mut()),
            kind,
            carrier: RawDpc::new(&CARRIER),
        }
    }

    /// Before the first use, where the item stays.
    pub(crate) fn place(&self, context: *const ()) {
        self.context.store(context.cast_mut(), Relaxed);
        self.carrier.set_context(ptr::from_ref(self).cast());
    }

    /// Queues it. `false`: it is queued already and has not started. At DISPATCH or above.
    ///
    /// # Safety
    /// `self` was placed and stays alive until its routine has run.
    #[inline]
    pub(crate) unsafe fn queue<L: Level>(&self, at: &mut At<'_, L>, linked: impl FnOnce()) -> bool {
        if self.queued.swap(true, AcqRel) {
            return false;
        }
        linked();
        if L::IRQL > irql::DISPATCH {
            // SAFETY: alive by the contract; its carrier's context is itself.
            unsafe { self.carrier.insert_here(at.hal) };
        } else {
            // SAFETY: the caller is at DISPATCH, and `at` is borrowed for as long as this token lives.
            push(&mut unsafe { At::<Dispatch>::mint(at.hal) }, self);
        }
        true
    }

    /// Waits until it is neither queued nor running. An item that always queues itself again is never flushed.
    pub(crate) fn flush(&self, at: &mut At<'_, Passive>) {
        let pool = &hal::system(at.hal).work;
        while self.queued.load(Acquire) || self.outstanding.load(Acquire) != 0 {
            if self.outstanding.load(Acquire) == 0 {
                barrier::flush_queued_dpcs(at);
            }
            let waited = self.idle.wait_with(at, Patience::FOREVER);
            debug_assert!(waited.is_ok(), "a wait without a deadline or an alert ends by its grant");
        }
        // The worker that set `idle` did so under this lock: it is done with the item now.
        drop(pool.queue.acquire(at));
    }
}

/// The pool.
pub(crate) struct WorkPool {
    queue: SpinLock<Queue>,
    workers: AtomicU32,
    blocked: AtomicU32,
    grow: Event,
    dropped: SpinLock<Vec<Box<dyn DropAtPassive>>>,
    reaper: RawWork,
}

struct Queue {
    first: *const RawWork,
    last: *const RawWork,
    idle: WaitList,
}

// SAFETY: queued items are alive and may be run on any CPU.
unsafe impl Send for Queue {}

const REAPER: WorkKind = WorkKind { routine: drop_all };

impl WorkPool {
    pub(crate) fn new() -> Self {
        WorkPool {
            queue: SpinLock::new(Queue { first: ptr::null(), last: ptr::null(), idle: WaitList::new() }),
            workers: AtomicU32::new(0),
            blocked: AtomicU32::new(0),
            grow: Event::new(),
            dropped: SpinLock::new(Vec::new()),
            reaper: RawWork::new(&REAPER),
        }
    }

    /// Starts the first worker, and the thread that starts more.
    pub(crate) fn start(&self, at: &mut At<'_, Passive>) -> Result<(), thread::SpawnError> {
        self.reaper.place(ptr::from_ref(self).cast());
        self.add_worker(at)?;
        let options = ThreadOptions::named("work balance").priority(WORKER_PRIORITY + 1);
        thread::spawn(at, options, |at| {
            let pool = &hal::system(at.hal).work;
            while !at.hal.dead() {
                // This thread uses no device, so nothing alerts it.
                let _ = pool.grow.wait(at);
                pool.grow.clear(at);
                if pool.needs_worker(at) {
                    // Without memory the items wait for a worker that is blocked now.
                    let _ = pool.add_worker(at);
                }
            }
        })
        .map(drop)
    }

    fn add_worker(&self, at: &mut At<'_, Passive>) -> Result<(), thread::SpawnError> {
        self.workers.fetch_add(1, Relaxed);
        let spawned = thread::spawn(at, ThreadOptions::named("worker").priority(WORKER_PRIORITY), work);
        if spawned.is_err() {
            self.workers.fetch_sub(1, Relaxed);
        }
        spawned.map(drop)
    }

    /// Items wait, and nobody is left to take them.
    fn needs_worker<L: crate::AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> bool {
        let workers = self.workers.load(Relaxed);
        let waiting = self.queue.with(at, |queue, _| !queue.first.is_null() && queue.idle.is_empty());
        waiting && self.blocked.load(Relaxed) >= workers && workers < MAX_WORKERS
    }
}

fn push(at: &mut At<'_, Dispatch>, item: &RawWork) {
    let pool = &hal::system(at.hal).work;
    let woken = pool.queue.with(at, |queue, at| {
        if item.outstanding.fetch_add(1, Relaxed) == 0 {
            item.idle.clear(at);
        }
        item.next.store(ptr::null_mut(), Relaxed);
        // SAFETY: linked items are alive.
        match unsafe { queue.last.as_ref() } {
            Some(last) => last.next.store(ptr::from_ref(item).cast_mut(), Relaxed),
            None => queue.first = item,
        }
        queue.last = item;
        queue.idle.grant_first(at.hal)
    });
    if !woken && pool.needs_worker(at) {
        pool.grow.set(at);
    }
}

impl Queue {
    fn pop(&mut self) -> Option<*const RawWork> {
        // SAFETY: linked items are alive.
        let item = unsafe { self.first.as_ref() }?;
        self.first = item.next.load(Relaxed);
        if self.first.is_null() {
            self.last = ptr::null();
        }
        Some(item)
    }
}

/// A worker.
fn work(at: &mut At<'_, Passive>) {
    let pool = &hal::system(at.hal).work;
    let me = hal::current_thread(at.hal);
    while !at.hal.dead() {
        let mut taken = None;
        let take = |queue: &mut Queue, _: &mut At<'_, Dispatch>| {
            taken = queue.pop();
            taken.is_some()
        };
        let waited = wait_on(at, &pool.queue, Patience::FOREVER, take, |queue| &mut queue.idle);
        debug_assert!(waited.is_ok(), "a wait without a deadline or an alert ends by its grant");
        // Granted: something was pushed, unless another worker has it by now.
        let Some(item) = taken.or_else(|| pool.queue.with(at, |queue, _| queue.pop())) else { continue };
        // SAFETY: outstanding, so alive until this worker says that it is done, under the pool's lock.
        let item = unsafe { &*item };
        let (kind, context) = (item.kind, item.context.load(Relaxed));
        item.queued.store(false, Release);
        me.set_in_work_item(true);
        // SAFETY: whoever queued it promised that the routine may be called with this context.
        unsafe { (kind.routine)(context, at) };
        me.set_in_work_item(false);
    }
}

/// The routine has run: nothing of `item` is touched after this by its worker.
pub(crate) fn finished(at: &mut At<'_, Passive>, item: &RawWork) {
    hal::system(at.hal).work.queue.with(at, |_, at| {
        if item.outstanding.fetch_sub(1, Release) == 1 {
            item.idle.set(at);
        }
    });
}

/// Waits until all is gone that was left to the workers to drop: by a DPC that was the last to hold something, by a thread
/// that has ended. PASSIVE.
pub fn flush_dropped(at: &mut At<'_, Passive>) {
    barrier::flush_queued_dpcs(at);
    hal::system(at.hal).work.reaper.flush(at);
}

/// The running thread is about to wait: if it is a worker with an item, another may have to take its place. Undone by
/// [`unblocked`].
pub(crate) fn blocking(at: &mut At<'_, Passive>, thread: &Thread) {
    if thread.is_in_work_item() {
        let pool = &hal::system(at.hal).work;
        pool.blocked.fetch_add(1, Relaxed);
        if pool.needs_worker(at) {
            pool.grow.set(at);
        }
    }
}

/// The wait is over.
pub(crate) fn unblocked(at: &mut At<'_, Passive>, thread: &Thread) {
    if thread.is_in_work_item() {
        hal::system(at.hal).work.blocked.fetch_sub(1, Relaxed);
    }
}

/// Something whose end needs PASSIVE.
pub(crate) trait DropAtPassive: Send {
    fn drop_at_passive(self: Box<Self>, at: &mut At<'_, Passive>);
}

/// Lets a worker drop `what`.
pub(crate) fn drop_at_passive(at: &mut At<'_, Dispatch>, what: impl DropAtPassive + 'static) {
    let pool = &hal::system(at.hal).work;
    pool.dropped.acquire(at).push(Box::new(what));
    // SAFETY: the pool is never freed.
    unsafe { pool.reaper.queue(at, || ()) };
}

/// # Safety
/// `pool` is the pool whose reaper this is.
unsafe fn drop_all(pool: *const (), at: &mut At<'_, Passive>) {
    // SAFETY: by the contract; the pool is never freed.
    let pool = unsafe { &*pool.cast::<WorkPool>() };
    loop {
        let Some(next) = pool.dropped.acquire(at).pop() else { break };
        next.drop_at_passive(at);
    }
    finished(at, &pool.reaper);
}

/// What a work item does.
pub trait WorkRoutine: Send + Sync + 'static {
    /// At PASSIVE, in a worker thread. It may overlap itself: it is no longer queued when it starts.
    fn run(&self, at: &mut At<'_, Passive>);
}

impl<F: Fn(&mut At<'_, Passive>) + Send + Sync + 'static> WorkRoutine for F {
    fn run(&self, at: &mut At<'_, Passive>) {
        self(at);
    }
}

/// A work item (IoAllocateWorkItem). A queued one keeps itself alive.
///
/// ```
/// use ke::{At, Dispatch, WorkItem, WorkRoutine};
/// /// From a DPC, or from anywhere: IoQueueWorkItem, but at any IRQL.
/// fn later<R: WorkRoutine>(item: &WorkItem<R>, at: &mut At<'_, Dispatch>) -> bool {
///     item.enqueue(at)
/// }
/// ```
pub struct WorkItem<R: WorkRoutine> {
    object: Arc<Object<R>>,
}

struct Object<R> {
    raw: RawWork,
    routine: R,
}

impl<R: WorkRoutine> WorkItem<R> {
    /// An item that is not queued.
    pub fn new(routine: R) -> Self {
        let kind: &'static WorkKind = const { &WorkKind { routine: run::<R> } };
        let object = Arc::new(Object { raw: RawWork::new(kind), routine });
        object.raw.place(Arc::as_ptr(&object).cast());
        WorkItem { object }
    }

    /// What it does.
    pub fn routine(&self) -> &R {
        &self.object.routine
    }

    /// Queues it (WdfWorkItemEnqueue). `false`: it is queued already and has not started. Any IRQL.
    #[track_caller]
    pub fn enqueue<L: Level>(&self, at: &mut At<'_, L>) -> bool {
        let address = Arc::as_ptr(&self.object).addr();
        at.point(Point::QueueWorkItem, address, Location::caller());
        let queued = self.enqueue_at(at);
        at.note_if(!queued, Point::WorkItemUnqueued, address);
        queued
    }

    fn enqueue_at<L: Level>(&self, at: &mut At<'_, L>) -> bool {
        // The link's own reference; `run` takes it back.
        let linked = || {
            let _ = Arc::into_raw(self.object.clone());
        };
        if L::IRQL >= irql::DISPATCH {
            // SAFETY: placed in `new`, and the link's reference keeps it alive.
            return unsafe { self.object.raw.queue(at, linked) };
        }
        // SAFETY: `L` is below DISPATCH, so it is `Passive`, and `at` is borrowed for as long as this token lives.
        let mut at = unsafe { At::<Passive>::mint(at.hal) };
        let mut raised = at.raise_to_dispatch();
        // SAFETY: as above.
        unsafe { self.object.raw.queue(&mut raised.at, linked) }
    }

    /// WdfWorkItemFlush: waits until it is neither queued nor running. PASSIVE. Not from its own routine.
    pub fn flush<L: MayWait>(&self, at: &mut At<'_, L>) {
        self.object.raw.flush(&mut at.as_passive());
    }
}

/// # Safety
/// `context` is the object of a [`WorkItem`] whose link's reference nobody has taken back.
unsafe fn run<R: WorkRoutine>(context: *const (), at: &mut At<'_, Passive>) {
    // SAFETY: by the contract.
    let object = unsafe { Arc::from_raw(context.cast::<Object<R>>()) };
    at.note(Point::WorkItemStart, context.addr());
    object.routine.run(at);
    at.note(Point::WorkItemEnd, context.addr());
    finished(at, &object.raw);
}

impl<R: WorkRoutine> Clone for WorkItem<R> {
    /// Another handle to the same item.
    fn clone(&self) -> Self {
        WorkItem { object: self.object.clone() }
    }
}

impl<R: WorkRoutine> fmt::Debug for WorkItem<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkItem").finish_non_exhaustive()
    }
}
