//! Timers (KTIMER with its DPC), and the time-outs of waits.
//!
//! Each CPU has a heap of the timers armed on it and a one-shot clock, whose interrupt queues the CPU's clock DPC: that
//! expires what is due and ends time slices. Nothing ticks while nothing is due, but for the [watchdog](crate::watchdog).

use crate::{
    at::At,
    core_lock::CoreLock,
    hal::{self, HalRef, Point},
    level::{AtMost, Dispatch, Passive},
    percpu::{self, PerCpu, pending},
    raw_dpc::{DpcKind, RawDpc},
    sched,
    timer_heap::{TimerHeap, TimerKind, TimerNode},
    verifier,
    wait::WaitBlock,
    work,
};
use alloc::{boxed::Box, sync::Arc};
use core::{
    any::type_name,
    fmt,
    panic::Location,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

/// One CPU's timers and its clock.
pub(crate) struct ClockQueue {
    heap: CoreLock<TimerHeap>,
    /// The heap's first deadline, for those who hold the dispatcher lock and must not take the heap's.
    next: AtomicU64,
    dpc: RawDpc,
}

const CLOCK: DpcKind = DpcKind::new(expire, || "clock");

impl ClockQueue {
    pub(crate) fn new() -> Self {
        ClockQueue { heap: CoreLock::new(TimerHeap::new()), next: AtomicU64::new(u64::MAX), dpc: RawDpc::new(&CLOCK) }
    }

    /// The clock interrupt, on this CPU.
    pub(crate) fn on_clock(&self, hal: HalRef<'_>) {
        // SAFETY: a CPU's block is never freed; an ISR is above DISPATCH with interrupts on.
        unsafe { self.dpc.insert_here(hal) };
        let cpu = hal::percpu(hal);
        cpu.watchdog.on_clock(hal, cpu);
    }

    /// Arms this CPU's clock for whatever comes first. DISPATCH.
    pub(crate) fn arm(&self, hal: HalRef<'_>) {
        let cpu = hal::percpu(hal);
        hal.arm_clock(self.next.load(Relaxed).min(cpu.sched.clock_deadline()).min(cpu.watchdog.deadline()));
    }

    fn note(&self, heap: &TimerHeap) {
        self.next.store(heap.next_deadline(), Relaxed);
    }
}

/// The clock DPC.
///
/// # Safety
/// None beyond the type; the context is not used.
unsafe fn expire(dpc: NonNull<RawDpc>, mut at: At<'_, Dispatch>) {
    // SAFETY: called as a DPC's routine.
    unsafe { RawDpc::begin(dpc) };
    let hal = at.hal;
    let cpu = hal::percpu(hal);
    while let Some((kind, context)) = next_due(cpu, &mut at) {
        // SAFETY: whoever armed it promised that the routine may be called with this context.
        unsafe { (kind.run)(context, hal) };
    }
    if cpu.sched.end_slice(hal.now()) {
        hal.set_pending(pending::RESCHEDULE);
    }
    cpu.timers.arm(hal);
}

/// Expires what is due until something has to run without the heap's lock.
fn next_due(cpu: &PerCpu, at: &mut At<'_, Dispatch>) -> Option<(&'static TimerKind, *const ())> {
    cpu.timers.heap.with(at, |heap, at| {
        let mut to_run = None;
        while to_run.is_none()
            && let Some(node) = heap.take_due(at.hal.now())
        {
            // SAFETY: in the heap until now, under its lock, so alive.
            let (kind, context) = unsafe { ((*node).kind, (*node).context.load(Relaxed)) };
            // SAFETY: whoever armed it promised that the routine may be called with this context.
            if unsafe { (kind.expire)(context, at.hal) } {
                to_run = Some((kind, context.cast_const()));
            }
        }
        cpu.timers.note(heap);
        to_run
    })
}

/// Arms `node` on this CPU.
///
/// # Safety
/// As [`TimerHeap::insert`].
unsafe fn arm(at: &mut At<'_, Dispatch>, node: &TimerNode, deadline: u64) -> u32 {
    let cpu = hal::percpu(at.hal);
    cpu.timers.heap.with(at, |heap, _| {
        // SAFETY: by the contract.
        unsafe { heap.insert(node, deadline) };
        cpu.timers.note(heap);
    });
    cpu.timers.arm(at.hal);
    cpu.number()
}

/// Takes `node` out of the heap of `cpu`. `false`: it has expired, or was never armed.
fn disarm(at: &mut At<'_, Dispatch>, node: &TimerNode, cpu: u32) -> bool {
    let Some(cpu) = percpu::of(at.hal, cpu) else { return false };
    cpu.timers.heap.with(at, |heap, _| {
        let armed = node.is_armed();
        if armed {
            heap.remove(node);
            cpu.timers.note(heap);
        }
        armed
    })
}

/// The time-out of one wait, on the waiter's stack.
pub(crate) struct WaitTimer<'a> {
    node: TimerNode,
    cpu: AtomicU32,
    block: &'a WaitBlock,
}

const WAIT: TimerKind = TimerKind { expire: time_out, run: never_run };

impl<'a> WaitTimer<'a> {
    pub(crate) fn new(block: &'a WaitBlock) -> Self {
        WaitTimer { node: TimerNode::new(&WAIT), cpu: AtomicU32::new(0), block }
    }

    /// The caller calls [`Self::disarm`] before the timer goes.
    pub(crate) fn arm(&self, at: &mut At<'_, Passive>, deadline: u64) {
        self.node.context.store(ptr::from_ref(self.block).cast_mut().cast(), Relaxed);
        let mut raised = at.raise_to_dispatch();
        // SAFETY: `wait_on` disarms before it returns, and an expiry is over when the heap's lock is free again.
        self.cpu.store(unsafe { arm(&mut raised.at, &self.node, deadline) }, Relaxed);
    }

