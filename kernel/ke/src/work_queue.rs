//! Work queues: how what an ISR leaves behind reaches a thread that waits for it (KQUEUE).
//!
//! At DIRQL work is linked into the CPU's own list. On the way out of the interrupt the scheduler, which takes the dispatcher
//! lock for its switch anyway, hands it to a thread that waits at its queue, or queues it. So one lock and no DPC lie between
//! an ISR and the thread.
//!
//! **Invariant:** work is linked once: in a CPU's list, or in its queue, or in the thread that it was handed to. Whoever
//! turns it from idle to queued links it; the thread that has it turns it back before it begins, so that it may be queued
//! again, and overlap itself, from then on.
//!
//! **Invariant:** queues and who waits there change under the dispatcher lock; a CPU's list on that CPU with interrupts
//! off, and while it is not empty [`pending::RESCHEDULE`] is set there.

use crate::{
    at::At,
    hal,
    level::{Level, Passive, irql},
    percpu::pending,
    sched::{self, Locked},
    thread::Thread,
};
use core::{
    cell::Cell,
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicPtr, AtomicU32,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

/// In the state: it waits for its run.
const QUEUED: u32 = 1;
/// In the state: somebody wants to know when neither a run waits nor one is under way.
const WATCHED: u32 = 1 << 31;
/// In the state: one run is under way. What is queued becomes one by adding [`QUEUED`].
const RUNNING: u32 = 2 * QUEUED;

/// What a queue holds.
pub(crate) struct Work {
    next: AtomicPtr<Work>,
    state: AtomicU32,
    queue: AtomicPtr<WorkQueue>,
    /// Whatever the threads of the queue expect.
    context: AtomicPtr<()>,
}

impl Work {
    pub(crate) const fn new() -> Self {
        Work {
            next: AtomicPtr::new(ptr::null_mut()),
            state: AtomicU32::new(0),
            queue: AtomicPtr::new(ptr::null_mut()),
            context: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Says where it is done, and with what. Before it is queued; always the same.
    pub(crate) fn bind(&self, queue: &WorkQueue, context: *const ()) {
        self.queue.store(ptr::from_ref(queue).cast_mut(), Relaxed);
        self.context.store(context.cast_mut(), Relaxed);
    }

    /// What it was bound with.
    pub(crate) fn context(&self) -> *const () {
        self.context.load(Relaxed)
    }

    /// Queues it; `linked` runs before it can begin. `false`: it is queued already and has not begun. At DISPATCH or above,
    /// interrupts on.
    ///
    /// # Safety
    /// It is bound, and it and its queue stay alive until it is idle again.
    #[inline(always)]
    pub(crate) unsafe fn queue<L: Level>(&self, at: &mut At<'_, L>, linked: impl FnOnce()) -> bool {
        // One bit, tested alone: a single `lock bts`.
        if self.state.fetch_or(QUEUED, AcqRel) & QUEUED != 0 {
            return false;
        }
        linked();
        if L::IRQL > irql::DISPATCH {
            // SAFETY: turned to queued here, and this CPU's list with interrupts off.
            at.hal.disable_interrupts();
            let list = &hal::percpu(at.hal).work;
            self.next.store(list.newest.load(Relaxed), Relaxed);
            list.newest.store(ptr::from_ref(self).cast_mut(), Relaxed);
            at.hal.set_pending(pending::RESCHEDULE);
            at.hal.enable_interrupts();
        } else {
            sched::with_lock(at.hal, |locked| {
                hand_over_left(locked);
                // SAFETY: turned to queued here.
                unsafe { hand_over(locked, self) };
            });
        }
        true
    }

    /// Its thread begins it: from here on it may be queued again.
    #[inline(always)]
    pub(crate) fn begin(&self) {
        self.state.fetch_add(RUNNING - QUEUED, AcqRel);
    }

    /// The run is over. `true`: somebody watched for that, and now it is idle. It may be gone when this returns.
    #[inline(always)]
    #[must_use]
    pub(crate) fn end(&self) -> bool {
        self.state.fetch_sub(RUNNING, Release) == RUNNING | WATCHED
    }

    /// Whether neither a run waits nor one is under way. If not, the run that leaves it so will say so.
    pub(crate) fn is_idle_or_watched(&self) -> bool {
        if self.state.fetch_or(WATCHED, AcqRel) & !WATCHED != 0 {
            return false;
        }
        // Another watcher asks again too: the run that has left it idle has seen the bit. Queued again, it is watched for
        // nothing.
        let _ = self.state.compare_exchange(WATCHED, 0, AcqRel, Acquire);
        true
    }
}

/// Work that ISRs have left on one CPU, the latest first.
pub(crate) struct Left {
    newest: AtomicPtr<Work>,
}

impl Left {
    pub(crate) fn new() -> Self {
        Left { newest: AtomicPtr::default() }
    }

    /// Takes all of it. This CPU's, interrupts off.
    #[inline(always)]
    pub(crate) fn take(&self) -> *mut Work {
        let newest = self.newest.load(Relaxed);
        self.newest.store(ptr::null_mut(), Relaxed);
        newest
    }
}

/// Hands over what ISRs have left on this CPU until now, so that it goes before what follows. DISPATCH, interrupts on.
pub(crate) fn hand_over_left(locked: &mut Locked<'_>) {
    let hal = locked.hal();
    hal.disable_interrupts();
    let left = hal::percpu(hal).work.take();
    hal.enable_interrupts();
    if !left.is_null() {
        // SAFETY: taken just now.
        unsafe { hand_over_several(locked, left) };
    }
}

/// Hands over what ISRs have left, in the order in which they did. `Some`: the one thread that it woke, which is not ready
/// yet.
///
/// # Safety
/// `newest` is from [`Left::take`].
#[inline(always)]
pub(crate) unsafe fn hand_over_all<'c>(locked: &mut Locked<'c>, newest: *mut Work) -> Option<&'c Thread> {
    // SAFETY: linked work is alive.
    let work = unsafe { newest.as_ref() }?;
    if work.next.load(Relaxed).is_null() {
        // SAFETY: out of the list.
        return unsafe { assign(locked, work) };
    }
    // SAFETY: the same contract.
    unsafe { hand_over_several(locked, newest) };
    None
}

/// # Safety
/// As [`hand_over_all`].
#[cold]
unsafe fn hand_over_several(locked: &mut Locked<'_>, mut newest: *mut Work) {
    let mut oldest: *mut Work = ptr::null_mut();
    // SAFETY: linked work is alive, and the chain is this function's alone; `next` is read before it changes.
    unsafe {
        while let Some(work) = newest.as_ref() {
            newest = work.next.swap(oldest, Relaxed);
            oldest = ptr::from_ref(work).cast_mut();
        }
        while let Some(work) = oldest.as_ref() {
            oldest = work.next.load(Relaxed);
            hand_over(locked, work);
        }
    }
}

/// Gives `work` to a thread that waits for its queue, which becomes ready, or queues it.
///
/// # Safety
/// As [`assign`].
unsafe fn hand_over(locked: &mut Locked<'_>, work: &Work) {
    // SAFETY: the same contract.
    if let Some(thread) = unsafe { assign(locked, work) } {
        locked.make_ready(thread);
    }
}

/// Gives `work` to a thread that waits for its queue, or queues it.
///
/// # Safety
/// It is queued, and linked nowhere.
#[inline(always)]
unsafe fn assign<'c>(locked: &mut Locked<'c>, work: &Work) -> Option<&'c Thread> {
    // SAFETY: by the contract of `Work::queue` bound to a queue that is alive; the lock is held.
    let queue = unsafe { &*work.queue.load(Relaxed) };
    // SAFETY: whoever waits at a queue is alive.
    let Some(thread) = (unsafe { queue.waiting.get().as_ref() }) else {
        // SAFETY: the same contract.
        unsafe { queue.push(locked, work) };
        return None;
    };
    queue.waiting.set(thread.next.load(Relaxed));
    thread.handed.store(ptr::from_ref(work).cast_mut(), Relaxed);
    Some(thread)
}

