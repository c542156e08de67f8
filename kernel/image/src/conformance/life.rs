//! Cases 17 to 27, as far as a device on its line shows them: the order of start and stop, and of what fails in between.

use super::{
    Case, Outcome, case,
    probe::{PLANNED, Step, Subject},
};
use crate::selftest::crew::ensure;
use alloc::{format, vec::Vec};
use framework::{Pnp, Status};
use ke::{At, Passive};

pub const CASES: &[Case] = &[
    case!(c17_interrupts_are_enabled_forward_and_disabled_in_reverse, devices: 1),
    case!(c18_start_and_stop_have_the_order_of_kmdf, devices: 1),
    case!(c20_a_failure_after_the_interrupts_were_enabled_unwinds_them, devices: 1),
    case!(c21_a_disable_that_fails_keeps_nothing_connected, devices: 1),
    case!(c24_interrupts_stay_connected_while_the_device_sleeps, devices: 1),
    case!(c27_enable_and_disable_run_at_the_synchronize_irql, devices: 1),
];

use Step::*;

const START: [Step; 6] = [PrepareHardware, D0Entry, Enable(0), Enable(1), Enable(2), PostInterruptsEnabled];
const STOP: [Step; 6] = [PreInterruptsDisabled, Disable(2), Disable(1), Disable(0), D0Exit, ReleaseHardware];

/// Starts a device with three interrupt objects, stops it, and gives the steps.
fn start_and_stop(probe: &Subject<'_>, at: &mut At<'_, Passive>) -> Result<Vec<(Step, u8)>, alloc::string::String> {
    probe.restart(at, |plan| plan.objects = 3).map_err(|status| format!("{status}"))?;
    probe.stop(at).map_err(|status| format!("{status}"))?;
    let steps = probe.steps(at);
    probe.recover(at)?;
    Ok(steps)
}

fn same(seen: &[(Step, u8)], expected: &[Step]) -> Outcome {
    ensure(seen.iter().map(|(step, _)| step).eq(expected), || format!("the steps were {seen:?}"))
}

fn c17_interrupts_are_enabled_forward_and_disabled_in_reverse(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probe = Subject::find(pnp, 0, at)?;
    let mut seen = start_and_stop(&probe, at)?;
    seen.retain(|(step, _)| matches!(step, Enable(_) | Disable(_)));
    same(&seen, &[Enable(0), Enable(1), Enable(2), Disable(2), Disable(1), Disable(0)])
}

fn c18_start_and_stop_have_the_order_of_kmdf(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probe = Subject::find(pnp, 0, at)?;
    let seen = start_and_stop(&probe, at)?;
    same(&seen, &[START, STOP].concat())
}

fn c20_a_failure_after_the_interrupts_were_enabled_unwinds_them(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probe = Subject::find(pnp, 0, at)?;
    let failed = probe.restart(at, |plan| (plan.objects, plan.fails) = (3, true));
    let seen = probe.steps(at);
    probe.recover(at)?;
    ensure(matches!(failed, Err(Status::Failed(_))), || format!("the start answered {failed:?}"))?;
    // It was never in service, so nothing comes before its interrupts are disabled.
    same(&seen, &[&START[..], &STOP[1..]].concat())
}

fn c21_a_disable_that_fails_keeps_nothing_connected(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probe = Subject::find(pnp, 0, at)?;
    let started = probe.restart(at, |plan| (plan.objects, plan.fails_to_disable) = (3, Some(1)));
    started.map_err(|status| format!("{status}"))?;
    let stopped = probe.stop(at);
    let (seen, row) = (probe.steps(at), probe.row(at));
    probe.recover(at)?;
    ensure(stopped == Err(PLANNED), || format!("the stop answered {stopped:?}"))?;
    ensure(row.is_none_or(|row| row.grant.is_none()), || "an interrupt is still connected".into())?;
    same(&seen, &[START, STOP].concat())
}

/// Asleep the device has its vector, and no interrupt comes; awake it interrupts there again.
fn c24_interrupts_stay_connected_while_the_device_sleeps(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probe = Subject::find(pnp, 0, at)?;
    probe.restart(at, |plan| plan.objects = 3).map_err(|status| format!("{status}"))?;
    let before = probe.row(at).and_then(|row| row.grant);
    let slept = probe.sleep_and_wake(at);
    let seen = probe.steps(at);
    probe.raise(at)?;
    let asked = probe.await_claim(at)?;
    let after = probe.row(at).and_then(|row| row.grant);
    let asleep = slept.map_err(|status| format!("{status}"))?;
    ensure(!asleep.active && asleep.grant == before && before == after, || {
        format!("it had {before:?}, asleep {:?}, active: {}, and then {after:?}", asleep.grant, asleep.active)
    })?;
    ensure(asked == [1, 0, 0], || format!("awake, one interrupt asked {asked:?} times"))?;
    // The hardware is neither released nor prepared in between.
    same(&seen, &[&START[..], &STOP[..5], &START[1..]].concat())
}

fn c27_enable_and_disable_run_at_the_synchronize_irql(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probe = Subject::find(pnp, 0, at)?;
    let irql = probe.line(at)?.grant.irql();
    let mut seen = start_and_stop(&probe, at)?;
    let again = probe.line(at)?.grant.irql();
    seen.retain(|(step, _)| matches!(step, Enable(_) | Disable(_)));
    ensure(irql == again && seen.iter().all(|(_, level)| *level == irql), || {
        format!("at a synchronize IRQL of {irql}, they ran at {seen:?}")
    })
}
