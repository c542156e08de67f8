//! `verifier`: turns the verifier on and off, and says what it watches.

use super::{commands::Outcome, machine::Machine, terminal, words::Arguments};
use ke::{
    At, Passive,
    verifier::{self, Verifier},
};

pub const USAGE: &str = "verifier on|off|status";

/// On or off, all devices start anew: what was made before is not covered, or would go on as it was.
pub fn run(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let what = words.required("what to do with it")?;
    match what {
        "on" | "off" => {
            words.end()?;
            set(machine, what == "on", at);
        }
        "status" => words.end()?,
        other => return Err(words.unknown(other, &["on", "off", "status"])),
    }
    let info = verifier::status(at);
    terminal::print(
        at,
        format_args!(
            "the verifier is {}: {} locks met, {} pairs of them in order, {} forgotten\n",
            if info.on { "on" } else { "off" },
            info.locks,
            info.orders,
            info.forgotten
        ),
    );
    Ok(())
}

/// Turns it on or off, unless it is already.
pub fn set(machine: &mut Machine, on: bool, at: &mut At<'_, Passive>) {
    if verifier::is_enabled(at) == on {
        return;
    }
    if on {
        verifier::start(at, Verifier::default());
    } else {
        verifier::stop(at);
    }
    terminal::print(at, format_args!("starting the devices anew\n"));
    machine.start_anew(at);
}
