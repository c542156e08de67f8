//! Where commands come from: the kernel's command line, or a person.

use super::{
    commands,
    line::{Edit, Line},
    machine::Machine,
};
use alloc::string::String;
use hal_x86_64::console;
use ke::{At, Event, Passive};
use serial::Serial;

const PROMPT: &str = "dirql> ";
/// How long the CPU may sleep before the console is looked at again: no person notices.
const POLL: u64 = 10_000_000;

/// Runs all commands, also those after one that fails. `false`: one did.
pub fn run_all(machine: &mut Machine, commands: &[&str], at: &mut At<'_, Passive>) -> bool {
    let mut all_well = true;
    for command in commands {
        at.print(format_args!("{PROMPT}{command}\n"));
        all_well &= run(machine, command, at);
        if machine.ended {
            break;
        }
    }
    all_well
}

/// Reads commands at the prompt until `shutdown`.
pub fn interact(machine: &mut Machine, at: &mut At<'_, Passive>) {
    at.print(format_args!("Type `help` for the commands.\n"));
    while !machine.ended {
        at.print(format_args!("{PROMPT}"));
        match read_line(machine, at) {
            Some(line) if line.trim().is_empty() => {}
            Some(line) => {
                run(machine, line.trim(), at);
            }
            None => break,
        }
    }
}

fn run(machine: &mut Machine, command: &str, at: &mut At<'_, Passive>) -> bool {
    let outcome = commands::run(machine, command, at);
    if let Err(why) = &outcome {
        at.print(format_args!("{why}\n"));
    }
    outcome.is_ok()
}

/// The next line; `None` at the end of the input.
fn read_line(machine: &Machine, at: &mut At<'_, Passive>) -> Option<String> {
    let mut line = Line::default();
    loop {
        match line.byte(next_byte(machine, at)) {
            Edit::Nothing => {}
            Edit::Added(character) => at.print(format_args!("{character}")),
            Edit::Erased(count) => (0..count).for_each(|_| at.print(format_args!("\x08 \x08"))),
            Edit::Abandoned => at.print(format_args!("^C\n{PROMPT}")),
            Edit::EndOfInput => {
                at.print(format_args!("\n"));
                return None;
            }
            Edit::Entered(text) => {
                at.print(format_args!("\n"));
                return Some(text);
            }
        }
    }
}

/// From the serial port's driver while it is started, else from the kernel's own console, which polls.
fn next_byte(machine: &Machine, at: &mut At<'_, Passive>) -> u8 {
    let ports = machine.pnp().devices_of::<Serial>();
    let pause = Event::new();
    loop {
        let mut byte = [0];
        let read = ports.first().and_then(|port| port.with(at, |port, at| port.read(at, &mut byte)).ok());
        if let Some(Ok(_)) = read {
            return byte[0];
        }
        if let Some(byte) = console::read_byte() {
            return byte;
        }
        // Nobody sets it: the CPU sleeps meanwhile, or does other work.
        let _ = pause.wait_timeout(at, POLL);
    }
}
