//! `edu ...`: what the edu devices can do. Without a device's name all of them do it, one after another.

use super::{
    commands::{Outcome, no_such_device},
    machine::Machine,
    terminal,
    words::Arguments,
};
use alloc::{format, string::String, vec, vec::Vec};
use edu::{Counters, Edu, EduError, LONGEST_TRANSFER, USABLE_BUFFER};
use framework::{DeviceRef, Pnp};
use ke::{At, Passive};

pub const USAGE: &str = "edu factorial N|dma|raise N [DEVICE]";

/// 13! has more than the 32 bits that the device computes with.
const LARGEST_FACTORIAL: u32 = 12;

type Job = dyn Fn(&Edu, &mut At<'_, Passive>) -> Result<String, EduError>;

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

/// 4 KiB there and back, in transfers that leave the last byte of the device's buffer alone.
fn dma(edu: &Edu, at: &mut At<'_, Passive>) -> Result<String, EduError> {
    const OFFSETS: [usize; 2] = [0, USABLE_BUFFER - LONGEST_TRANSFER];
    for offset in OFFSETS {
        edu.round_trip(at, offset, LONGEST_TRANSFER)?;
    }
    let bytes = OFFSETS.len() * LONGEST_TRANSFER;
    Ok(format!("{bytes} bytes sent to the device and fetched back, {LONGEST_TRANSFER} at a time: all equal"))
}

fn on_devices(machine: &Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>, job: &Job) -> Outcome {
    let chosen = words.next();
    words.end()?;
    for device in devices(machine, chosen, at)? {
        let name = device.name();
        let result = device.with(at, job).map_err(|status| format!("{name}: {status}"))?;
        let said = result.map_err(|error| format!("{name}: {error}"))?;
        terminal::print(at, format_args!("{name}: {said}\n"));
    }
    Ok(())
}

/// The device of this name, or all of them.
fn devices(machine: &Machine, chosen: Option<&str>, at: &mut At<'_, Passive>) -> Result<Vec<DeviceRef<Edu>>, String> {
    let Some(name) = chosen else {
        let all = machine.pnp().devices_of::<Edu>();
        return if all.is_empty() { Err("there is no edu device".into()) } else { Ok(all) };
    };
    match machine.pnp().device::<Edu>(name) {
        Some(device) => Ok(vec![device]),
        None => Err(no_such_device(machine, name, at)),
    }
}

/// The counters of the device `name`, if it is an edu device that is started.
pub fn counts(pnp: &Pnp, name: &str, at: &mut At<'_, Passive>) -> Option<Counters> {
    pnp.device::<Edu>(name)?.with(at, |edu, at| edu.counters(at)).ok()
}
