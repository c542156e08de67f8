//! `button`: the power button.

use super::{
    commands::Outcome,
    machine::Machine,
    outside::{self, on},
    terminal,
    words::Arguments,
};
use acpi_button::AcpiButton;
use alloc::{format, string::String};
use framework::DeviceRef;
use ke::{At, Passive};

pub const USAGE: &str = "button [wait|count PRESSES PORT]";

/// With `wait`, says it after the next press; with `count`, tells of so many presses on a serial port.
pub fn run(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let buttons = machine.pnp().devices_of::<AcpiButton>();
    let button = buttons.first().ok_or("this machine has no power button that ACPI describes")?;
    let presses = match words.next() {
        None => {
            words.end()?;
            on(button, at, |button, at| button.presses(at))?
        }
        Some("wait") => {
            words.end()?;
            let seen = on(button, at, |button, at| button.presses(at))?;
            terminal::print(at, format_args!("waiting for the power button\n"));
            wait(button, seen, at)?
        }
        Some("count") => {
            let wanted = words.number(1..=1000)?;
            let port = outside::port(machine, words)?;
            let before = on(button, at, |button, at| button.presses(at))?;
            let mut now = before;
            outside::tell(&port, "ready\n", at)?;
            while now - before < wanted.into() {
                now = wait(button, now, at)?;
                outside::tell(&port, &format!("pressed {}\n", now - before), at)?;
            }
            now
        }
        Some(other) => return Err(words.unknown(other, &["wait", "count"])),
    };
    terminal::print(at, format_args!("{}: presses so far: {presses}\n", button.name()));
    Ok(())
}

/// How often the button was pressed, once that is more than `seen`.
fn wait(button: &DeviceRef<AcpiButton>, seen: u64, at: &mut At<'_, Passive>) -> Result<u64, String> {
    on(button, at, |button, at| button.wait(at, seen))?.map_err(|gone| format!("{}: {gone}", button.name()))
}
