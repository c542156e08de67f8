//! One critical section for two interrupts of different devices and IRQLs, their DPCs, and a thread on every CPU.

use super::{
    BEHIND, LIMIT,
    pair::{Common, Pair, Tally},
};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::{
    hint,
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
};
use framework::{Device, DeviceRef, Pnp};
use ke::{
    At, CpuSet, Event, Passive,
    thread::{self, ThreadOptions},
};

/// Nanoseconds between two looks at how far it is.
const PAUSE: u64 = 1_000_000;

impl Common {
    /// How often the ISRs ran.
    fn entries(&self) -> u64 {
        self.isrs.iter().map(Tally::sum).sum()
    }

    /// How often `cpu` was in the section.
    fn share(&self, cpu: u32) -> u64 {
        [&self.isrs[0], &self.isrs[1], &self.dpcs, &self.threads].iter().map(|tally| tally.of(cpu)).sum()
    }
}

/// Goes on until the ISRs ran `count` times, and compares. The first two devices of [`Pair`] take part.
pub fn run(pnp: &Pnp, count: u32, at: &mut At<'_, Passive>) -> Result<(), String> {
    let pairs = pnp.devices_of::<Pair>();
    let [high, low, ..] = &pairs[..] else { return Err("two edu devices are needed".into()) };
    let rows = pnp.interrupts(at).into_iter().filter(|row| row.device.starts_with(Pair::NAME));
    let levels: Vec<u8> = rows.filter_map(|row| Some(row.grant?.irql())).collect();
    let common = high.with(at, |pair, _| pair.common.clone()).map_err(|status| format!("{status}"))?;
    let ends = Arc::new(AtomicBool::new(false));

    let mut members = Vec::new();
    for cpu in 0..at.cpu_count() {
        let (common, pairs, ends) = (common.clone(), [high.clone(), low.clone()], ends.clone());
        let options = ThreadOptions::named("stress").priority(BEHIND).on(CpuSet::of([cpu]));
        let member = thread::spawn(at, options, move |at| work(&pairs, &common, count.into(), &ends, at));
        members.push(member.map_err(|error| format!("{error}"))?);
    }
    let came = watch(&common, count.into(), at);
    ends.store(true, Release);
    for member in members {
        member.join(at).map_err(|error| format!("{error}"))?;
    }
    came?;
    for pair in [high, low] {
        // No ISR and no DPC runs after it.
        pnp.stop_device(at, pair.name()).map_err(|status| format!("{}: {status}", pair.name()))?;
    }
    judge(&common, &levels, at)
}

/// A thread's part: it makes both devices interrupt, and is in the section itself. It looks on its own how far all are: the
/// CPU of the thread that waits for them may do nothing but serve interrupts.
fn work(pairs: &[DeviceRef<Pair>], common: &Common, count: u64, ends: &AtomicBool, at: &mut At<'_, Passive>) {
    let goes_on = || !ends.load(Acquire) && common.entries() < count;
    while goes_on() {
        let before = common.dpcs.sum();
        for pair in pairs {
            // A device that was stopped is not raised any more.
            let _ = pair.with(at, |pair, at| pair.raise(at));
        }
        common.lock.synchronize(at, |sum, at| {
            *sum += 1;
            common.threads.count(at.cpu());
        });
        // No faster than it is served, or the CPU that serves it would have no time for anything else.
        while goes_on() && common.dpcs.sum() == before {
            hint::spin_loop();
        }
    }
}

/// Waits until the ISRs ran `count` times, or no more often for a long time.
fn watch(common: &Common, count: u64, at: &mut At<'_, Passive>) -> Result<(), String> {
    let pause = Event::new();
    let (mut before, mut until) = (0, at.now() + LIMIT);
    loop {
        let entries = common.entries();
        if entries >= count {
            return Ok(());
        }
        if entries > before {
            (before, until) = (entries, at.now() + LIMIT);
        } else if at.now() >= until {
            return Err(format!("the ISRs ran {entries} of {count} times, and do not run any more"));
        }
        // Nobody sets it: this is a pause.
        let _ = pause.wait_timeout(at, PAUSE);
    }
}

fn judge(common: &Common, levels: &[u8], at: &mut At<'_, Passive>) -> Result<(), String> {
    let sum = common.lock.synchronize(at, |sum, _| *sum);
    let [isrs, dpcs, threads] = [common.entries(), common.dpcs.sum(), common.threads.sum()];
    let shares: Vec<u64> = (0..at.cpu_count()).map(|cpu| common.share(cpu)).collect();
    at.print(format_args!(
        "{isrs} ISRs at the levels {levels:?}, {dpcs} DPCs, {threads} in threads; by CPU {shares:?}\n"
    ));
    if sum != isrs + dpcs + threads {
        return Err(format!("the integer is {sum}, not {}", isrs + dpcs + threads));
    }
    if common.isrs.iter().any(|tally| tally.sum() == 0) || dpcs == 0 || shares.contains(&0) {
        return Err("not everybody was in the section".into());
    }
    if levels.len() < 2 || levels[0] == levels[1] {
        return Err(format!("the two interrupts have the levels {levels:?}, which must be two"));
    }
    at.print(format_args!("STRESS common {isrs} ok\n"));
    Ok(())
}
