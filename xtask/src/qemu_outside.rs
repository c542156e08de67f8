//! Somebody outside of the machine: types keys, moves the mouse, sends bytes down a serial line, presses the power button,
//! pulls a device out, rings the doorbells of shared memory, while a boot runs.
//!
//! The machine gets a second serial port, which leads here. The kernel's commands (`i8042 watch`, `serial count`,
//! `button count`, `unplug`) say `ready` there and then what has arrived, so both ends count, and the one outside never runs ahead of
//! what the device can hold. Who rings has the shared memory to say all this in.

pub mod cases;
mod control;
mod line;

use crate::{
    boot::{self, Console, Outcome},
    ivshmem::{self, Peer, Server},
    machine::Machine,
    symbols::Symbols,
};
use anyhow::{Result, bail, ensure};
use control::Control;
use line::Line;
use serde_json::json;
use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// The kernel's name for the port that leads here.
pub const PORT: &str = "serial#1";

/// What is done to the machine from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// So many keys go down and up, and the mouse moves so often.
    Input { keys: u32, movements: u32 },
    /// So many bytes are sent as fast as they are taken.
    Bytes(u32),
    /// The power button is pressed so often.
    Presses(u32),
    /// The device with this name in QEMU is pulled out, after firmware has asked for it; the guest calls it
    /// [`HOT_PLUGGED`].
    Eject(&'static str),
    /// The guest takes the power off that device itself, behind its driver's back.
    PowerOff(&'static str),
    /// Somebody types all this at the monitor's prompt at once.
    Prompt(&'static str),
    /// The guest's ivshmem is rung by a peer, all of so many vectors in each of so many rounds, and rings back.
    Rings { vectors: u16, rounds: u32 },
}

/// The kernel's name for the edu device behind a port that can lose it: the second one.
const HOT_PLUGGED: &str = "edu#1";

impl Outside {
    /// The monitor's command that counts at the other end; none where commands are typed.
    pub fn command(self) -> String {
        match self {
            Outside::Prompt(_) => String::new(),
            Outside::Input { keys, movements } => format!("i8042 watch {} {movements} {PORT}", 2 * keys),
            Outside::Bytes(count) => format!("serial count {count} {PORT}"),
            Outside::Presses(count) => format!("button count {count} {PORT}"),
            Outside::Eject(_) => format!("unplug wait {HOT_PLUGGED} {PORT}"),
            Outside::PowerOff(_) => format!("unplug now {HOT_PLUGGED} {PORT}"),
            Outside::Rings { rounds, .. } => format!("ivshmem echo {} {rounds}", ivshmem::HERE),
        }
    }

    /// The device of QEMU's that it takes, if not every QEMU has it.
    pub fn needs(self) -> Option<&'static str> {
        matches!(self, Outside::Rings { .. }).then_some(ivshmem::DEVICE)
    }

    fn console(self) -> Console {
        match self {
            Outside::Prompt(text) => Console::Typed(text),
            _ => Console::Quiet,
        }
    }

    fn server(self) -> Result<Option<Server>> {
        match self {
            Outside::Rings { vectors, .. } => Server::listen(vectors).map(Some),
            _ => Ok(None),
        }
    }

    fn run(self, line: &mut Line, control: &mut Control) -> Result<()> {
        line.wait_for("ready")?;
        match self {
            Outside::Input { keys, movements } => {
                (0..keys).try_for_each(|n| key(n, control, line))?;
                (0..movements).try_for_each(|n| movement(n, control, line))
            }
            Outside::Bytes(count) => bytes(count, line),
            Outside::Presses(count) => (1..=count).try_for_each(|n| press(n, control, line)),
            Outside::Eject(id) => eject(id, control, line),
            Outside::PowerOff(id) => power_off(id, control, line),
            Outside::Rings { .. } | Outside::Prompt(_) => bail!("this has no use for the second serial line"),
        }
    }
}

/// Boots `machine` and does `outside` to it, `limit` at most.
pub fn boot(
    qemu: &Path,
    machine: &Machine,
    symbols: &Symbols,
    outside: Outside,
    limit: Duration,
) -> Result<(Outcome, Result<()>)> {
    let (port, control) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let mut machine = machine.clone();
    let port_here = port.local_addr()?.port();
    machine.extra.extend([
        "-chardev".into(),
        format!("socket,id=outside,host=127.0.0.1,port={port_here}"),
        "-serial".into(),
        "chardev:outside".into(),
        "-qmp".into(),
        format!("tcp:{}", control.local_addr()?),
    ]);
    let server = outside.server()?;
    machine.extra.extend(server.iter().flat_map(Server::arguments));
    let deadline = Instant::now() + limit;
    let somebody = thread::spawn(move || {
        // First, because QEMU waits for it.
        let peer = server.map(|server| server.accept(deadline)).transpose()?;
        let mut line = Line::accept(&port, deadline)?;
        let mut control = Control::accept(&control, deadline)?;
        match (outside, peer) {
            (Outside::Prompt(_), _) => Ok(()),
            (Outside::Rings { rounds, .. }, Some(mut peer)) => ring(rounds, &mut peer, deadline),
            _ => outside.run(&mut line, &mut control),
        }
    });
    let outcome = boot::boot(qemu, &machine, symbols, outside.console(), Some(limit))?;
    let done = somebody.join().unwrap_or_else(|_| bail!("the thread that acts from outside panicked"));
    Ok((outcome, done))
}

/// Keys by QEMU's names, and the codes of set 1 that the guest must see.
const KEYS: [(&str, u16); 6] =
    [("a", 0x1e), ("spc", 0x39), ("ret", 0x1c), ("shift", 0x2a), ("left", 0xe04b), ("f1", 0x3b)];

/// A key goes down and up, and the guest says so.
fn key(n: u32, control: &mut Control, line: &mut Line) -> Result<()> {
    let (name, code) = KEYS[n as usize % KEYS.len()];
    let event = |down: bool| json!({"type": "key", "data": {"down": down, "key": {"type": "qcode", "data": name}}});
    control.send_input(&[event(true), event(false)])?;
    line.wait_for(&format!("key {code} down"))?;
    line.wait_for(&format!("key {code} up"))
}

/// The mouse moves, differently every time, and the guest says how far.
fn movement(n: u32, control: &mut Control, line: &mut Line) -> Result<()> {
    let (right, down) = (n as i32 % 50 + 1, n as i32 % 21 - 10);
    let event = |axis: &str, value: i32| json!({"type": "rel", "data": {"axis": axis, "value": value}});
    control.send_input(&[event("x", right), event("y", down)])?;
    line.wait_for(&format!("moved {right} {}", -down))
}

/// The power button is pressed for the `n`th time; QEMU tells that it was, and the guest that it knows.
fn press(n: u32, control: &mut Control, line: &mut Line) -> Result<()> {
    control.execute("system_powerdown", json!({}))?;
    control.wait_for("POWERDOWN")?;
    line.wait_for(&format!("pressed {n}"))
}

/// Pulls a device out; QEMU tells when firmware has let it go, and the guest when its driver has.
fn eject(id: &str, control: &mut Control, line: &mut Line) -> Result<()> {
    ensure!(control.has_device(id)?, "QEMU has no device `{id}` to begin with");
    control.execute("device_del", json!({"id": id}))?;
    while control.wait_for("DEVICE_DELETED")?["device"] != id {}
    line.wait_for("left")?;
    line.send(ANSWER)
}

/// The guest says that it has taken the power off a device: then QEMU must not have it any more.
fn power_off(id: &str, control: &mut Control, line: &mut Line) -> Result<()> {
    line.wait_for("left")?;
    ensure!(!control.has_device(id)?, "QEMU still has the device `{id}`");
    line.send(ANSWER)
}

/// What lets the guest go on, once we have seen what it has said.
const ANSWER: &[u8] = b"\n";

/// Rings all vectors of the guest at once, and goes on when it has rung each back, once, and has counted as many.
fn ring(rounds: u32, peer: &mut Peer, deadline: Instant) -> Result<()> {
    // The guest rings when it is ready.
    peer.wait(0, deadline)?;
    for round in 1..=rounds {
        (0..peer.vectors()).try_for_each(|vector| peer.ring(vector))?;
        for vector in 0..peer.vectors() {
            let (rung, counted) = (peer.wait(vector, deadline)?, peer.word(vector)?);
            ensure!(rung == 1, "in round {round} the guest has rung vector {vector} {rung} times");
            ensure!(counted == round, "in round {round} the guest has counted {counted} rings of vector {vector}");
        }
    }
    Ok(())
}

/// Sends `count` bytes at full speed; the guest must have read all of them, or counted what it dropped.
fn bytes(count: u32, line: &mut Line) -> Result<()> {
    let sent: Vec<u8> = (0..count).map(|n| (n.wrapping_mul(167) >> 3) as u8).collect();
    let sum = sent.iter().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    line.send(&sent)?;
    let said = line.next()?;
    let words: Vec<&str> = said.split_whitespace().collect();
    let ["read", read, "dropped", dropped, "overruns", overruns, "sum", guests] = words[..] else {
        bail!("the guest counts otherwise: {said}");
    };
    let (read, dropped): (u32, u32) = (read.parse()?, dropped.parse()?);
    ensure!(read + dropped == count, "{count} bytes were sent, {read} were read and {dropped} dropped");
    // QEMU gives a port only what its queue takes.
    ensure!(overruns == "0", "bytes were lost in the chip {overruns} times");
    ensure!(dropped > 0 || guests == sum.to_string(), "the bytes read are not those sent");
    Ok(())
}

/// Waits until QEMU connects.
fn accept(listener: &TcpListener, deadline: Instant) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                ensure!(Instant::now() < deadline, "QEMU does not connect");
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error.into()),
        }
    };
    stream.set_nonblocking(false)?;
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left))?;
    stream.set_write_timeout(Some(left))?;
    Ok(stream)
}
