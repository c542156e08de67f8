//! `crash` in a driver's callback, and `storm`: what becomes of a machine whose driver misbehaves.

use super::{commands::Outcome, machine::Machine, terminal, verifier, words::Arguments};
use crate::drivers::FAULTY;
use ::faulty::{Fault, Faulty};
use alloc::{format, string::String, vec::Vec};
use framework::DeviceRef;
use ke::{At, Event, Passive, STORM, StormCause, connected_interrupts};

pub const STORM_USAGE: &str = "storm claimed|denied";

/// How long a storm may go unnoticed, in nanoseconds: the watchdog's allotment, on a slow host.
const PATIENCE: u64 = 120_000_000_000;
const A_WHILE: u64 = 100_000_000;

/// Lets the faulty driver misbehave in a callback. Nothing of it comes back.
pub fn crash(machine: &mut Machine, fault: Fault, at: &mut At<'_, Passive>) -> Outcome {
    machine.give_first(at, FAULTY)?;
    with_device(machine, at, |faulty, at| {
        faulty.arm(Some(fault), at);
        faulty.raise_and_wait(at).map_err(|error| format!("{error}"))
    })
}

/// As [`crash`], for what the verifier finds.
pub fn crash_verified(machine: &mut Machine, fault: Fault, at: &mut At<'_, Passive>) -> Outcome {
    verifier::set(machine, true, at);
    crash(machine, fault, at)
}

/// `storm claimed`: interrupts on a line that the ISR claims and does not quiet. `storm denied`: interrupts that it quiets and
/// does not claim. Either is masked, and works again when it is forgiven.
pub fn storm(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    const KINDS: [&str; 2] = ["claimed", "denied"];
    let kind = words.required("the kind of storm")?;
    if !KINDS.contains(&kind) {
        return Err(words.unknown(kind, &KINDS));
    }
    words.end()?;
    machine.give_first(at, FAULTY)?;
    let cause = with_device(machine, at, |faulty, at| match kind {
        "claimed" => claimed(faulty, at),
        _ => denied(faulty, at),
    })?;
    terminal::print(at, format_args!("the storm was noticed, because {cause}\n"));
    forgive(machine, at)?;
    with_device(machine, at, |faulty, at| {
        faulty.raise_and_wait(at).map_err(|error| format!("after the storm: {error}"))
    })?;
    terminal::print(at, format_args!("forgiven, it interrupts again\n"));
    Ok(())
}

fn claimed(faulty: &Faulty, at: &mut At<'_, Passive>) -> Result<StormCause, String> {
    faulty.arm(Some(Fault::NeverQuiet), at);
    faulty.raise(at);
    let cause = noticed(at, |_| ());
    faulty.arm(None, at);
    faulty.quiet(at);
    cause
}

fn denied(faulty: &Faulty, at: &mut At<'_, Passive>) -> Result<StormCause, String> {
    faulty.arm(Some(Fault::Denies), at);
    for n in 0..STORM {
        faulty.raise(at);
        let served = (0..1_000_000).any(|_| !faulty.is_raised(at));
        if !served {
            return Err(format!("interrupt {n} did not reach the ISR"));
        }
    }
    let cause = noticed(at, |at| faulty.raise(at));
    faulty.arm(None, at);
    faulty.quiet(at);
    cause
}

/// Waits until a storm was noticed, doing `meanwhile` now and then.
fn noticed(at: &mut At<'_, Passive>, mut meanwhile: impl FnMut(&mut At<'_, Passive>)) -> Result<StormCause, String> {
    let until = at.now().saturating_add(PATIENCE);
    while at.now() < until {
        if let Some(cause) = connected_interrupts(at).iter().find_map(|interrupt| interrupt.storm) {
            return Ok(cause);
        }
        meanwhile(at);
        // Nobody sets it: this is a pause.
        let _ = Event::new().wait_timeout(at, A_WHILE);
    }
    Err("the storm went on, and nobody noticed".into())
}

/// A line is forgiven. A device that was cut off, because its message cannot be masked, is started anew.
fn forgive(machine: &Machine, at: &mut At<'_, Passive>) -> Outcome {
    let pnp = machine.pnp();
    let stormed: Vec<u32> = pnp.lines(at).iter().filter(|row| row.stormed).map(|row| row.line.gsi).collect();
    for gsi in &stormed {
        pnp.forgive_line(at, *gsi).map_err(|error| format!("{error}"))?;
    }
    if stormed.is_empty() {
        let name = String::from(device(machine)?.name());
        pnp.stop_device(at, &name).map_err(|error| format!("stopping {name}: {error}"))?;
        pnp.start_device(at, &name).map_err(|error| format!("starting {name} anew: {error}"))?;
    }
    Ok(())
}

fn device(machine: &Machine) -> Result<DeviceRef<Faulty>, String> {
    let first = machine.pnp().devices_of::<Faulty>().into_iter().next();
    first.ok_or_else(|| format!("no device that the driver `{FAULTY}` serves was found"))
}

fn with_device<T>(
    machine: &Machine,
    at: &mut At<'_, Passive>,
    f: impl FnOnce(&Faulty, &mut At<'_, Passive>) -> Result<T, String>,
) -> Result<T, String> {
    device(machine)?.with(at, f).map_err(|error| format!("{error}"))?
}
