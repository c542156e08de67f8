//! `ivshmem`: ringing the peers of the ivshmem device, and being rung.

use super::{commands::Outcome, machine::Machine, terminal, words::Arguments};
use ::ivshmem::Ivshmem;
use alloc::{format, vec::Vec};
use framework::Status;
use ke::{At, Passive};

pub const USAGE: &str = "ivshmem [ring PEER VECTOR|wait VECTOR COUNT|echo PEER ROUNDS]";

/// What to do with the device.
enum Job {
    Show,
    Ring { peer: u16, vector: u16 },
    Wait { vector: u16, count: u32 },
    Echo { peer: u16, rounds: u32 },
}

/// Without words says how often each vector was rung.
pub fn run(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let half = |words: &mut Arguments<'_>| words.number(0..=u16::MAX.into()).map(|n| n as u16);
    let job = match words.next() {
        None => Job::Show,
        Some("ring") => Job::Ring { peer: half(&mut words)?, vector: half(&mut words)? },
        Some("wait") => Job::Wait { vector: half(&mut words)?, count: words.number(1..=u32::MAX)? },
        Some("echo") => Job::Echo { peer: half(&mut words)?, rounds: words.number(1..=1_000_000)? },
        Some(other) => return Err(words.unknown(other, &["ring", "wait", "echo"])),
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
            terminal::print(at, format_args!("peer {position}\n"));
            for vector in 0..device.vectors() {
                let rings = device.rings(at, vector)?;
                terminal::print(at, format_args!("vector {vector}: rings so far: {rings}\n"));
            }
        }
        Job::Ring { peer, vector } => device.ring(at, peer, vector),
        Job::Wait { vector, count } => {
            let position = device.position(at)?;
            terminal::print(at, format_args!("peer {position} waits for {count} rings of vector {vector}\n"));
            let rings = device.wait(at, vector, u64::from(count) - 1)?;
            terminal::print(at, format_args!("vector {vector}: rings so far: {rings}\n"));
        }
        Job::Echo { peer, rounds } => echo(device, peer, rounds, at)?,
    }
    Ok(())
}

/// Lets a peer ring all vectors in each round, and answers each ring by one of the same vector. Before it does, it writes
/// into the vector's word of the shared memory how often the vector was rung. Vector 0 is rung once more to begin with: then
/// the peer may ring.
fn echo(device: &Ivshmem, peer: u16, rounds: u32, at: &mut At<'_, Passive>) -> Result<(), Status> {
    let vectors = 0..device.vectors();
    let before = vectors.clone().map(|vector| device.rings(at, vector)).collect::<Result<Vec<_>, _>>()?;
    device.ring(at, peer, 0);
    for round in 0..u64::from(rounds) {
        for (vector, before) in vectors.clone().zip(&before) {
            let rings = device.wait(at, vector, before + round)? - before;
            device.set_word(at, vector, rings as u32)?;
            device.ring(at, peer, vector);
        }
    }
    let mut came = 0;
    for (vector, before) in vectors.clone().zip(&before) {
        came += device.rings(at, vector)? - before;
    }
    let went = u64::from(rounds) * u64::from(device.vectors());
    terminal::print(at, format_args!("{came} rings came and {went} went, on {} vectors\n", device.vectors()));
    Ok(())
}
