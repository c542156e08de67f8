//! The barrier: proof that every CPU, or one, has left what it was doing above PASSIVE.
//!
//! A DPC is put at the end of a CPU's queue, through an interrupt of class 2 when the CPU is another one. It runs only
//! when no device vector is in service there, and with interrupts on, so none is pending either: when it has run, no ISR
//! of a masked source runs or can start on that CPU, every DPC queued there before has finished, what ISRs had left for
//! threads is handed over, and every section at DISPATCH or above that had begun before is over. Flush, disconnect and moving an interrupt share it.

use crate::{
    at::At,
    event::Event,
    hal,
    level::{Dispatch, Passive},
    percpu::PerCpu,
    raw_dpc::{DpcKind, Importance, RawDpc},
    sched,
    wait::Patience,
    wait_lock::WaitLock,
    work_queue,
};
use alloc::boxed::Box;
use core::{
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering::AcqRel},
};

/// What a barrier needs, made once for each machine: one DPC a CPU.
pub(crate) struct Barrier {
    /// One at a time.
    turn: WaitLock<()>,
    missing: AtomicU32,
    done: Event,
    dpcs: Box<[RawDpc]>,
}

const BARRIER: DpcKind = DpcKind::new(pass, || "barrier");

impl Barrier {
    pub(crate) fn new(cpus: u32) -> Self {
        Barrier {
            turn: WaitLock::plain(()),
            missing: AtomicU32::new(0),
            done: Event::new(),
            dpcs: (0..cpus).map(|_| RawDpc::new(&BARRIER)).collect(),
        }
    }

    /// Once, where the barrier stays.
    pub(crate) fn place(&self) {
        for dpc in &self.dpcs {
            dpc.set_context(ptr::from_ref(self).cast());
        }
    }

    fn pass_on<'s>(&self, at: &mut At<'_, Passive>, cpus: impl ExactSizeIterator<Item = &'s PerCpu>) {
        let turn = self.turn.acquire(at);
        self.done.clear(at);
        self.missing.store(cpus.len() as u32, core::sync::atomic::Ordering::Release);
        for cpu in cpus {
            let raised = at.raise_to_dispatch();
            let dpc = &self.dpcs[cpu.number() as usize];
            // SAFETY: the barrier is never freed, and its DPCs' context is itself.
            let queued = unsafe { dpc.insert_on(raised.at.hal, cpu, Importance::MediumHigh, [0; 2], || ()) };
            debug_assert!(queued, "one barrier at a time, and each waits for its DPCs");
        }
        let waited = self.done.wait_with(at, Patience::FOREVER);
        debug_assert!(waited.is_ok(), "a wait without a deadline or an alert ends by its grant");
        drop(turn);
    }
}

/// # Safety
/// `barrier` is the [`Barrier`] whose DPC this is.
unsafe fn pass(dpc: NonNull<RawDpc>, mut at: At<'_, Dispatch>) {
    // SAFETY: called as a DPC's routine.
    let barrier = unsafe { RawDpc::begin(dpc) };
    // SAFETY: by the contract; it is never freed.
    let barrier = unsafe { &*barrier.cast::<Barrier>() };
    sched::with_lock(at.hal, work_queue::hand_over_left);
    if barrier.missing.fetch_sub(1, AcqRel) == 1 {
        barrier.done.set(&mut at);
    }
}

/// KeFlushQueuedDpcs: returns when every DPC that was queued on any CPU at the call has finished. PASSIVE.
pub fn flush_queued_dpcs(at: &mut At<'_, Passive>) {
    let system = hal::system(at.hal);
    system.barrier.pass_on(at, system.cpus().iter());
}

/// The barrier on one CPU.
pub(crate) fn on_cpu(at: &mut At<'_, Passive>, cpu: &PerCpu) {
    hal::system(at.hal).barrier.pass_on(at, core::iter::once(cpu));
}

/// Two barriers: after the first nobody is still queueing what was allowed before; the second sees what they queued run.
pub(crate) fn twice(at: &mut At<'_, Passive>) {
    flush_queued_dpcs(at);
    flush_queued_dpcs(at);
}
