//! Stop and start of a device that interrupts all the time.
//!
//! A thread on each CPU makes the device interrupt as fast as it is served, while the first one stops and starts it. The
//! moment of each stop is chance: some find an interrupt pending, some in service, some deferred, and the device counts
//! which. No callback may come after the teardown, a stop must end, the interrupt come again after a start, and nothing
//! be left behind: `objects --json` says the same before and after.

use super::{
    BEHIND, LIMIT,
    restless::{Restless, Watch},
};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::{
    hint,
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
};
use framework::{DeviceRef, Pnp};
use ke::{
    At, CpuSet, Event, Passive,
    thread::{self, ThreadOptions},
};

/// Nanoseconds between two tries while the device is stopped.
const PAUSE: u64 = 100_000;

/// Stops and starts the first device of [`Restless`] `count` times.
pub fn run(pnp: &Pnp, count: u32, at: &mut At<'_, Passive>) -> Result<(), String> {
    let devices = pnp.devices_of::<Restless>();
    let device = devices.first().ok_or("an edu device is needed")?;
    let watch = device.with(at, |restless, _| restless.watch.clone()).map_err(|status| format!("{status}"))?;

    let ends = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for cpu in 0..at.cpu_count() {
        let (device, watch, ends) = (device.clone(), watch.clone(), ends.clone());
        let options = ThreadOptions::named("stress").priority(BEHIND).on(CpuSet::of([cpu]));
        let thread = thread::spawn(at, options, move |at| keep_raising(&device, &watch, &ends, at));
        threads.push(thread.map_err(|error| format!("{error}"))?);
    }
    let outcome = (0..count).try_for_each(|_| cycle(pnp, device, &watch, at));
    ends.store(true, Release);
    for thread in threads {
        thread.join(at).map_err(|error| format!("{error}"))?;
    }
    outcome?;

    let stops = watch.stops();
    let (pending, in_service, deferred) = (stops.pending, stops.in_service, stops.deferred);
    at.print(format_args!("{} interrupts; how many stops found one how:\n", watch.isrs()));
    if stops.late > 0 {
        return Err(format!("{} callbacks ran after a teardown", stops.late));
    }
    at.print(format_args!("STRESS cycles {count} pending {pending} in-service {in_service} deferred {deferred} ok\n"));
    Ok(())
}

/// An interrupt, a stop, and a start.
fn cycle(pnp: &Pnp, device: &DeviceRef<Restless>, watch: &Watch, at: &mut At<'_, Passive>) -> Result<(), String> {
    let name = device.name();
    let say = |status| format!("{name}: {status}");
    let (before, until) = (watch.isrs(), at.now() + LIMIT);
    while watch.isrs() == before {
        device.with(at, |restless, at| restless.raise(at)).map_err(say)?;
        if at.now() >= until {
            return Err(format!("{name} does not interrupt any more after a stop and a start"));
        }
    }
    pnp.stop_device(at, name).map_err(say)?;
    pnp.start_device(at, name).map_err(say)
}

/// Never raises faster than it is served: the stop may have to run on the CPU that serves it.
fn keep_raising(device: &DeviceRef<Restless>, watch: &Watch, ends: &AtomicBool, at: &mut At<'_, Passive>) {
    let pause = Event::new();
    while !ends.load(Acquire) {
        let before = watch.dpcs();
        if device.with(at, |restless, at| restless.raise(at)).is_err() {
            // It is stopped. Nobody sets the event: this is a pause.
            let _ = pause.wait_timeout(at, PAUSE);
        }
        while watch.dpcs() == before && watch.is_up() && !ends.load(Acquire) {
            hint::spin_loop();
        }
    }
}
