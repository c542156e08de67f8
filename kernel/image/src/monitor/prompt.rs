//! Where commands come from: the kernel's command line, or a person.

use super::{
    commands,
    line::{Edit, Line},
    machine::Machine,
    terminal::{self, print},
};
use alloc::string::String;
use ke::{At, Passive};

const PROMPT: &str = "dirql> ";

/// Runs all commands, also those after one that fails. `false`: one did.
pub fn run_all(machine: &mut Machine, commands: &[&str], at: &mut At<'_, Passive>) -> bool {
    let mut all_well = true;
    for command in commands {
        print(at, format_args!("{PROMPT}{command}\n"));
        all_well &= run(machine, command, at);
        if machine.ended {
            break;
        }
    }
    all_well
}

/// Reads commands at the prompt until `shutdown`.
pub fn interact(machine: &mut Machine, at: &mut At<'_, Passive>) {
    print(at, format_args!("Type `help` for the commands.\n"));
    while !machine.ended {
        print(at, format_args!("{PROMPT}"));
        match read_line(at) {
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
        print(at, format_args!("{why}\n"));
    }
    outcome.is_ok()
}

/// The next line; `None` at the end of the input.
fn read_line(at: &mut At<'_, Passive>) -> Option<String> {
    let mut line = Line::default();
    loop {
        match line.byte(terminal::next_byte(at)) {
            Edit::Nothing => {}
            Edit::Added(character) => print(at, format_args!("{character}")),
            Edit::Erased(count) => (0..count).for_each(|_| print(at, format_args!("\x08 \x08"))),
            Edit::Abandoned => print(at, format_args!("^C\n{PROMPT}")),
            Edit::EndOfInput => {
                print(at, format_args!("\n"));
                return None;
            }
            Edit::Entered(text) => {
                print(at, format_args!("\n"));
                return Some(text);
            }
        }
    }
}
