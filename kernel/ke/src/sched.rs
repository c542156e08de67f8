//! The scheduler: one set of ready queues by priority, preemptive, threads migrate freely.
//!
//! Priorities are 1 to 31 (0 is the idle threads'). A CPU runs the best ready thread that may run on it; equals take
//! turns by time slice. A thread waits by [`park`]ing and goes on when somebody [`grant`]s its wait block.
//!
//! **Invariant:** thread states, the ready queues and what each CPU runs change only under the dispatcher lock. The lock
//! is held across a switch: the thread that continues releases it, so nobody can pick a thread whose registers are
//! not saved yet.

use crate::{
    at::At,
    bugcheck::BugCheckKind,
    drain,
    hal::{self, HalRef},
    level::{Passive, irql},
    percpu::{PerCpu, pending},
    ready_queue::ReadyQueues,
    system::System,
    thread::{State, Thread},
    ticket::TicketWord,
    verifier::held_text,
    wait::WaitBlock,
    work_queue::{self, Work},
};
use core::{
    cell::UnsafeCell,
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, Ordering::Relaxed},
};

/// How long equals run before they take turns, in nanoseconds.
const TIME_SLICE: u64 = 10_000_000;

/// In place of a time slice's end: it has passed, and the scheduler has not looked yet.
const SLICE_OVER: u64 = 0;

/// The machine-wide half.
pub(crate) struct Dispatcher {
    word: TicketWord,
    ready: UnsafeCell<ReadyQueues>,
}

// SAFETY: `ready` is reached only with the word held (`Locked::ready`).
unsafe impl Sync for Dispatcher {}
// SAFETY: the queues hold threads, which may be used from any CPU.
unsafe impl Send for Dispatcher {}

impl Dispatcher {
    pub(crate) fn new() -> Self {
        Dispatcher { word: TicketWord::plain(), ready: UnsafeCell::new(ReadyQueues::new()) }
    }
}

/// The dispatcher lock, held. Whoever switches away under it holds it again when it continues.
pub(crate) struct Locked<'c> {
    hal: HalRef<'c>,
    system: &'c System,
}

/// Runs `f` under the dispatcher lock. DISPATCH.
#[inline(always)]
pub(crate) fn with_lock<'c, T>(hal: HalRef<'c>, f: impl FnOnce(&mut Locked<'c>) -> T) -> T {
    let mut locked = Locked::take(hal);
    let result = f(&mut locked);
    locked.release();
    result
}

/// One CPU's half. All fields change under the dispatcher lock, but for `requested`, which anyone sets, and the end of a
/// slice, which its own CPU notes at DISPATCH.
pub(crate) struct CpuSched {
    idle: AtomicPtr<Thread>,
    /// A ready thread that is in no queue, because it preempts what runs here as soon as this CPU looks.
    standby: AtomicPtr<Thread>,
    running_priority: AtomicU8,
    requested: AtomicBool,
    slice_end: AtomicU64,
}

