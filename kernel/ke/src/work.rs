//! Work items: how an ISR or DPC gets something done at PASSIVE (IO_WORKITEM, WDFWORKITEM).
//!
//! A bounded pool of worker threads takes items in the order they came. When items wait and every worker is blocked,
//! one more is started.
//!
//! **Invariant:** an item may be queued again as soon as its routine has started, and may then overlap itself.
//!
//! **Invariant:** a queued or running item is alive: a [`WorkItem`]'s link holds a reference, an interrupt's is flushed.

use crate::{
    at::At,
    barrier,
    core_lock::CoreLock,
    hal::{self, HalRef, Point},
    level::{Dispatch, Level, MayWait, Passive, irql},
    thread::{self, Thread, ThreadOptions},
    verifier::{self, Callback, Kind, Site, Watched},
    wait::{Patience, WaitList, wait_on},
    work_queue::{Work, WorkQueue},
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    any::type_name,
    fmt,
    panic::Location,
    ptr,
    sync::atomic::{AtomicPtr, AtomicU32, Ordering::Relaxed},
};

/// The pool never has more workers than this.
const MAX_WORKERS: u32 = 64;
/// NT's delayed work queue runs at 12.
const WORKER_PRIORITY: u8 = 12;

/// What all items of one kind share.
pub(crate) struct WorkKind {
    pub(crate) routine: unsafe fn(*const (), &mut At<'_, Passive>),
}

/// What the pool queues. `repr(C)`, and not with `work` first: were the addresses of both the same, the compiler would keep that one
/// beside the whole object's where it is queued, in one more register.
#[repr(C)]
pub(crate) struct RawWork {
    kind: AtomicPtr<WorkKind>,
    work: Work,
    context: AtomicPtr<()>,
    /// For the verifier, to which a run is a lock.
    id: AtomicU32,
}

impl RawWork {
    pub(crate) const fn new(kind: &'static WorkKind) -> Self {
        let kind = AtomicPtr::new(ptr::from_ref(kind).cast_mut());
        let id = AtomicU32::new(Kind::WorkItem.first_id());
        RawWork { work: Work::new(), context: AtomicPtr::new(ptr::null_mut()), kind, id }
    }

    /// From the next run on. It is not queued.
    pub(crate) fn set_kind(&self, kind: &'static WorkKind) {
        self.kind.store(ptr::from_ref(kind).cast_mut(), Relaxed);
    }

    fn kind(&self) -> &'static WorkKind {
        // SAFETY: stored from such a reference, in `new` and `set_kind`.
        unsafe { &*self.kind.load(Relaxed) }
    }

    /// Before the first use, where the item stays.
    pub(crate) fn place(&self, context: *const ()) {
        self.context.store(context.cast_mut(), Relaxed);
    }

    /// Before it is queued: the pool of which machine does it.
    pub(crate) fn bind(&self, hal: HalRef<'_>) {
        self.work.bind(&hal::system(hal).work.queue, ptr::from_ref(self).cast());
    }

    /// Queues it. `false`: it is queued already and has not started. At DISPATCH or above.
    ///
    /// # Safety
    /// `self` was placed and bound, and stays alive until its routine has run.
    #[inline(always)]
    pub(crate) unsafe fn queue<L: Level>(&self, at: &mut At<'_, L>, linked: impl FnOnce()) -> bool {
        // SAFETY: by the contract; the pool is never freed.
        unsafe { self.work.queue(at, linked) }
    }

    pub(crate) fn id(&self) -> &AtomicU32 {
        &self.id
    }

    /// Whether the running thread is in its routine.
    pub(crate) fn is_mine(&self, at: &At<'_, Passive>) -> bool {
        ptr::eq(hal::current_thread(at.hal).work_item(), self)
    }

