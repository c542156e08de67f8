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
    thread::{State, Thread},
    ticket::TicketWord,
    wait::WaitBlock,
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

// SAFETY: `ready` is reached only with the word held (`Dispatcher::ready`).
unsafe impl Sync for Dispatcher {}
// SAFETY: the queues hold threads, which may be used from any CPU.
unsafe impl Send for Dispatcher {}

impl Dispatcher {
    pub(crate) fn new() -> Self {
        Dispatcher { word: TicketWord::new(), ready: UnsafeCell::new(ReadyQueues::new()) }
    }

    fn lock(&self, hal: HalRef<'_>) {
        self.word.lock(hal);
    }

    fn unlock(&self, hal: HalRef<'_>) {
        self.word.unlock(hal);
    }

    /// # Safety
    /// The caller holds the word and lets the reference go before it takes another or switches.
    #[allow(clippy::mut_from_ref, reason = "the word, not the borrow, excludes")]
    unsafe fn ready(&self) -> &mut ReadyQueues {
        // SAFETY: by the contract.
        unsafe { &mut *self.ready.get() }
    }
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
                "thread {} waits at IRQL {level}: it still holds a spin lock or an interrupt lock (a forgotten guard?)",
                hal::current_thread(hal).name()
            ),
        );
    }
}

/// Parks the running thread until `until`, which is asked under the dispatcher lock whenever somebody wakes it.
pub(crate) fn park(at: &mut At<'_, Passive>, until: impl Fn() -> bool) {
    let raised = at.raise_to_dispatch();
    let hal = raised.at.hal;
    let dispatcher = &hal::system(hal).dispatcher;
    let me = hal::current_thread(hal);
    dispatcher.lock(hal);
    while !until() {
        me.set_state(State::Parked);
        let cpu = hal::percpu(hal);
        // SAFETY: the dispatcher lock is held.
        let next = take_best(cpu, unsafe { dispatcher.ready() });
        switch_to(hal, cpu, me, next);
    }
    dispatcher.unlock(hal);
}

/// Ends a wait: marks the block and lets its thread go on. DISPATCH.
///
/// # Safety
/// `block` was just unlinked from its list, under the list's lock.
pub(crate) unsafe fn grant(hal: HalRef<'_>, block: NonNull<WaitBlock>) {
    // SAFETY: the block is alive until its thread sees the grant, which is under the dispatcher lock.
    wake_when(hal, unsafe { block.as_ref().thread.as_ref() }, || unsafe { block.as_ref().set_granted() });
}

/// Does `mark` under the dispatcher lock, then lets `thread` look at its condition. DISPATCH. The caller knows that the
/// thread is alive until `mark` is done.
pub(crate) fn wake_when(hal: HalRef<'_>, thread: &Thread, mark: impl FnOnce()) {
    let dispatcher = &hal::system(hal).dispatcher;
    if !ptr::eq(thread.system(), hal.system()) {
        hal.bug_check(BugCheckKind::ForeignObject, format_args!("an event or lock is shared between two machines"));
    }
    dispatcher.lock(hal);
    mark();
    if thread.state() == State::Parked {
        make_ready(hal, thread);
    }
    dispatcher.unlock(hal);
}

/// Makes a new thread ready. DISPATCH.
pub(crate) fn launch(hal: HalRef<'_>, thread: &Thread) {
    let dispatcher = &hal::system(hal).dispatcher;
    dispatcher.lock(hal);
    make_ready(hal, thread);
    dispatcher.unlock(hal);
}

/// With the dispatcher lock held: `thread` becomes ready, and a CPU that should run it is told.
fn make_ready(hal: HalRef<'_>, thread: &Thread) {
    thread.set_state(State::Ready);
    // SAFETY: the dispatcher lock is held.
    let ready = unsafe { hal::system(hal).dispatcher.ready() };
    let here = hal::percpu(hal);
    if beats(thread, here) {
        set_standby(here, thread, ready);
        hal.set_pending(pending::RESCHEDULE);
        return;
    }
    ready.push_back(thread);
    if let Some(cpu) = other_for(hal, thread) {
        request_reschedule(hal, cpu);
    }
}

/// With the dispatcher lock held: `thread`, which beats what runs on `cpu`, is to run there next, or the thread that
/// already was, if that is no worse.
fn set_standby(cpu: &PerCpu, thread: &Thread, ready: &mut ReadyQueues) {
    // SAFETY: null or a ready thread, which is alive.
    match unsafe { cpu.sched.standby.load(Relaxed).as_ref() } {
        Some(other) if other.priority() >= thread.priority() => return ready.push_back(thread),
        Some(other) => ready.push_front(other),
        None => {}
    }
    cpu.sched.standby.store(ptr::from_ref(thread).cast_mut(), Relaxed);
}