impl CpuSched {
    pub(crate) fn new() -> Self {
        CpuSched {
            idle: AtomicPtr::default(),
            standby: AtomicPtr::default(),
            running_priority: AtomicU8::new(u8::MAX),
            requested: AtomicBool::new(false),
            slice_end: AtomicU64::new(u64::MAX),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.running_priority.load(Relaxed) == 0
    }

    /// When the running thread's time slice ends; `u64::MAX` when nobody waits for its turn.
    fn slice_end(&self) -> u64 {
        self.slice_end.load(Relaxed)
    }

    /// Ends the time slice if it is over at `now`: `true` when the scheduler should look. This CPU's clock DPC only.
    pub(crate) fn end_slice(&self, now: u64) -> bool {
        let over = now >= self.slice_end();
        if over {
            self.slice_end.store(SLICE_OVER, Relaxed);
        }
        over
    }

    /// What the clock has to be armed for: a slice that is over needs no clock.
    pub(crate) fn clock_deadline(&self) -> u64 {
        match self.slice_end() {
            SLICE_OVER => u64::MAX,
            end => end,
        }
    }

    /// Whether another CPU has asked for a look at the ready queues since the last call.
    pub(crate) fn take_request(&self) -> bool {
        self.requested.swap(false, Relaxed)
    }
}

/// A wait must begin at PASSIVE: anything else means that a guard was forgotten, or waited under.
pub(crate) fn assert_may_wait(hal: HalRef<'_>) {
    let level = hal.level().max(hal.task_priority());
    if level != irql::PASSIVE {
        hal.bug_check(
            BugCheckKind::IrqlNotPassive,
            format_args!(
                "thread {} waits at IRQL {level}: it still holds a spin lock or an interrupt lock (a forgotten guard?){}",
                hal::current_thread(hal).name(),
                held_text(hal)
            ),
        );
    }
}

/// Parks the running thread until `until`, which is asked under the dispatcher lock whenever somebody wakes it.
pub(crate) fn park(at: &mut At<'_, Passive>, until: impl Fn() -> bool) {
    let raised = at.raise_to_dispatch();
    let me = hal::current_thread(raised.at.hal);
    with_lock(raised.at.hal, |locked| {
        while !until() {
            locked.switch_away(me);
        }
    });
}

/// Ends a wait: marks the block and lets its thread go on. DISPATCH.
///
/// # Safety
/// `block` was just unlinked from its list, under the list's lock.
pub(crate) unsafe fn grant(hal: HalRef<'_>, block: NonNull<WaitBlock>) {
    // SAFETY: the block is alive until its thread sees the grant, which is under the dispatcher lock.
    wake_when(hal, unsafe { block.as_ref().thread.as_ref() }, || unsafe { block.as_ref().set_granted() });
}

/// Does `mark` under the dispatcher lock, then lets `thread`, which is in [`park`] or comes there, look at its condition.
/// DISPATCH. The caller knows that the thread is alive until `mark` is done.
pub(crate) fn wake_when(hal: HalRef<'_>, thread: &Thread, mark: impl FnOnce()) {
    if !ptr::eq(thread.system(), hal.system()) {
        hal.bug_check(BugCheckKind::ForeignObject, format_args!("an event or lock is shared between two machines"));
    }
    with_lock(hal, |locked| {
        mark();
        if thread.state() == State::Parked {
            locked.make_ready(thread);
        }
    });
}

/// Makes a new thread ready. DISPATCH.
pub(crate) fn launch(hal: HalRef<'_>, thread: &Thread) {
    with_lock(hal, |locked| locked.make_ready(thread));
}

/// Hands over the work that ISRs have left here, then looks whether another thread should run. At DISPATCH, interrupts on.
///
/// # Safety
/// `cpu` is this CPU, and `left` from its [`work_queue::Left::take`].
#[inline(always)]
pub(crate) unsafe fn reschedule(hal: HalRef<'_>, cpu: &PerCpu, left: *mut Work) {
    let mut locked = Locked::take(hal);
    let me = hal::current_thread(hal);
    // SAFETY: the same contract.
    match unsafe { work_queue::hand_over_all(&mut locked, left) } {
        // Directly: never ready, never standing by, and with nobody to share time with.
        Some(woken) if locked.beats_all(woken, cpu, me) => {
            locked.put_back(cpu, me);
            cpu.sched.slice_end.store(u64::MAX, Relaxed);
            locked.switch(cpu, NonNull::from(me), NonNull::from(woken));
        }
        woken => locked.run_best(cpu, me, woken),
    }
    locked.release();
}

impl<'c> Locked<'c> {
    /// Takes the lock. DISPATCH.
    #[inline(always)]
    pub(crate) fn take(hal: HalRef<'c>) -> Self {
        let system = hal::system(hal);
        system.dispatcher.word.lock_plain(hal);
        Locked { hal, system }
    }

    /// Gives the lock up.
    #[inline(always)]
    pub(crate) fn release(self) {
        self.system.dispatcher.word.unlock(self.hal);
    }

    pub(crate) fn hal(&self) -> HalRef<'c> {
        self.hal
    }

    #[inline(always)]
    fn ready(&mut self) -> &mut ReadyQueues {
        // SAFETY: the word is held, and this is borrowed for as long as the reference lives.
        unsafe { &mut *self.system.dispatcher.ready.get() }
    }

    /// `thread` becomes ready, and a CPU that should run it is told.
    pub(crate) fn make_ready(&mut self, thread: &Thread) {
        thread.set_state(State::Ready);
        let here = hal::percpu(self.hal);
        if !beats(thread, here) {
            self.ready().push_back(thread);
            if let Some(cpu) = other_for(self.hal, thread) {
                request_reschedule(self.hal, cpu);
            }
            return;
        }
        // SAFETY: null or a ready thread, which is alive.
        match unsafe { here.sched.standby.load(Relaxed).as_ref() } {
            Some(other) if other.priority() >= thread.priority() => return self.ready().push_back(thread),
            Some(other) => self.ready().push_front(other),
            None => {}
        }
        here.sched.standby.store(ptr::from_ref(thread).cast_mut(), Relaxed);
        self.hal.set_pending(pending::RESCHEDULE);
    }