    /// Waits until it is neither queued nor running. An item that always queues itself again is never flushed. Not from its own
    /// routine, which would wait for itself.
    pub(crate) fn flush(&self, at: &mut At<'_, Passive>, location: &'static Location<'static>) {
        if verifier::is_on(at.hal) {
            verifier::before_wait(at.hal, &self.id, Site::line(location));
        }
        let pool = &hal::system(at.hal).work;
        let mut idle = false;
        while !idle {
            let is_idle = |_: &mut WaitList, _: &mut At<'_, Dispatch>| {
                idle = self.work.is_idle_or_watched();
                idle
            };
            let waited = wait_on(at, &pool.flushers, Patience::FOREVER, is_idle, |flushers| flushers);
            debug_assert!(waited.is_ok(), "a wait without a deadline or an alert ends by its grant");
        }
    }
}

/// The pool.
pub(crate) struct WorkPool {
    queue: WorkQueue,
    /// Those who wait for items: woken whenever one of these is idle.
    flushers: CoreLock<WaitList>,
    /// The queue of the thread that starts workers, and what asks it to.
    balance: WorkQueue,
    grow: Work,
    dropped: CoreLock<Vec<Box<dyn DropAtPassive>>>,
    reaper: RawWork,
}

const REAPER: WorkKind = WorkKind { routine: drop_all };

impl WorkPool {
    pub(crate) fn new() -> Self {
        WorkPool {
            queue: WorkQueue::new(),
            flushers: CoreLock::new(WaitList::new()),
            balance: WorkQueue::new(),
            grow: Work::new(),
            dropped: CoreLock::new(Vec::new()),
            reaper: RawWork::new(&REAPER),
        }
    }

    /// Starts the first worker, and the thread that starts more.
    pub(crate) fn start(&self, at: &mut At<'_, Passive>) -> Result<(), thread::SpawnError> {
        self.reaper.place(ptr::from_ref(self).cast());
        self.reaper.bind(at.hal);
        self.grow.bind(&self.balance, ptr::null());
        // SAFETY: bound just now; the pool is never freed.
        unsafe { self.queue.when_short_of_threads(&self.grow) };
        self.add_worker(at)?;
        let options = ThreadOptions::named("work balance").priority(WORKER_PRIORITY + 1);
        thread::spawn(at, options, |at| hal::system(at.hal).work.balance(at)).map(drop)
    }

    /// The thread that starts workers.
    fn balance(&self, at: &mut At<'_, Passive>) {
        while !at.hal.dead() {
            if self.balance.take(at).is_none() {
                continue;
            }
            self.grow.begin();
            if self.queue.threads_if_short(at).is_some_and(|workers| workers < MAX_WORKERS) {
                // Without memory the items wait for a worker that is blocked now.
                let _ = self.add_worker(at);
            }
            let _nobody_watches = self.grow.end();
        }
    }

    fn add_worker(&self, at: &mut At<'_, Passive>) -> Result<(), thread::SpawnError> {
        self.queue.count_thread(at, true);
        let spawned = thread::spawn(at, ThreadOptions::named("worker").priority(WORKER_PRIORITY), work);
        if spawned.is_err() {
            self.queue.count_thread(at, false);
        }
        spawned.map(drop)
    }
}

/// A worker.
fn work(at: &mut At<'_, Passive>) {
    let pool = &hal::system(at.hal).work;
    let me = hal::current_thread(at.hal);
    while !at.hal.dead() {
        let Some(work) = pool.queue.take(at) else { continue };
        // SAFETY: the pool's queue holds the work of `RawWork`s, alive until their routine says that it is done.
        let item = unsafe { &*work.as_ref().context().cast::<RawWork>() };
        let (kind, context) = (item.kind(), item.context.load(Relaxed));
        item.work.begin();
        me.set_work_item(item);
        // SAFETY: whoever queued it promised that the routine may be called with this context.
        unsafe { (kind.routine)(context, at) };
        me.set_work_item(ptr::null());
    }
}

/// The routine has run: nothing of `item` is touched after this by its worker.
pub(crate) fn finished(at: &mut At<'_, Passive>, item: &RawWork) {
    if item.work.end() {
        let pool = &hal::system(at.hal).work;
        pool.flushers.with(at, |flushers, at| while flushers.grant_first(at.hal) {});
    }
}

