//! The test of the test: orders that are wrong on purpose. A sweep that does not catch one of them proves nothing about the
//! right ones. They are made of what the machine offers below the core, and nothing but the sweep runs them.

use super::{
    sequences::{CEILING, Effect, Sequence, Stand, sequence},
    shot::{End, Shot},
};
use hal_x86_64::X86Hal;
use ke::{At, Passive, hal::Hal, irql};

const fn wrong(name: &'static str, run: fn(&Stand, &Shot, &mut At<'_, Passive>)) -> Sequence {
    Sequence { is_wrong: true, ends: &[End::Dpc], ..sequence(name, run) }
}

pub const WRONG: &[Sequence] = &[
    wrong("wrong_test_before_lower", test_before_lower),
    wrong("wrong_task_priority_left_up", task_priority_left_up),
    Sequence { leads_to: &[Effect::Software], ..wrong("wrong_early_end_of_interrupt", early_end_of_interrupt) },
    Sequence { waits: true, ..wrong("wrong_look_then_clear", look_then_clear) },
];

/// Looks for what is pending, then lowers: a DPC that comes in between waits for somebody else who lowers.
fn test_before_lower(stand: &Stand, _: &Shot, at: &mut At<'_, Passive>) {
    X86Hal.set_level(irql::DISPATCH);
    let is_pending = X86Hal.pending() != 0;
    X86Hal.set_level(irql::PASSIVE);
    if is_pending {
        // What lowering would have done.
        drop(stand.spin.acquire(at));
    }
}

/// Leaves a critical section for the level that DISPATCH stands for in CR8, not for 0: DPCs stop for good.
fn task_priority_left_up(_: &Stand, _: &Shot, _: &mut At<'_, Passive>) {
    X86Hal.set_task_priority(CEILING);
    X86Hal.set_task_priority(irql::DISPATCH);
}

/// The ISR ends its interrupt before its work: nothing holds those of its class and below off any more.
fn early_end_of_interrupt(stand: &Stand, _: &Shot, _: &mut At<'_, Passive>) {
    X86Hal.send_vector(0, stand.early_vector);
}

/// Looks whether it need wait, then clears the event: who sets it in between is not seen.
fn look_then_clear(_: &Stand, shot: &Shot, at: &mut At<'_, Passive>) {
    if shot.runs().ends == 0 {
        shot.done().clear(at);
        // This thread uses no device, so nothing but the event ends the wait.
        let _gone = shot.done().wait(at);
    }
}