    /// Whether `woken`, which is not ready yet, should run on `cpu` instead of `me`, and no ready thread is as good.
    #[inline(always)]
    fn beats_all(&mut self, woken: &Thread, cpu: &PerCpu, me: &Thread) -> bool {
        woken.priority() > me.priority()
            && woken.may_run_on(cpu.number())
            && cpu.sched.standby.load(Relaxed).is_null()
            && !self.ready().has_as_good(woken)
    }

    /// Makes `woken` ready, and switches from `me` to whoever should run on `cpu` instead, if anybody should.
    #[cold]
    fn run_best(&mut self, cpu: &PerCpu, me: &Thread, woken: Option<&'c Thread>) {
        if let Some(woken) = woken {
            self.make_ready(woken);
        }
        if let Some(next) = self.take_standby(cpu).or_else(|| self.take_better(cpu, me)) {
            self.put_back(cpu, me);
            self.switch_to(cpu, NonNull::from(me), NonNull::from(next));
        }
    }

    /// `me` loses its CPU: it is the first of its equals, unless its time is over.
    #[inline(always)]
    fn put_back(&mut self, cpu: &PerCpu, me: &Thread) {
        if me.is_idle() {
            return;
        }
        me.set_state(State::Ready);
        if cpu.sched.slice_end() != SLICE_OVER {
            self.ready().push_front(me);
        } else {
            self.ready().push_back(me);
        }
    }

    /// Takes the thread that stands by for `cpu`, if no better one is ready. It beats what runs there.
    fn take_standby(&mut self, cpu: &PerCpu) -> Option<&'c Thread> {
        // SAFETY: null or a ready thread, which is alive.
        let standby: &'c Thread = unsafe { cpu.sched.standby.load(Relaxed).as_ref() }?;
        cpu.sched.standby.store(ptr::null_mut(), Relaxed);
        if self.ready().has_better(standby) {
            self.ready().push_front(standby);
            return None;
        }
        Some(standby)
    }

    /// Takes the best ready thread for `cpu`, if it is better than `me`, which runs there, or as good when the slice is over.
    fn take_better(&mut self, cpu: &PerCpu, me: &Thread) -> Option<&'c Thread> {
        let slice_over = cpu.sched.slice_end() == SLICE_OVER;
        let best = self.ready().best_priority(cpu.number());
        if best > me.priority() || best == me.priority() && slice_over {
            return self.take_best(cpu);
        }
        if slice_over {
            // Nobody is left to share with.
            cpu.sched.slice_end.store(u64::MAX, Relaxed);
        }
        share_time(self.hal, cpu, me.priority(), best);
        None
    }

    fn take_best(&mut self, cpu: &PerCpu) -> Option<&'c Thread> {
        // SAFETY: a ready thread is alive.
        self.ready().take_best(cpu.number()).map(|thread| unsafe { &*thread.as_ptr() })
    }

    /// The running thread, `me`, goes on when somebody has made it ready again. Returns then.
    #[inline(always)]
    pub(crate) fn switch_away(&mut self, me: &Thread) {
        me.set_state(State::Parked);
        self.switch_to_best(NonNull::from(me));
    }

    #[inline(always)]
    fn switch_to_best(&mut self, me: NonNull<Thread>) {
        let cpu = hal::percpu(self.hal);
        let best = self.take_standby(cpu).or_else(|| self.take_best(cpu));
        // SAFETY: a CPU's idle thread is never freed.
        let next = best.unwrap_or_else(|| unsafe { &*cpu.sched.idle.load(Relaxed) });
        self.switch_to(cpu, me, NonNull::from(next));
    }

    /// `next` runs here; returns when `me` runs again.
    #[inline(always)]
    fn switch_to(&mut self, cpu: &PerCpu, me: NonNull<Thread>, next: NonNull<Thread>) {
        cpu.sched.slice_end.store(u64::MAX, Relaxed);
        // SAFETY: a ready thread is alive.
        let coming = unsafe { next.as_ref() };
        if self.ready().has_equal(coming) {
            let best = self.ready().best_priority(cpu.number());
            share_time(self.hal, cpu, coming.priority(), best);
        }
        self.switch(cpu, me, next);
    }

    /// As [`Self::switch_to`]; how long `next` runs has been seen to.
    ///
    /// Pointers, because a reference that is an argument promises that its thread lives until this returns: `next` may end
    /// before that, and an ended `me` never comes back.
    #[inline(always)]
    fn switch(&mut self, cpu: &PerCpu, me: NonNull<Thread>, next: NonNull<Thread>) {
        // SAFETY: the running thread and a ready one are alive; neither is used after the switch.
        let (me, next) = unsafe { (me.as_ref(), next.as_ref()) };
        next.set_state(State::Running);
        cpu.sched.running_priority.store(next.priority(), Relaxed);
        if self.system.cpus().len() > 1 {
            offer_rest(self, cpu);
        }
        cpu.current_word().store(ptr::from_ref(next).cast_mut(), Relaxed);
        self.hal.switch(me.context(), next.context());
    }
}