/// Work that waits, and threads that wait for it: not both at once. Threads take turns last come, first served, so the
/// one whose stack is still warm.
pub(crate) struct WorkQueue {
    first: Cell<*const Work>,
    last: Cell<*const Work>,
    waiting: Cell<*const Thread>,
    /// How many threads serve the queue.
    threads: Cell<u32>,
    /// How many of them wait for something else in the midst of a run.
    blocked: Cell<u32>,
    /// Queued when work waits and all threads are blocked.
    short_of_threads: AtomicPtr<Work>,
}

// SAFETY: the cells are reached under the dispatcher lock alone, and lead to what may be used on any CPU.
unsafe impl Sync for WorkQueue {}
// SAFETY: as above.
unsafe impl Send for WorkQueue {}

impl WorkQueue {
    pub(crate) const fn new() -> Self {
        WorkQueue {
            first: Cell::new(ptr::null()),
            last: Cell::new(ptr::null()),
            waiting: Cell::new(ptr::null()),
            threads: Cell::new(0),
            blocked: Cell::new(0),
            short_of_threads: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// What to do when work waits and all threads are blocked. Before the first work.
    ///
    /// # Safety
    /// As for [`Work::queue`], for as long as the queue is in use.
    pub(crate) unsafe fn when_short_of_threads(&self, work: &Work) {
        self.short_of_threads.store(ptr::from_ref(work).cast_mut(), Relaxed);
    }

    /// One thread more or less serves the queue.
    pub(crate) fn count_thread(&self, at: &mut At<'_, Passive>, more: bool) {
        sched::with_lock(at.raise_to_dispatch().at.hal, |_| {
            self.threads.set(if more { self.threads.get() + 1 } else { self.threads.get() - 1 });
        });
    }

    /// How many threads serve it, if it is short of them.
    pub(crate) fn threads_if_short(&self, at: &mut At<'_, Passive>) -> Option<u32> {
        sched::with_lock(at.raise_to_dispatch().at.hal, |_| self.is_short().then(|| self.threads.get()))
    }

    /// A thread that serves the queue waits for something else in the midst of a run (`true`), or has waited.
    pub(crate) fn count_blocked(&self, at: &mut At<'_, Passive>, more: bool) {
        sched::with_lock(at.raise_to_dispatch().at.hal, |locked| {
            self.blocked.set(if more { self.blocked.get() + 1 } else { self.blocked.get() - 1 });
            if more {
                self.call_for_threads(locked);
            }
        });
    }

    fn is_short(&self) -> bool {
        !self.first.get().is_null() && self.blocked.get() >= self.threads.get()
    }

    fn call_for_threads(&self, locked: &mut Locked<'_>) {
        // SAFETY: null, or alive while the queue is in use.
        let Some(work) = (unsafe { self.short_of_threads.load(Relaxed).as_ref() }) else { return };
        if self.is_short() && work.state.fetch_or(QUEUED, AcqRel) & QUEUED == 0 {
            // SAFETY: turned to queued here. Its own queue calls nobody.
            unsafe { hand_over(locked, work) };
        }
    }

    /// # Safety
    /// As [`hand_over`].
    #[cold]
    unsafe fn push(&self, locked: &mut Locked<'_>, work: &Work) {
        work.next.store(ptr::null_mut(), Relaxed);
        // SAFETY: linked work is alive.
        match unsafe { self.last.get().as_ref() } {
            Some(last) => last.next.store(ptr::from_ref(work).cast_mut(), Relaxed),
            None => self.first.set(work),
        }
        self.last.set(work);
        self.call_for_threads(locked);
    }

    fn pop(&self) -> Option<NonNull<Work>> {
        let work = NonNull::new(self.first.get().cast_mut())?;
        // SAFETY: linked work is alive.
        self.first.set(unsafe { work.as_ref() }.next.load(Relaxed));
        if self.first.get().is_null() {
            self.last.set(ptr::null());
        }
        Some(work)
    }

    /// Waits for work (KeRemoveQueue). The caller [begins](Work::begin) it. `None` on a simulated machine that has died.
    #[inline(always)]
    pub(crate) fn take(&self, at: &mut At<'_, Passive>) -> Option<NonNull<Work>> {
        sched::assert_may_wait(at.hal);
        let raised = at.raise_to_dispatch();
        let me = hal::current_thread(raised.at.hal);
        let mut locked = Locked::take(raised.at.hal);
        let work = match self.pop() {
            None => {
                me.next.store(self.waiting.get().cast_mut(), Relaxed);
                me.handed.store(ptr::null_mut(), Relaxed);
                self.waiting.set(me);
                locked.switch_away(me);
                NonNull::new(me.handed.load(Relaxed))
            }
            work => work,
        };
        locked.release();
        work
    }
}
