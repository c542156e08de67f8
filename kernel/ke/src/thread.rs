//! Threads: PASSIVE code with a stack of its own (PsCreateSystemThread).
//!
//! **Invariant:** a thread is alive from its spawn until it has switched away for the last time: the system holds it, and
//! a worker lets it go only after that.

use crate::{
    at::At,
    bugcheck::BugCheckKind,
    core_lock::CoreLock,
    cpu_set::CpuSet,
    drain,
    event::Event,
    hal::{self, Context, HalRef, Point},
    level::{Dispatch, MayWait, Passive, irql},
    raw_dpc::{DpcKind, RawDpc},
    ready_queue::PRIORITIES,
    sched,
    system::System,
    verifier::{self, Waits, held_text},
    wait::Gone,
    work::{self, RawWork},
    work_queue::Work,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    fmt, hint,
    panic::Location,
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicPtr, AtomicU8, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
};

type Main = Box<dyn for<'c> FnOnce(&mut At<'c, Passive>) + Send>;

/// Where a thread stands. Changes under the dispatcher lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// In a ready queue.
    Ready,
    /// On a CPU.
    Running,
    /// Waiting.
    Parked,
    /// Never to run again.
    Ended,
}

/// A thread. `repr(C)`: its address is that of its context, so that a switch needs no other.
#[repr(C)]
pub struct Thread {
    context: Context,
    name: &'static str,
    /// The bit of the priority's number.
    rank: u64,
    /// Below [`PRIORITIES`].
    priority: u8,
    affinity: Option<CpuSet>,
    system: *const System,
    state: AtomicU8,
    /// In a ready queue, or among those who wait for work.
    pub(crate) next: AtomicPtr<Thread>,
    /// The work that ended its wait for some.
    pub(crate) handed: AtomicPtr<Work>,
    alerts: AtomicUsize,
    /// What it runs, if it is a worker that runs something.
    work_item: AtomicPtr<RawWork>,
    main: CoreLock<Option<Main>>,
    ended: Event,
    /// Queued by the thread's last code, so that it runs after the last switch.
    reap: RawDpc,
    /// The wait locks that the verifier knows it to own.
    pub(crate) waits: Waits,
}

// SAFETY: `system` points at what outlives every thread; everything else is shared by its own rules.
unsafe impl Send for Thread {}
// SAFETY: as above.
unsafe impl Sync for Thread {}

/// How a thread is to run.
#[derive(Debug, Clone)]
pub struct ThreadOptions {
    /// The name in bug checks and tables.
    pub name: &'static str,
    /// 1 (worst) to 31 (best); equals share time. Clamped to that range.
    pub priority: u8,
    /// The CPUs that it may run on; `None`: all.
    pub affinity: Option<CpuSet>,
}

/// NT's normal priority.
pub const NORMAL_PRIORITY: u8 = 8;

impl ThreadOptions {
    /// A thread of normal priority that may run everywhere.
    pub fn named(name: &'static str) -> Self {
        ThreadOptions { name, priority: NORMAL_PRIORITY, affinity: None }
    }
    /// With this priority.
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }
    /// Only on these CPUs.
    pub fn on(mut self, cpus: CpuSet) -> Self {
        self.affinity = Some(cpus);
        self
    }
}

/// There is no memory for a thread's stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpawnError {
    /// The thread that was to be made.
    pub name: &'static str,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no memory for the stack of thread {}", self.name)
    }
}

impl core::error::Error for SpawnError {}

/// A thread that can be waited for. Dropping it lets the thread go on alone.
#[derive(Debug)]
pub struct JoinHandle {
    thread: Arc<Thread>,
}

impl JoinHandle {
    /// Waits until the thread has ended. PASSIVE.
    pub fn join<L: MayWait>(self, at: &mut At<'_, L>) -> Result<(), Gone> {
        self.thread.ended.wait(at)
    }

    /// The thread.
    pub fn thread(&self) -> &Thread {
        &self.thread
    }
}

/// Starts a thread that runs `main` at PASSIVE. PASSIVE.
///
/// ```
/// use ke::{At, Gone, Passive, thread::{self, ThreadOptions}};
/// fn helper(at: &mut At<'_, Passive>) -> Result<(), Gone> {
///     let thread = thread::spawn(at, ThreadOptions::named("helper").priority(9), |at| {
///         let _level = at.irql();
///     });
///     match thread {
///         Ok(thread) => thread.join(at),
///         Err(no_memory) => panic!("{no_memory}"),
///     }
/// }
/// ```
#[track_caller]
pub fn spawn(
    at: &mut At<'_, Passive>,
    options: ThreadOptions,
    main: impl for<'c> FnOnce(&mut At<'c, Passive>) + Send + 'static,
) -> Result<JoinHandle, SpawnError> {
    at.point(Point::Spawn, 0, Location::caller());
    let thread = Arc::new(Thread::new(&options, at.hal.system(), Some(Box::new(main))));
    thread.reap.set_context(Arc::as_ptr(&thread).cast());
    if !at.hal.create_context(&thread.context, Arc::as_ptr(&thread)) {
        return Err(SpawnError { name: options.name });
    }
    hal::system(at.hal).threads.acquire(at).push(thread.clone());
    sched::launch(at.raise_to_dispatch().at.hal, &thread);
    Ok(JoinHandle { thread })
}

