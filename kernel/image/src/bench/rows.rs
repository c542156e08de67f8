//! The windows: each has what one or more rows of the table are counted from.

use super::{
    eight_times,
    window::{mark, traced},
};
use alloc::{format, string::String, vec::Vec};
use core::hint::black_box;
use edu::{Edu, EduFile};
use framework::{DeviceRef, Mode, Pnp};
use ke::{
    At, Dirql, InterruptLock, Passive, SpinLock,
    verifier::{self, Verifier},
};

/// A bit of edu's status that the ISR serves alone.
const FOR_THE_ISR: u32 = 0x1_0000;
/// A bit that reaches the callback after the ISR and means nothing there.
const FOR_LATER: u32 = 0x200;

/// From the raise of an interrupt to each of its callbacks and back. The first edu device continues in its DPC, the
/// second in its work item.
pub fn interrupts(pnp: &Pnp, at: &mut At<'_, Passive>) -> Result<(), String> {
    let devices = pnp.devices_of::<Edu>();
    let [by_dpc, by_work_item, ..] = &devices[..] else {
        return Err(format!("bench needs two edu devices, and there are {}", devices.len()));
    };
    raise("isr", by_dpc, FOR_THE_ISR, at)?;
    raise("dpc", by_dpc, FOR_LATER, at)?;
    raise("work_item", by_work_item, FOR_LATER, at)?;
    storm(by_dpc, at)?;
    idle(pnp, by_dpc.name(), at)
}

fn raise(window: &str, device: &DeviceRef<Edu>, bits: u32, at: &mut At<'_, Passive>) -> Result<(), String> {
    let raise = |edu: &Edu, at: &mut At<'_, Passive>| {
        traced(window, at, |at| {
            mark();
            edu.raise_unasked(at, bits);
            mark();
        });
    };
    device.with(at, raise).map_err(|status| format!("{}: {status}", device.name()))
}

/// Eight interrupts back to back, each with its DPC, then none.
fn storm(device: &DeviceRef<Edu>, at: &mut At<'_, Passive>) -> Result<(), String> {
    let storm = |edu: &Edu, at: &mut At<'_, Passive>| {
        traced("storm", at, |at| {
            mark();
            eight_times!(edu.raise_unasked(at, FOR_LATER));
            mark();
            mark();
        });
    };
    device.with(at, storm).map_err(|status| format!("{}: {status}", device.name()))
}

/// A transfer ends 100 ms after it was asked for: until then the CPU has nothing to do.
fn idle(pnp: &Pnp, name: &str, at: &mut At<'_, Passive>) -> Result<(), String> {
    let device = EduFile::open(pnp, name).map_err(|error| format!("{name}: {error}"))?;
    let mut result = Ok(());
    traced("idle", at, |at| {
        mark();
        result = device.round_trip(at, 1, 0);
        mark();
    });
    result.map_err(|error| format!("{name}: {error}"))
}

/// Devices on level-triggered lines: one that has its line alone, and two that share one, asked in the order of their
/// names. On a machine without them there are no rows.
pub fn lines(pnp: &Pnp, at: &mut At<'_, Passive>) -> Result<(), String> {
    let rows = pnp.interrupts(at);
    let on_lines = rows.iter().filter(|row| row.mode == Mode::LevelSensitive && !row.passive);
    let on_lines: Vec<(&str, u8)> = on_lines.filter_map(|row| Some((row.device.as_ref(), row.grant?.vector))).collect();
    let sharers = |vector| on_lines.iter().filter(move |(_, other)| *other == vector);
    for &(name, vector) in &on_lines {
        let Some(device) = pnp.device::<Edu>(name) else { continue };
        let place = sharers(vector).position(|(other, _)| *other == name);
        match (sharers(vector).count(), place) {
            (1, _) => raise("line_owner", &device, FOR_THE_ISR, at)?,
            (2, Some(0)) => raise("line_first", &device, FOR_THE_ISR, at)?,
            (2, Some(1)) => raise("line_second", &device, FOR_THE_ISR, at)?,
            _ => {}
        }
    }
    Ok(())
}

/// Pairs of locks.
pub fn locks(at: &mut At<'_, Passive>) {
    lock_pairs(["interrupt_lock", "synchronize", "spin_lock"], at);
}

/// Pairs of locks, and an interrupt with its DPC, under the verifier. The first edu device starts anew for that.
pub fn verified(pnp: &Pnp, at: &mut At<'_, Passive>) -> Result<(), String> {
    let first = pnp.devices_of::<Edu>().into_iter().next().ok_or("bench needs an edu device")?;
    let start_anew = |at: &mut At<'_, Passive>| {
        let started = pnp.stop_device(at, first.name()).and_then(|()| pnp.start_device(at, first.name()));
        started.map_err(|status| format!("{}: {status}", first.name()))
    };
    verifier::start(at, Verifier::UNTIMED);
    lock_pairs(["verified_interrupt_lock", "verified_synchronize", "verified_spin_lock"], at);
    start_anew(at)?;
    raise("verified_dpc", &first, FOR_LATER, at)?;
    verifier::stop(at);
    start_anew(at)
}

/// Eight pairs in a row, then none.
fn lock_pairs([interrupt_pair, synchronize, spin_pair]: [&str; 3], at: &mut At<'_, Passive>) {
    let interrupt = InterruptLock::<u32, Dirql>::new(0);
    let interrupt = black_box(&interrupt);
    traced(interrupt_pair, at, |at| {
        mark();
        eight_times!(drop(interrupt.acquire(at)));
        mark();
        mark();
    });
    traced(synchronize, at, |at| {
        mark();
        eight_times!(interrupt.synchronize(at, |_, _| ()));
        mark();
        mark();
    });
    let spin = SpinLock::new(0u32);
    let spin = black_box(&spin);
    traced(spin_pair, at, |at| {
        mark();
        eight_times!(drop(spin.acquire(at)));
        mark();
        mark();
    });
}