/// With the dispatcher lock held: takes the thread that stands by for `cpu`, if no better one is ready.
fn take_standby(cpu: &PerCpu, ready: &mut ReadyQueues) -> Option<NonNull<Thread>> {
    let thread = NonNull::new(cpu.sched.standby.load(Relaxed))?;
    cpu.sched.standby.store(ptr::null_mut(), Relaxed);
    // SAFETY: a ready thread, which is alive.
    let standby = unsafe { thread.as_ref() };
    if ready.has_better(standby.priority()) {
        ready.push_front(standby);
        return None;
    }
    Some(thread)
}

/// With the dispatcher lock held: takes the best thread for `cpu`.
fn take_best(cpu: &PerCpu, ready: &mut ReadyQueues) -> Option<NonNull<Thread>> {
    take_standby(cpu, ready).or_else(|| ready.take_best(cpu.number()))
}

/// Whether `thread` should run on `cpu` instead of what runs there.
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
fn offer_rest(hal: HalRef<'_>, here: &PerCpu) {
    let system = hal::system(hal);
    // SAFETY: the dispatcher lock is held.
    let ready = unsafe { system.dispatcher.ready() };
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

fn running_priority(cpu: &PerCpu) -> u8 {
    cpu.sched.running_priority.load(Relaxed)
}

/// Looks whether another thread should run here. At DISPATCH, interrupts on.
pub(crate) fn reschedule(hal: HalRef<'_>) {
    let dispatcher = &hal::system(hal).dispatcher;
    dispatcher.lock(hal);
    let cpu = hal::percpu(hal);
    let me = hal::current_thread(hal);
    let slice_over = cpu.sched.slice_end() == SLICE_OVER;
    // SAFETY: the dispatcher lock is held.
    let ready = unsafe { dispatcher.ready() };
    let standby = take_standby(cpu, ready);
    let best = if standby.is_some() { u8::MAX } else { ready.best_priority(cpu.number()) };
    if best > me.priority() || best == me.priority() && slice_over {
        let next = standby.or_else(|| ready.take_best(cpu.number()));
        if !me.is_idle() {
            me.set_state(State::Ready);
            if slice_over { ready.push_back(me) } else { ready.push_front(me) }
        }
        switch_to(hal, cpu, me, next);
    } else {
        if slice_over {
            // Nobody is left to share with.
            cpu.sched.slice_end.store(u64::MAX, Relaxed);
        }
        share_time(hal, cpu, me.priority(), best);
    }
    dispatcher.unlock(hal);
}

/// With the dispatcher lock held, at DISPATCH: `next` (or the idle thread) runs here; returns when `me` runs again.
fn switch_to(hal: HalRef<'_>, cpu: &PerCpu, me: &Thread, next: Option<NonNull<Thread>>) {
    // SAFETY: ready threads are alive, and a CPU's idle thread for ever.
    let next = unsafe { &*next.map_or(cpu.sched.idle.load(Relaxed), NonNull::as_ptr) };
    next.set_state(State::Running);
    cpu.sched.running_priority.store(next.priority(), Relaxed);
    cpu.sched.slice_end.store(u64::MAX, Relaxed);
    // SAFETY: the dispatcher lock is held.
    let ready = unsafe { hal::system(hal).dispatcher.ready() };
    if ready.has(next.priority()) {
        share_time(hal, cpu, next.priority(), ready.best_priority(cpu.number()));
    }
    if hal::system(hal).cpus().len() > 1 {
        offer_rest(hal, cpu);
    }
    if ptr::eq(me, next) {
        return;
    }
    cpu.current_word().store(ptr::from_ref(next).cast_mut(), Relaxed);
    hal.switch(me.context(), next.context());
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
    hal::system(hal).dispatcher.unlock(hal);
}

/// The running thread ends: it never runs again. At DISPATCH.
pub(crate) fn end_thread(hal: HalRef<'_>) {
    let system = hal::system(hal);
    let me = hal::current_thread(hal);
    system.dispatcher.lock(hal);
    me.set_state(State::Ended);
    let cpu = hal::percpu(hal);
    // SAFETY: the dispatcher lock is held.
    let next = take_best(cpu, unsafe { system.dispatcher.ready() });
    switch_to(hal, cpu, me, next);
}

/// Waits until every thread that has ended before the call has switched away for good. DISPATCH.
pub(crate) fn settle_ended(hal: HalRef<'_>) {
    let dispatcher = &hal::system(hal).dispatcher;
    dispatcher.lock(hal);
    dispatcher.unlock(hal);
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
