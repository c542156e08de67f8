//! `unplug`: an edu device leaves the bus while several threads use it. With `wait`, somebody outside pulls it out, and
//! firmware asks for it first; with `now`, firmware takes its power off behind its driver's back.

use super::{commands::Outcome, machine::Machine, outside, terminal, words::Arguments};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use edu::{EduError, EduFile};
use framework::{Departed, Pnp, Status};
use io::{AcpiMethods, Location};
use ke::{
    At, Event, JoinHandle, Passive, SpinLock,
    thread::{self, ThreadOptions},
};

pub const USAGE: &str = "unplug wait|now DEVICE [PORT]";

/// Threads that use the device.
const USERS: usize = 3;
/// It leaves when they have done so many requests together.
const WARM: u32 = 20;
/// Nanoseconds that getting there may take, and leaving.
const LIMIT: u64 = 60_000_000_000;
/// Nanoseconds between two looks.
const PAUSE: u64 = 100_000;

/// Loads the device until it has left, and says what became of it and of the requests. On a serial port, if one is named, it
/// says `ready` when the device may be pulled out and `left` when it has left, and waits there for a byte.
pub fn run(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let now = match words.required("whether to wait for somebody outside")? {
        "wait" => false,
        "now" => true,
        other => return Err(words.unknown(other, &["wait", "now"])),
    };
    let name: String = words.required("the device's name")?.into();
    let port = outside::port_if_named(machine, words)?;
    let pnp = machine.pnp();
    let device = EduFile::open(pnp, &name).map_err(|error| format!("{name}: {error}"))?;
    let row = pnp.devices(at).into_iter().find(|row| row.name.as_ref() == Some(&name));
    let location = row.ok_or_else(|| format!("{name}: the device is on no bus"))?.location;

    let load = Load::start(&device, at)?;
    load.warm_up(at)?;
    if let Some(port) = &port {
        outside::tell(port, "ready\n", at)?;
    }
    if now {
        let methods = machine.methods().ok_or("this machine has no firmware that could let a device go")?;
        power_off(&**methods, location, at)?;
        machine.pnp().bus_changes().look(at);
    }
    let said = load.finish(at)?;
    machine.pnp().settle(at);
    report(machine.pnp(), &name, now, at)?;
    terminal::print(at, format_args!("{name}: {said}\n"));
    if now {
        quarantine(machine.pnp(), location, at);
    }
    match &port {
        // Whoever is there looks for the device too, before the machine ends.
        Some(port) => outside::tell(port, "left\n", at).and_then(|()| outside::await_answer(port, at)),
        None => Ok(()),
    }
}

/// Has firmware let the device go, whatever its driver does.
fn power_off(methods: &dyn AcpiMethods, location: Location, at: &mut At<'_, Passive>) -> Outcome {
    let path = methods.ejectable(at, location).ok_or_else(|| format!("{location}: firmware cannot let it go"))?;
    methods.call(at, &format!("{path}._EJ0"), &[1]).map_err(|error| format!("{error}"))?;
    Ok(())
}

/// Says how the device left; it must have done so in the way that was meant.
fn report(pnp: &Pnp, name: &str, now: bool, at: &mut At<'_, Passive>) -> Outcome {
    let wanted = if now { Departed::Gone } else { Departed::Ejected };
    let departure = pnp.departures(at).into_iter().find(|departure| departure.device.as_deref() == Some(name));
    let departure = departure.ok_or_else(|| format!("{name} is still there"))?;
    terminal::print(at, format_args!("{departure}\n"));
    if departure.how == wanted { Ok(()) } else { Err(format!("{name} left otherwise than it was meant to")) }
}

/// What the device might have written to was set aside; now it is known to have left.
fn quarantine(pnp: &Pnp, location: Location, at: &mut At<'_, Passive>) {
    let count = |at: &mut At<'_, Passive>| {
        let rows = pnp.objects(at);
        rows.iter().filter(|row| row.of == "quarantine").map(|row| row.count).sum::<usize>()
    };
    let before = count(at);
    pnp.left_the_bus(at, location);
    let after = count(at);
    terminal::print(at, format_args!("buffers in quarantine: {before}, then {after}\n"));
}

/// The threads, and what they have done.
struct Load {
    users: Vec<JoinHandle>,
    done: Arc<SpinLock<Done>>,
}

#[derive(Default)]
struct Done {
    requests: u32,
    /// Threads whose last request ended because the device is gone.
    gone: usize,
    fault: Option<String>,
}

impl Load {
    fn start(device: &EduFile, at: &mut At<'_, Passive>) -> Result<Self, String> {
        let mut load = Load { users: Vec::new(), done: Arc::default() };
        for user in 0..USERS {
            let (device, done) = (device.clone(), load.done.clone());
            let main = move |at: &mut At<'_, Passive>| use_up(&device, user, &done, at);
            let thread = thread::spawn(at, ThreadOptions::named("user"), main);
            load.users.push(thread.map_err(|error| format!("{error}"))?);
        }
        Ok(load)
    }

    /// Waits until the device has been used.
    fn warm_up(&self, at: &mut At<'_, Passive>) -> Outcome {
        let (until, pause) = (at.now() + LIMIT, Event::new());
        loop {
            let (requests, fault) = self.done.with(at, |done, _| (done.requests, done.fault.clone()));
            match fault {
                Some(fault) => return Err(fault),
                None if requests >= WARM => return Ok(()),
                None if at.now() >= until => return Err(format!("only {requests} requests were done")),
                None => {}
            }
            // Nobody sets it: this is a pause.
            let _ = pause.wait_timeout(at, PAUSE);
        }
    }

    /// Waits for the threads, which end when the device is gone.
    fn finish(self, at: &mut At<'_, Passive>) -> Result<String, String> {
        for user in self.users {
            user.join(at).map_err(|error| format!("{error}"))?;
        }
        let done = self.done.acquire(at);
        match &done.fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(format!("{} requests done, {} of {USERS} users ended by Gone", done.requests, done.gone)),
        }
    }
}

/// Uses the device until it is gone.
fn use_up(device: &EduFile, user: usize, done: &SpinLock<Done>, at: &mut At<'_, Passive>) {
    let until = at.now() + LIMIT;
    for n in user.. {
        let outcome = match n % 16 {
            0 => device.file().write(at, &[n as u8; 512]).map(|_| ()).map_err(EduError::from),
            1..8 => device.factorial(at, 10).map(|_| ()),
            _ => device.raise(at, 2).map(|_| ()),
        };
        match outcome {
            Ok(()) => done.acquire(at).requests += 1,
            Err(EduError::Request(Status::Gone | Status::NoQueue { .. })) => return done.acquire(at).gone += 1,
            Err(error) => return done.acquire(at).fault = Some(format!("{}: {error}", device.name())),
        }
        if at.now() >= until {
            return done.acquire(at).fault = Some(format!("{} has not left", device.name()));
        }
    }
}
