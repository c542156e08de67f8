//! Each CPU's clock, what it expires, and the time-outs of waits.
//!
//! Each CPU has a heap of the timers armed on it and a one-shot clock, whose interrupt queues the CPU's clock DPC: that
//! expires what is due and ends time slices. Nothing ticks while nothing is due, but for the [watchdog](crate::watchdog).
//!
//! **Invariant:** a timer that repeats goes back into its heap in the section in which it left it. So it is armed, for all others,
//! from its start until it is cancelled: a cancel always finds it, and a start never arms it twice.

use crate::{
    at::At,
    core_lock::CoreLock,
    hal::{self, HalRef},
    level::{Dispatch, Passive},
    percpu::{self, PerCpu, pending},
    raw_dpc::{DpcKind, RawDpc},
    sched,
    timer_heap::{Expiry, TimerHeap, TimerKind, TimerNode},
    wait::WaitBlock,
};
use core::{
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
            let (kind, context) = unsafe { ((*node).kind(), (*node).context.load(Relaxed)) };
            // SAFETY: whoever armed it promised that the routine may be called with this context.
            match unsafe { (kind.expire)(context, at.hal) } {
                Expiry::Nothing => continue,
                Expiry::Run => {}
                // SAFETY: it has just left this heap, and is alive as before: the heap's reference stays with it.
                Expiry::RunAndRepeat(deadline) => unsafe { heap.insert(&*node, deadline) },
            }
            to_run = Some((kind, context.cast_const()));
        }
        cpu.timers.note(heap);
        to_run
    })
}

/// Arms `node` on this CPU.
///
/// # Safety
/// As [`TimerHeap::insert`].
pub(crate) unsafe fn arm(at: &mut At<'_, Dispatch>, node: &TimerNode, deadline: u64) -> u32 {
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
pub(crate) fn disarm(at: &mut At<'_, Dispatch>, node: &TimerNode, cpu: u32) -> bool {
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
unsafe fn time_out(block: *const (), hal: HalRef<'_>) -> Expiry {
    // SAFETY: by the contract: disarming takes the lock that is held here.
    let block = unsafe { &*block.cast::<WaitBlock>() };
    // SAFETY: a waiting thread is alive.
    let thread = unsafe { block.thread.as_ref() };
    sched::wake_when(hal, thread, || block.timed_out.store(true, Relaxed));
    Expiry::Nothing
}

/// # Safety
/// None; `time_out` says that nothing is to run.
unsafe fn never_run(_: *const (), _: HalRef<'_>) {}
