//! `open`, `read`, `write`, `ioctl`, `requests`, `cancel`: requests to any device, by its name.
//!
//! A request is waited for, for so many milliseconds at most, unless `--later` is said: then it gets a number, by which it is
//! cancelled or asked about.

use super::{
    commands::{Outcome, no_such_device},
    machine::Machine,
    terminal,
    words::Arguments,
};
use alloc::{format, string::String, vec::Vec};
use core::fmt::Write;
use framework::{Completion, File, Pending, Status};
use ke::{At, Passive};

pub const READ: &str = "read DEVICE BYTES [MS] [--later]";
pub const WRITE: &str = "write DEVICE TEXT|0xBYTES [MS] [--later]";
pub const IOCTL: &str = "ioctl DEVICE CODE [0xBYTES [ROOM [MS]]] [--later]";

/// The most bytes of a request.
const MOST: u32 = 1 << 16;
/// Milliseconds that a request may take unless it is said.
const PATIENCE: u32 = 5_000;
const NANOSECONDS: u64 = 1_000_000;

/// Requests that were submitted and not asked about since.
#[derive(Default)]
pub struct Requests {
    last: u32,
    under_way: Vec<(u32, String, Pending)>,
}

/// Says what a device takes.
pub fn open(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let file = file(machine, &mut words, at)?;
    words.end()?;
    let queues = machine.pnp().queues(at);
    let count = queues.iter().filter(|row| row.device == file.name()).count();
    match count {
        0 => Err(format!("{} is there, and has no queue now: it takes no requests", file.name())),
        _ => {
            terminal::print(at, format_args!("{} takes requests by {count} queues\n", file.name()));
            Ok(())
        }
    }
}

pub fn read(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let later = words.flag("--later");
    let file = file(machine, &mut words, at)?;
    let len = words.number(1..=MOST)? as usize;
    let patience = patience(&mut words)?;
    words.end()?;
    let pending = file.submit_read(at, len);
    go_on(machine, later, format!("read of {}", file.name()), pending, patience, at)
}

pub fn write(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let later = words.flag("--later");
    let file = file(machine, &mut words, at)?;
    let data = bytes(words.required("what to write")?)?;
    let patience = patience(&mut words)?;
    words.end()?;
    let pending = file.submit_write(at, &data);
    go_on(machine, later, format!("write to {}", file.name()), pending, patience, at)
}

pub fn ioctl(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let later = words.flag("--later");
    let file = file(machine, &mut words, at)?;
    let code = words.number(0..=u32::MAX)?;
    let input = if words.is_empty() { Vec::new() } else { bytes(words.required("the input")?)? };
    let room = if words.is_empty() { 64 } else { words.number(0..=MOST)? } as usize;
    let patience = patience(&mut words)?;
    words.end()?;
    let pending = file.submit_control(at, code, &input, room);
    go_on(machine, later, format!("control {code} of {}", file.name()), pending, patience, at)
}

/// Lists what is under way, and says what has become of the rest.
pub fn requests(machine: &mut Machine, words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    words.end()?;
    let (mut left, before) = (Vec::new(), core::mem::take(&mut machine.requests.under_way));
    if before.is_empty() {
        terminal::print(at, format_args!("no request is under way\n"));
    }
    for (number, what, pending) in before {
        match pending.take(at) {
            Some(completion) => terminal::print(at, format_args!("{number}: {what}: {}\n", told(&completion))),
            None => {
                terminal::print(at, format_args!("{number}: {what}: under way\n"));
                left.push((number, what, pending));
            }
        }
    }
    machine.requests.under_way = left;
    Ok(())
}

/// Cancels a request that is under way.
pub fn cancel(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let number = words.number(1..=u32::MAX)?;
    words.end()?;
    let found = machine.requests.under_way.iter().find(|(other, ..)| *other == number);
    let (_, what, pending) = found.ok_or_else(|| format!("no request has the number {number}"))?;
    pending.cancel(at);
    terminal::print(at, format_args!("{number}: {what}: cancelled\n"));
    Ok(())
}

fn file(machine: &Machine, words: &mut Arguments<'_>, at: &mut At<'_, Passive>) -> Result<File, String> {
    let name = words.required("the device's name")?;
    machine.pnp().open(name).map_err(|_| no_such_device(machine, name, at))
}

fn patience(words: &mut Arguments<'_>) -> Result<u32, String> {
    if words.is_empty() { Ok(PATIENCE) } else { words.number(1..=600_000) }
}

/// Text as it is, or bytes in hexadecimal.
fn bytes(word: &str) -> Result<Vec<u8>, String> {
    let Some(digits) = word.strip_prefix("0x") else { return Ok(word.as_bytes().into()) };
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok();
    let all: Option<Vec<u8>> = if digits.len() % 2 == 0 { pairs.map(byte).collect() } else { None };
    all.ok_or_else(|| format!("`{word}` is not bytes of two hexadecimal digits each"))
}

/// Waits for a request, or gives it a number.
fn go_on(
    machine: &mut Machine,
    later: bool,
    what: String,
    pending: Pending,
    patience: u32,
    at: &mut At<'_, Passive>,
) -> Outcome {
    if later {
        let requests = &mut machine.requests;
        requests.last += 1;
        terminal::print(at, format_args!("{}: {what}: submitted\n", requests.last));
        requests.under_way.push((requests.last, what, pending));
        return Ok(());
    }
    let waited = pending.wait_timeout(at, u64::from(patience) * NANOSECONDS);
    if waited.is_err() {
        pending.cancel(at);
    }
    match (pending.take(at), waited) {
        (None | Some(Completion { result: Err(Status::Cancelled), .. }), Err(why)) => Err(format!("{what}: {why}")),
        (None, Ok(())) => Err(format!("{what}: nobody knows what became of it")),
        (Some(completion), _) => {
            let told = told(&completion);
            completion.result.map_err(|status| format!("{what}: {status}"))?;
            terminal::print(at, format_args!("{what}: {told}\n"));
            Ok(())
        }
    }
}

/// What became of a request, with its bytes.
fn told(completion: &Completion) -> String {
    match &completion.result {
        Err(status) => format!("{status}"),
        Ok(n) => {
            let mut text = format!("{n} bytes");
            for (n, byte) in completion.data.iter().enumerate() {
                let space = if n == 0 { ":" } else { "" };
                // Writing to a string does not fail.
                let _ = write!(text, "{space} {byte:02x}");
            }
            text
        }
    }
}
