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
    run_pending(hal);
}

/// The level word has just been lowered to PASSIVE and something is pending.
#[cold]
#[inline(never)]
pub(crate) fn on_lower(hal: HalRef<'_>) {
    hal.disable_interrupts();
    hal.set_level(irql::DISPATCH);
    run_rest(hal);
    hal.set_level(irql::PASSIVE);
    hal.enable_interrupts();
}

/// The idle loop found nothing else to do. Interrupts off at the call and at the return, level word PASSIVE.
pub(crate) fn on_idle(hal: HalRef<'_>) {
    hal.set_level(irql::DISPATCH);
    run_rest(hal);
    hal.set_level(irql::PASSIVE);
}

/// At DISPATCH, interrupts off at the call and at the return, when nothing is pending any more.
#[inline(always)]
fn run_pending(hal: HalRef<'_>) {
    // In a line for the common case: nothing but DPCs, and nothing new after them.
    if hal.pending() == pending::DPC {
        // SAFETY: it is set.
        unsafe { dpc_queue::drain(hal) };
    }
    if hal.pending() != 0 {
        run_rest(hal);
    }
}

/// As [`run_pending`], for whatever is pending: DPCs of high importance go first, the scheduler last.
#[inline(never)]
fn run_rest(hal: HalRef<'_>) {
    loop {
        let pending = hal.pending();
        if pending & pending::HIGH_DPC != 0 {
            hal.enable_interrupts();
            dpc_queue::run_high(hal);
            hal.disable_interrupts();
        } else if pending & pending::DPC != 0 {
            // SAFETY: it is set.
            unsafe { dpc_queue::drain(hal) };
        } else if pending & pending::RESCHEDULE != 0 {
            hal.clear_pending(pending::RESCHEDULE);
            hal.enable_interrupts();
            sched::reschedule(hal);
            hal.disable_interrupts();
        } else {
            return;
        }
    }
}

/// Whether this CPU has DPCs of low importance that nothing has drained yet. Interrupts off.
pub(crate) fn has_leftovers(hal: HalRef<'_>) -> bool {
    !hal::percpu(hal).dpcs.is_empty()
}
