//! The guest's half of counting at both ends: `i8042 watch`, `serial count`, `button count`. Who acts sits outside of the
//! machine, at the other end of a serial port; it waits for the line `ready` there, and reads there what has arrived.

use super::{commands::Outcome, machine::Machine, port::Port, terminal, words::Arguments};
use alloc::{format, string::String, vec::Vec};
use framework::{DeviceRef, Status};
use i8042::I8042;
use ke::{At, Event, Passive};
use serial::Serial;

/// Nanoseconds that all of it may take.
const LIMIT: u64 = 60_000_000_000;
/// Nanoseconds between two looks at the keyboard and mouse.
const PAUSE: u64 = 200_000;
/// Bytes taken from the port at a time.
const PIECE: usize = 256;

/// Tells on a serial port of every key and movement until there were enough of both.
pub fn watch_i8042(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    match words.required("what to do with keyboard and mouse")? {
        "watch" => {}
        other => return Err(words.unknown(other, &["watch"])),
    }
    let (keys, movements) = (words.number(0..=100_000)?, words.number(0..=100_000)?);
    let port = port(machine, words)?;
    let devices = machine.pnp().devices_of::<I8042>();
    if devices.is_empty() {
        return Err("there is no keyboard or mouse".into());
    }

    let until = at.now() + LIMIT;
    let pause = Event::new();
    let (mut seen_keys, mut seen_movements) = (0, 0);
    tell(&port, "ready\n", at)?;
    while seen_keys < keys || seen_movements < movements {
        let mut news = String::new();
        for device in &devices {
            let (key, movement) = on(device, at, |device, at| match device.port() {
                i8042::input::Port::Keyboard => (device.try_read_key(at), None),
                i8042::input::Port::Mouse => (None, device.try_read_movement(at)),
            })?;
            if let Some(key) = key {
                seen_keys += 1;
                news += &format!("key {} {}\n", key.code, if key.down { "down" } else { "up" });
            }
            if let Some(movement) = movement {
                seen_movements += 1;
                news += &format!("moved {} {}\n", movement.right, movement.up);
            }
        }
        if !news.is_empty() {
            tell(&port, &news, at)?;
        } else if at.now() >= until {
            return Err(format!("{seen_keys} of {keys} keys and {seen_movements} of {movements} movements came"));
        } else {
            // Nobody sets it: this is a pause.
            let _ = pause.wait_timeout(at, PAUSE);
        }
    }
    let mut dropped = 0;
    for device in &devices {
        dropped += on(device, at, |device, at| device.counters(at))?.dropped;
    }
    terminal::print(at, format_args!("{seen_keys} keys and {seen_movements} movements, {dropped} dropped\n"));
    Ok(())
}

/// Counts and sums what arrives at a serial port, and says there what it was.
pub fn count_serial(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    match words.required("what to do with the serial port")? {
        "count" => {}
        other => return Err(words.unknown(other, &["count"])),
    }
    let wanted = u64::from(words.number(1..=1 << 24)?);
    let port = port(machine, words)?;

    let before = on(&port.device, at, |port, at| port.counters(at))?;
    let until = at.now() + LIMIT;
    let pause = Event::new();
    let (mut read, mut sum) = (0u64, 0u32);
    tell(&port, "ready\n", at)?;
    let after = loop {
        let mut piece = [0; PIECE];
        let n = on(&port.device, at, |port, at| port.try_read(at, &mut piece))?;
        read += n as u64;
        sum = piece[..n].iter().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
        if n > 0 {
            continue;
        }
        let now = on(&port.device, at, |port, at| port.counters(at))?;
        if now.received - before.received >= wanted && read + (now.dropped - before.dropped) >= wanted {
            break now;
        }
        if at.now() >= until {
            return Err(format!("{read} of {wanted} bytes came: {now:?}"));
        }
        // Nobody sets it: this is a pause.
        let _ = pause.wait_timeout(at, PAUSE);
    };
    let (dropped, overruns) = (after.dropped - before.dropped, after.overruns - before.overruns);
    let interrupts = after.interrupts - before.interrupts;
    tell(&port, &format!("read {read} dropped {dropped} overruns {overruns} sum {sum}\n"), at)?;
    terminal::print(
        at,
        format_args!("{read} bytes read, {dropped} dropped, {overruns} overruns, {interrupts} interrupts\n"),
    );
    Ok(())
}

/// The serial port that the next word, the last, names, if there is one.
pub fn port_if_named(machine: &Machine, words: Arguments<'_>) -> Result<Option<Port>, String> {
    if words.is_empty() { Ok(None) } else { port(machine, words).map(Some) }
}

/// The serial port that the next word, the last, names.
pub fn port(machine: &Machine, mut words: Arguments<'_>) -> Result<Port, String> {
    let name: String = words.required("the serial port's name")?.into();
    words.end()?;
    let names =
        || -> Vec<String> { machine.pnp().devices_of::<Serial>().iter().map(|port| port.name().into()).collect() };
    Port::open(machine.pnp(), &name)
        .ok_or_else(|| format!("{name}: no serial port has this name; there are {}", names().join(", ")))
}

/// Says something at the other end of a serial port.
pub fn tell(port: &Port, text: &str, at: &mut At<'_, Passive>) -> Outcome {
    let told = port.file.write(at, text.as_bytes());
    told.map(|_| ()).map_err(|status| format!("{}: {status}", port.file.name()))
}

/// Waits until the other end of a serial port says something too: a byte.
pub fn await_answer(port: &Port, at: &mut At<'_, Passive>) -> Outcome {
    let answer = port.file.read(at, &mut [0]);
    answer.map(|_| ()).map_err(|status| format!("{}: {status}", port.file.name()))
}

/// Does `job` on a device; an error names the device.
pub fn on<D: framework::Device, R>(
    device: &DeviceRef<D>,
    at: &mut At<'_, Passive>,
    job: impl FnOnce(&D, &mut At<'_, Passive>) -> R,
) -> Result<R, String> {
    device.with(at, job).map_err(|status: Status| format!("{}: {status}", device.name()))
}