    pub(crate) fn disarm(&self, at: &mut At<'_, Passive>) {
        disarm(&mut at.raise_to_dispatch().at, &self.node, self.cpu.load(Relaxed));
    }
}

/// # Safety
/// `block` is the block of a waiter that has not disarmed its timer yet.
unsafe fn time_out(block: *const (), hal: HalRef<'_>) -> bool {
    // SAFETY: by the contract: disarming takes the lock that is held here.
    let block = unsafe { &*block.cast::<WaitBlock>() };
    // SAFETY: a waiting thread is alive.
    let thread = unsafe { block.thread.as_ref() };
    sched::wake_when(hal, thread, || block.timed_out.store(true, Relaxed));
    false
}

/// # Safety
/// None; `time_out` says that nothing is to run.
unsafe fn never_run(_: *const (), _: HalRef<'_>) {}

/// What a timer does when it expires.
pub trait TimerRoutine: Send + Sync + 'static {
    /// At DISPATCH.
    fn expired(&self, at: &mut At<'_, Dispatch>);
}

impl<F: Fn(&mut At<'_, Dispatch>) + Send + Sync + 'static> TimerRoutine for F {
    fn expired(&self, at: &mut At<'_, Dispatch>) {
        self(at);
    }
}

/// A one-shot timer (KTIMER with its DPC). An armed one keeps itself alive.
///
/// ```
/// use ke::{At, Passive, Timer, TimerRoutine};
/// /// In ten milliseconds; `true` when it was armed already and starts anew.
/// fn soon<R: TimerRoutine>(timer: &Timer<R>, at: &mut At<'_, Passive>) -> bool {
///     timer.start(at, 10_000_000)
/// }
/// ```
pub struct Timer<R: TimerRoutine> {
    object: Arc<Object<R>>,
}

struct Object<R> {
    node: TimerNode,
    /// The CPU whose heap it is in, if it is armed.
    cpu: CoreLock<u32>,
    routine: R,
}

impl<R: TimerRoutine> Timer<R> {
    /// A timer that is not armed.
    pub fn new(routine: R) -> Self {
        let kind: &'static TimerKind = const { &TimerKind { expire: run_it, run: run::<R> } };
        let object = Arc::new(Object { node: TimerNode::new(kind), cpu: CoreLock::new(0), routine });
        object.node.context.store(Arc::as_ptr(&object).cast_mut().cast(), Relaxed);
        Timer { object }
    }

    /// KeSetTimer: expires in `after` nanoseconds. `true`: it was armed already and starts anew. IRQL <= DISPATCH.
    #[track_caller]
    pub fn start<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>, after: u64) -> bool {
        at.point(Point::StartTimer, self.address(), Location::caller());
        let object = &self.object;
        let was_armed = object.cpu.with(at, |cpu, at| {
            let was_armed = disarm(at, &object.node, *cpu);
            if !was_armed {
                // The heap's own reference; `run` or `cancel` takes it back.
                let _ = Arc::into_raw(object.clone());
            }
            let deadline = at.now().saturating_add(after);
            // SAFETY: the heap's reference keeps it alive; it was disarmed above, under the lock that arms it.
            *cpu = unsafe { arm(at, &object.node, deadline) };
            was_armed
        });
        at.note_if(was_armed, Point::TimerUnqueued, self.address());
        was_armed
    }

    /// KeCancelTimer: `true`, it was armed and will not expire. `false`: it is not armed, or its routine has started.
    /// IRQL <= DISPATCH.
    #[track_caller]
    pub fn cancel<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> bool {
        at.point(Point::CancelTimer, self.address(), Location::caller());
        let object = &self.object;
        let was_armed = object.cpu.with(at, |cpu, at| disarm(at, &object.node, *cpu));
        if was_armed {
            // SAFETY: the heap's reference, left by `start`; this handle keeps the object alive.
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(object)) };
        }
        at.note_if(was_armed, Point::TimerUnqueued, self.address());
        was_armed
    }

    /// Its name for the simulator.
    fn address(&self) -> usize {
        Arc::as_ptr(&self.object).addr()
    }
}

/// # Safety
/// None beyond the type; the context is not used.
unsafe fn run_it(_: *const (), _: HalRef<'_>) -> bool {
    true
}

/// # Safety
/// `context` is the object of a [`Timer`] that has expired, with the heap's reference; this is at DISPATCH.
unsafe fn run<R: TimerRoutine>(context: *const (), hal: HalRef<'_>) {
    // SAFETY: by the contract; the clock DPC's own token is not used meanwhile.
    let (object, mut at) = unsafe { (Arc::from_raw(context.cast::<Object<R>>()), At::<Dispatch>::mint(hal)) };
    at.note(Point::TimerStart, context.addr());
    verifier::callback(&mut at, format_args!("{}", type_name::<R>()), |at| object.routine.expired(at));
    at.note(Point::TimerEnd, context.addr());
    if let Some(object) = Arc::into_inner(object) {
        work::drop_at_passive(&mut at, Box::new(object));
    }
}

impl<R: TimerRoutine> work::DropAtPassive for Object<R> {
    fn drop_at_passive(self: Box<Self>, _: &mut At<'_, Passive>) {}
}

impl<R: TimerRoutine> fmt::Debug for Timer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("armed", &self.object.node.is_armed()).finish_non_exhaustive()
    }
}
