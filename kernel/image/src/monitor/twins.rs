//! `twins`: passive-level interrupts of several devices under one wait lock, all at once.

use super::{commands::Outcome, machine::Machine, terminal, words::Arguments};
use crate::selftest::crew::{Crew, ensure};
use ::twins::Twin;
use alloc::format;
use framework::Device;
use ke::{At, Passive, thread::ThreadOptions};

/// A thread for each device makes it interrupt so often.
pub fn run(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let count = words.number(1..=10_000)?;
    words.end()?;
    machine.give_first(at, Twin::NAME)?;
    let twins = machine.pnp().devices_of::<Twin>();
    let [first, _, ..] = &twins[..] else { return Err("two edu devices are needed".into()) };
    let mut crew = Crew::default();
    for twin in twins.clone() {
        crew.start(at, ThreadOptions::named("twins"), move |at| {
            let raised = twin
                .with(at, |twin, at| (0..count).try_for_each(|n| twin.raise(at, 1 << (n % 8)).map_err(|why| (n, why))));
            match raised {
                Ok(Ok(())) => Ok(()),
                Ok(Err((n, why))) => Err(format!("{}: interrupt {n}: {why}", twin.name())),
                Err(status) => Err(format!("{}: {status}", twin.name())),
            }
        })?;
    }
    crew.finish(at)?;
    let counters = first.with(at, |twin, at| twin.counters(at)).map_err(|status| format!("{status}"))?;
    let (served, overlaps) = (counters.served, counters.overlaps);
    terminal::print(at, format_args!("{served} interrupts of {} devices served, {overlaps} overlaps\n", twins.len()));
    ensure(overlaps == 0, || format!("{overlaps} ISRs found another one at work under their lock"))
}
