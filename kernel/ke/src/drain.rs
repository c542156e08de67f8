//! What a CPU does before it returns below DISPATCH: DPCs, then the scheduler.
//!
//! Three ways lead here: the exit of an interrupt, a lowered level, and the idle loop. All run with the level word at
//! DISPATCH.
//!
//! **Invariant:** every way back to PASSIVE tests the pending word after the level is written, or with interrupts off:
//! what arrives in between is seen by one of the two.

use crate::{
    dpc_queue,
    hal::{self, HalRef},
    level::irql,
    percpu::pending,
    sched,
};

/// The end of an interrupt that came at level word `old`. Interrupts off at the call and at the return.
pub(crate) fn on_interrupt_exit(hal: HalRef<'_>, old: u8) {
    // The interrupted code's level is max(word, CR8): an ISR of class 5 runs with CR8 0, a critical section with word 0.
    if old >= irql::DISPATCH || hal.task_priority() >= irql::DISPATCH {
        return;
    }
    hal.set_level(irql::DISPATCH);
    // In a line for the common case: nothing but DPCs, and nothing new after them.
    let pending = hal.pending();
    if pending != pending::DPC {
        return run_rest(hal, pending);
    }
    // SAFETY: it is set.
    unsafe { dpc_queue::drain(hal) };
    let pending = hal.pending();
    if pending != 0 {
        run_rest(hal, pending);
    }
}

/// The level word has just been lowered to PASSIVE and something is pending.
#[cold]
#[inline(never)]
pub(crate) fn on_lower(hal: HalRef<'_>) {
    hal.disable_interrupts();
    hal.set_level(irql::DISPATCH);
    run_rest(hal, hal.pending());
    hal.set_level(irql::PASSIVE);
    hal.enable_interrupts();
}

/// The idle loop found nothing else to do. Interrupts off at the call and at the return, level word PASSIVE.
pub(crate) fn on_idle(hal: HalRef<'_>) {
    hal.set_level(irql::DISPATCH);
    run_rest(hal, hal.pending());
    hal.set_level(irql::PASSIVE);
}

/// Whatever is `pending`, and comes to be: DPCs of high importance go first, the scheduler last. At DISPATCH, interrupts off at the call and
/// at the return, when nothing is pending any more.
#[inline(never)]
fn run_rest(hal: HalRef<'_>, mut pending: u32) {
    loop {
        if pending == pending::RESCHEDULE {
            hal.clear_pending(pending::RESCHEDULE);
            let cpu = hal::percpu(hal);
            let left = cpu.work.take();
            hal.enable_interrupts();
            // SAFETY: taken just now, interrupts off.
            unsafe { sched::reschedule(hal, cpu, left) };
            hal.disable_interrupts();
        } else if pending != 0 {
            // SAFETY: there is no other bit.
            unsafe { run_dpcs(hal, pending) };
        } else {
            return;
        }
        pending = hal.pending();
    }
}

/// # Safety
/// In `pending`, the pending word, is a bit for DPCs.
#[cold]
unsafe fn run_dpcs(hal: HalRef<'_>, pending: u32) {
    if pending & pending::HIGH_DPC != 0 {
        hal.enable_interrupts();
        dpc_queue::run_high(hal);
        hal.disable_interrupts();
    } else {
        // SAFETY: it is set, because the other is not.
        unsafe { dpc_queue::drain(hal) };
    }
}

/// Whether this CPU has DPCs of low importance that nothing has drained yet. Interrupts off.
pub(crate) fn has_leftovers(hal: HalRef<'_>) -> bool {
    !hal::percpu(hal).dpcs.is_empty()
}
