//! `tick`: the real-time clock's ticks by the machine's own clock.

use super::{commands::Outcome, machine::Machine, terminal, words::Arguments};
use ::tick::Tick;
use alloc::format;
use ke::{At, Passive};

/// An eighth of a second.
const PERIODS: u32 = 128;

pub fn run(machine: &mut Machine, words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    words.end()?;
    let clocks = machine.pnp().devices_of::<Tick>();
    let device = clocks.first().ok_or("this machine has no real-time clock that ACPI describes")?;
    let measured = device.with(at, |clock, at| clock.measure(at, PERIODS)).flatten();
    let (periods, nanoseconds) = measured.map_err(|status| format!("{}: {status}", device.name()))?;
    let each = nanoseconds / u64::from(periods.max(1));
    terminal::print(at, format_args!("{}: {periods} periods of {each} ns each\n", device.name()));
    Ok(())
}
