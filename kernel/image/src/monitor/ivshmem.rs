//! `ivshmem`: ringing the peers of the ivshmem device, and being rung.

use super::{commands::Outcome, machine::Machine, words::Arguments};
use ::ivshmem::Ivshmem;
use alloc::format;
use framework::Status;
use ke::{At, Passive};

pub const USAGE: &str = "ivshmem [ring PEER VECTOR|wait VECTOR COUNT]";

/// What to do with the device.
enum Job {
    Show,
    Ring { peer: u16, vector: u16 },
    Wait { vector: u16, count: u32 },
}

/// Without words says how often each vector was rung.
pub fn run(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let half = |words: &mut Arguments<'_>| words.number(0..=u16::MAX.into()).map(|n| n as u16);
    let job = match words.next() {
        None => Job::Show,
        Some("ring") => Job::Ring { peer: half(&mut words)?, vector: half(&mut words)? },
        Some("wait") => Job::Wait { vector: half(&mut words)?, count: words.number(1..=u32::MAX)? },
        Some(other) => return Err(words.unknown(other, &["ring", "wait"])),
    };
    words.end()?;
    let devices = machine.pnp().devices_of::<Ivshmem>();
    let device = devices.first().ok_or("there is no ivshmem device")?;
    let done = device.with(at, |device, at| work(device, &job, at));
    done.flatten().map_err(|status| format!("{}: {status}", device.name()))
}

fn work(device: &Ivshmem, job: &Job, at: &mut At<'_, Passive>) -> Result<(), Status> {
    match *job {
        Job::Show => {
            let position = device.position(at)?;
            at.print(format_args!("peer {position}\n"));
            for vector in 0..device.vectors() {
                let rings = device.rings(at, vector)?;
                at.print(format_args!("vector {vector}: rings so far: {rings}\n"));
            }
        }
        Job::Ring { peer, vector } => device.ring(at, peer, vector),
        Job::Wait { vector, count } => {
            let position = device.position(at)?;
            at.print(format_args!("peer {position} waits for {count} rings of vector {vector}\n"));
            let rings = device.wait(at, vector, u64::from(count) - 1)?;
            at.print(format_args!("vector {vector}: rings so far: {rings}\n"));
        }
    }
    Ok(())
}
