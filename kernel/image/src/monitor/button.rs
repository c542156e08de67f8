//! `button`: the power button.

use super::{commands::Outcome, machine::Machine, words::Arguments};
use acpi_button::AcpiButton;
use alloc::format;
use ke::{At, Passive};

/// With `wait`, says it after the next press.
pub fn run(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let waits = match words.next() {
        None => false,
        Some("wait") => true,
        Some(other) => return Err(words.unknown(other, &["wait"])),
    };
    words.end()?;
    let buttons = machine.pnp().devices_of::<AcpiButton>();
    let device = buttons.first().ok_or("this machine has no power button that ACPI describes")?;
    let presses = device.with(at, |button, at| {
        let seen = button.presses(at);
        if !waits {
            return Ok(seen);
        }
        at.print(format_args!("waiting for the power button\n"));
        button.wait(at, seen)
    });
    let name = device.name();
    match presses {
        Ok(Ok(n)) => at.print(format_args!("{name}: presses so far: {n}\n")),
        Ok(Err(gone)) => return Err(format!("{name}: {gone}")),
        Err(status) => return Err(format!("{name}: {status}")),
    }
    Ok(())
}