/// Waits until all is gone that was left to the workers to drop: by a DPC that was the last to hold something, by a thread
/// that has ended. PASSIVE.
pub fn flush_dropped(at: &mut At<'_, Passive>) {
    barrier::flush_queued_dpcs(at);
    hal::system(at.hal).work.reaper.flush(at, Location::caller());
}

/// The running thread is about to wait: if it is a worker with an item, another may have to take its place. Undone by
/// [`unblocked`].
pub(crate) fn blocking(at: &mut At<'_, Passive>, thread: &Thread) {
    if !thread.work_item().is_null() {
        hal::system(at.hal).work.queue.count_blocked(at, true);
    }
}

/// The wait is over.
pub(crate) fn unblocked(at: &mut At<'_, Passive>, thread: &Thread) {
    if !thread.work_item().is_null() {
        hal::system(at.hal).work.queue.count_blocked(at, false);
    }
}

/// Something whose end needs PASSIVE.
pub(crate) trait DropAtPassive: Send {
    fn drop_at_passive(self: Box<Self>, at: &mut At<'_, Passive>);
}

/// Lets a worker drop `what`.
pub(crate) fn drop_at_passive(at: &mut At<'_, Dispatch>, what: Box<dyn DropAtPassive>) {
    let pool = &hal::system(at.hal).work;
    pool.dropped.acquire(at).push(what);
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

/// `repr(C)` for the same reason.
#[repr(C)]
struct Object<R> {
    raw: RawWork,
    routine: R,
}

impl<R> Object<R> {
    const CALLBACK: Callback = Callback { what: Watched::WorkItem, name: type_name::<R> };
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
        self.object.raw.bind(at.hal);
        // The link's own reference; `run` takes it back.
        let linked = || {
            let _ = Arc::into_raw(self.object.clone());
        };
        if L::IRQL >= irql::DISPATCH {
            // SAFETY: placed in `new`, bound above, and the link's reference keeps it alive.
            return unsafe { self.object.raw.queue(at, linked) };
        }
        // SAFETY: `L` is below DISPATCH, so it is `Passive`, and `at` is borrowed for as long as this token lives.
        let mut at = unsafe { At::<Passive>::mint(at.hal) };
        let mut raised = at.raise_to_dispatch();
        // SAFETY: as above.
        unsafe { self.object.raw.queue(&mut raised.at, linked) }
    }

    /// WdfWorkItemFlush: waits until it is neither queued nor running. PASSIVE.
    ///
    /// From its own routine it returns at once, as KMDF's does: the run would wait for its own end. The verifier reports that.
    #[track_caller]
    pub fn flush<L: MayWait>(&self, at: &mut At<'_, L>) {
        let at = &mut at.as_passive();
        if self.object.raw.is_mine(at) {
            return verifier::note_own_flush(at.hal, format_args!("{}", type_name::<R>()), Location::caller());
        }
        self.object.raw.flush(at, Location::caller());
    }

    /// Whether it is its own routine that asks, so that it must not wait for itself. PASSIVE.
    pub fn is_running_here(&self, at: &At<'_, Passive>) -> bool {
        self.object.raw.is_mine(at)
    }
}

/// # Safety
/// `context` is the object of a [`WorkItem`] whose link's reference nobody has taken back.
unsafe fn run<R: WorkRoutine>(context: *const (), at: &mut At<'_, Passive>) {
    // SAFETY: by the contract.
    let object = unsafe { Arc::from_raw(context.cast::<Object<R>>()) };
    at.note(Point::WorkItemStart, context.addr());
    match verifier::is_on(at.hal) {
        true => {
            let callback = const { &Object::<R>::CALLBACK };
            verifier::work_item(at.hal, object.raw.id(), callback, || object.routine.run(at));
        }
        false => object.routine.run(at),
    }
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
