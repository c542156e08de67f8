//! `edu ...`: what the edu devices can do. Without a device's name all of them do it, one after another.

use super::{
    commands::{Outcome, no_such_device},
    machine::Machine,
    terminal,
    words::Arguments,
};
use alloc::{format, string::String, vec, vec::Vec};
use edu::{Counters, Edu, EduError, EduFile, USABLE_BUFFER};
use framework::Pnp;
use ke::{At, Passive};

pub const USAGE: &str = "edu factorial N|dma|raise N [DEVICE]";

/// 13! has more than the 32 bits that the device computes with.
const LARGEST_FACTORIAL: u32 = 12;

type Job = dyn Fn(&EduFile, &mut At<'_, Passive>) -> Result<String, EduError>;

pub fn run(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    match words.required("what edu is to do")? {
        "factorial" => {
            let n = words.number(0..=LARGEST_FACTORIAL)?;
            on_devices(machine, words, at, &move |edu, at| Ok(format!("{n}! = {}", edu.factorial(at, n)?)))
        }
        "dma" => on_devices(machine, words, at, &dma),
        "raise" => {
            let bits = words.number(1..=u32::MAX)?;
            on_devices(machine, words, at, &move |edu, at| {
                Ok(format!("interrupt with status {:#x} raised and served", edu.raise(at, bits)?))
            })
        }
        other => Err(words.unknown(other, &["factorial", "dma", "raise"])),
    }
}

/// The whole buffer there and back, but for the last byte, different every time.
fn dma(edu: &EduFile, at: &mut At<'_, Passive>) -> Result<String, EduError> {
    edu.round_trip(at, USABLE_BUFFER, at.now() as u8)?;
    Ok(format!("{USABLE_BUFFER} bytes written to the device and read back: all equal"))
}

fn on_devices(machine: &Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>, job: &Job) -> Outcome {
    let chosen = words.next();
    words.end()?;
    for name in names(machine, chosen, at)? {
        let result = EduFile::open(machine.pnp(), &name).and_then(|device| job(&device, at));
        let said = result.map_err(|error| format!("{name}: {error}"))?;
        terminal::print(at, format_args!("{name}: {said}\n"));
    }
    Ok(())
}

/// The device of this name, or all of them.
fn names(machine: &Machine, chosen: Option<&str>, at: &mut At<'_, Passive>) -> Result<Vec<String>, String> {
    let Some(name) = chosen else {
        let all: Vec<String> = machine.pnp().devices_of::<Edu>().iter().map(|device| device.name().into()).collect();
        return if all.is_empty() { Err("there is no edu device".into()) } else { Ok(all) };
    };
    match machine.pnp().device::<Edu>(name) {
        Some(_) => Ok(vec![name.into()]),
        None => Err(no_such_device(machine, name, at)),
    }
}

/// The counters of the device `name`, if it is an edu device that is started.
pub fn counts(pnp: &Pnp, name: &str, at: &mut At<'_, Passive>) -> Option<Counters> {
    pnp.device::<Edu>(name)?.with(at, |edu, at| edu.counters(at)).ok()
}