/// Whether `thread` should run on `cpu` instead of what runs there.
#[inline(always)]
fn beats(thread: &Thread, cpu: &PerCpu) -> bool {
    thread.may_run_on(cpu.number()) && running_priority(cpu) < thread.priority()
}

/// The CPU that should run the ready `thread`: the weakest that it beats and that has not been told to look already, else
/// one that runs an equal and has to share.
fn other_for<'c>(hal: HalRef<'c>, thread: &Thread) -> Option<&'c PerCpu> {
    let cpus = hal::system(hal).cpus();
    let untold = |cpu: &&PerCpu| !cpu.sched.requested.load(Relaxed);
    let weakest = cpus.iter().filter(|cpu| beats(thread, cpu)).filter(untold).min_by_key(|cpu| running_priority(cpu));
    let equal = |cpu: &&PerCpu| thread.may_run_on(cpu.number()) && running_priority(cpu) == thread.priority();
    weakest.or_else(|| cpus.iter().find(equal))
}

/// Tells another CPU for which a better thread is ready than it runs to look. One is enough: when it has taken its thread
/// it does the same. So no thread stays ready beside a CPU that runs a worse one.
#[inline(never)]
fn offer_rest(locked: &mut Locked<'_>, here: &PerCpu) {
    let (hal, system) = (locked.hal, locked.system);
    let ready = locked.ready();
    let wanting = |cpu: &&PerCpu| {
        cpu.number() != here.number()
            && !cpu.sched.requested.load(Relaxed)
            && ready.best_priority(cpu.number()) > running_priority(cpu)
    };
    if let Some(cpu) = system.cpus().iter().find(wanting) {
        request_reschedule(hal, cpu);
    }
}

fn request_reschedule(hal: HalRef<'_>, cpu: &PerCpu) {
    if cpu.number() == hal.cpu() {
        hal.set_pending(pending::RESCHEDULE);
    } else {
        cpu.sched.requested.store(true, Relaxed);
        hal.send_dispatch_ipi(cpu.number());
    }
}

#[inline(always)]
fn running_priority(cpu: &PerCpu) -> u8 {
    cpu.sched.running_priority.load(Relaxed)
}

/// With the dispatcher lock held: when an equal is ready, the thread that runs here has a time slice.
#[inline(never)]
fn share_time(hal: HalRef<'_>, cpu: &PerCpu, running: u8, best: u8) {
    if running != 0 && best == running && cpu.sched.slice_end() == u64::MAX {
        cpu.sched.slice_end.store(hal.now().saturating_add(TIME_SLICE), Relaxed);
        cpu.timers.arm(hal);
    }
}

/// The first code of a new thread: its first switch left the dispatcher lock held and the level at DISPATCH.
pub(crate) fn first_switch_done(hal: HalRef<'_>) {
    hal::system(hal).dispatcher.word.unlock(hal);
}

/// The running thread ends: it never runs again. At DISPATCH.
pub(crate) fn end_thread(hal: HalRef<'_>) {
    with_lock(hal, |locked| {
        let me = hal::current_thread(hal);
        me.set_state(State::Ended);
        locked.switch_to_best(NonNull::from(me));
    });
}

/// Waits until every thread that has ended before the call has switched away for good. DISPATCH.
pub(crate) fn settle_ended(hal: HalRef<'_>) {
    with_lock(hal, |_| ());
}

/// Makes the context that calls this CPU's idle thread, and idles in it.
///
/// # Safety
/// As [`crate::entry::run_cpu`].
pub(crate) unsafe fn idle(hal: HalRef<'_>) {
    let cpu = hal::percpu(hal);
    let idle = hal::system(hal).idle_thread(cpu.number());
    idle.set_state(State::Running);
    cpu.sched.idle.store(ptr::from_ref(idle).cast_mut(), Relaxed);
    cpu.current_word().store(ptr::from_ref(idle).cast_mut(), Relaxed);
    cpu.sched.running_priority.store(0, Relaxed);
    hal.set_level(irql::PASSIVE);
    // Threads may have become ready before this CPU could be told.
    hal.set_pending(pending::RESCHEDULE);
    while !hal.dead() {
        hal.disable_interrupts();
        if hal.pending() != 0 {
            drain::on_idle(hal);
            hal.enable_interrupts();
        } else if drain::has_leftovers(hal) {
            hal.set_pending(pending::DPC);
            hal.enable_interrupts();
        } else {
            hal.halt();
        }
    }
}