/// The threads that have not ended, but for the idle ones. PASSIVE.
pub fn list(at: &mut At<'_, Passive>) -> Vec<Arc<Thread>> {
    hal::system(at.hal).threads.acquire(at).to_vec()
}

impl Thread {
    pub(crate) fn new(options: &ThreadOptions, system: *const System, main: Option<Main>) -> Self {
        // Only an idle thread has no main function, and only idle threads have priority 0.
        let priority = if main.is_some() { options.priority.clamp(1, 31) } else { 0 };
        Thread {
            context: Context::default(),
            name: options.name,
            rank: 1 << priority,
            priority,
            affinity: options.affinity.clone(),
            system,
            state: AtomicU8::new(State::Parked as u8),
            next: AtomicPtr::default(),
            handed: AtomicPtr::default(),
            alerts: AtomicUsize::new(0),
            work_item: AtomicPtr::default(),
            main: CoreLock::new(main),
            ended: Event::new(),
            reap: RawDpc::new(&REAP),
            waits: Waits::new(),
        }
    }

    /// The thread's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// 1 to 31; 0 for an idle thread.
    #[inline]
    pub fn priority(&self) -> u8 {
        // SAFETY: `new` clamps it.
        unsafe { hint::assert_unchecked(usize::from(self.priority) < PRIORITIES) };
        self.priority
    }

    /// The bit of its priority's number.
    #[inline]
    pub(crate) fn rank(&self) -> u64 {
        self.rank
    }

    /// Where it stands; stale as soon as it is read.
    pub fn state(&self) -> State {
        match self.state.load(Relaxed) {
            0 => State::Ready,
            1 => State::Running,
            2 => State::Parked,
            _ => State::Ended,
        }
    }

    /// For the HAL, which finds the thread's stack by it.
    pub fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.priority == 0
    }

    pub(crate) fn set_state(&self, state: State) {
        self.state.store(state as u8, Relaxed);
    }

    pub(crate) fn may_run_on(&self, cpu: u32) -> bool {
        self.affinity.as_ref().is_none_or(|cpus| cpus.contains(cpu))
    }

    pub(crate) fn system(&self) -> *const System {
        self.system
    }

    /// Whether a device that this thread uses is gone.
    pub(crate) fn is_alerted(&self) -> bool {
        self.alerts.load(Acquire) != 0
    }

    /// One more (`true`) or one less device that this thread uses is gone.
    pub(crate) fn alert(&self, more: bool) {
        if more {
            self.alerts.fetch_add(1, Release);
        } else {
            self.alerts.fetch_sub(1, Release);
        }
    }

    pub(crate) fn set_work_item(&self, item: *const RawWork) {
        self.work_item.store(item.cast_mut(), Relaxed);
    }

    /// The work item that it runs; null for none.
    pub(crate) fn work_item(&self) -> *const RawWork {
        self.work_item.load(Relaxed)
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread").field("name", &self.name).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// See [`crate::entry::thread_start`].
pub(crate) fn start(hal: HalRef<'_>, thread: &Thread) {
    sched::first_switch_done(hal);
    hal.set_level(irql::PASSIVE);
    if hal.pending() != 0 {
        drain::on_lower(hal);
    }
    // SAFETY: a new thread of execution at PASSIVE; this is its one token.
    let mut at = unsafe { At::<Passive>::mint(hal) };
    let main = thread.main.acquire(&mut at).take();
    if let Some(main) = main {
        main(&mut at);
    }
    check_balance(hal, thread);
    let mut raised = at.raise_to_dispatch();
    // SAFETY: the thread is alive until the DPC has run, which is after the switch below: this CPU stays at DISPATCH
    // until then.
    unsafe { thread.reap.insert_here(raised.at.hal) };
    // Whoever waits for this, and then flushes the DPCs, finds the thread gone.
    thread.ended.set(&mut raised.at);
    sched::end_thread(hal);
}

fn check_balance(hal: HalRef<'_>, thread: &Thread) {
    let level = hal.level().max(hal.task_priority());
    if level != irql::PASSIVE {
        hal.bug_check(
            BugCheckKind::IrqlNotPassive,
            format_args!(
                "thread {} ends at IRQL {level}: it still holds a lock (a forgotten guard?){}",
                thread.name,
                held_text(hal)
            ),
        );
    }
    verifier::check_thread_end(hal, thread);
}

const REAP: DpcKind = DpcKind::new(reap, || "thread end");

/// # Safety
/// `thread` is the thread whose DPC this is.
unsafe fn reap(dpc: NonNull<RawDpc>, mut at: At<'_, Dispatch>) {
    // SAFETY: called as a DPC's routine.
    let thread = unsafe { RawDpc::begin(dpc) };
    sched::settle_ended(at.hal);
    let system = hal::system(at.hal);
    let mut threads = system.threads.acquire(&mut at);
    let Some(place) = threads.iter().position(|each| ptr::eq(Arc::as_ptr(each).cast(), thread)) else { return };
    let ended = threads.swap_remove(place);
    drop(threads);
    work::drop_at_passive(&mut at, Box::new(Ended(ended)));
}

/// An ended thread on its way out: its stack goes when it is dropped, at PASSIVE.
struct Ended(Arc<Thread>);

impl work::DropAtPassive for Ended {
    fn drop_at_passive(self: Box<Self>, at: &mut At<'_, Passive>) {
        at.hal.destroy_context(&self.0.context);
    }
}
