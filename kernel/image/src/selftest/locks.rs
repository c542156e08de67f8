//! Locks and events between CPUs.

use super::{
    Outcome,
    crew::{Crew, await_event, ensure, on_every_cpu},
};
use alloc::{format, sync::Arc};
use ke::{At, CpuSet, Event, InterruptLock, Passive, SpinLock, WaitLock, thread::ThreadOptions};

/// Increments a CPU makes, each a read and a write that another CPU could come between.
const ROUNDS: u64 = 250;

fn exact(counted: u64, cpus: u32, rounds: u64) -> Outcome {
    let all = rounds * u64::from(cpus);
    ensure(counted == all, || format!("{cpus} CPUs counted to {counted}, not to {all}"))
}

/// Two threads a CPU; every sixteenth turn waits inside the lock, so that the others find it taken and queue up.
pub fn wait_lock(at: &mut At<'_, Passive>) -> Outcome {
    const ROUNDS: u64 = 50;
    let counter = Arc::new(WaitLock::new(0u64));
    let mut crew = Crew::default();
    for n in 0..2 * at.cpu_count() {
        let counter = counter.clone();
        let here = CpuSet::of([n / 2]);
        crew.start(at, ThreadOptions::named("selftest").on(here), move |at| {
            let pause = Event::new();
            for round in 0..ROUNDS {
                let mut count = counter.acquire(at);
                let before = *count;
                if round % 16 == 0 {
                    // Nobody sets it: this is a pause.
                    let _ = pause.wait_timeout(at, 20_000);
                }
                *count = before + 1;
            }
            Ok(())
        })?;
    }
    crew.finish(at)?;
    let counted = *counter.acquire(at);
    exact(counted, 2 * at.cpu_count(), ROUNDS)
}

pub fn spin_lock(at: &mut At<'_, Passive>) -> Outcome {
    let counter = Arc::new(SpinLock::new(0u64));
    let shared = counter.clone();
    on_every_cpu(at, move |_, at| {
        (0..ROUNDS).for_each(|_| *shared.acquire(at) += 1);
        Ok(())
    })?;
    let counted = *counter.acquire(at);
    exact(counted, at.cpu_count(), ROUNDS)
}

pub fn interrupt_lock(at: &mut At<'_, Passive>) -> Outcome {
    let counter: InterruptLock<u64> = InterruptLock::new(0);
    let shared = counter.clone();
    on_every_cpu(at, move |_, at| {
        (0..ROUNDS).for_each(|_| shared.synchronize(at, |count, _| *count += 1));
        Ok(())
    })?;
    let counted = counter.synchronize(at, |count, _| *count);
    exact(counted, at.cpu_count(), ROUNDS)
}

/// On the first and the last CPU, which on one CPU are the same.
pub fn ping_pong(at: &mut At<'_, Passive>) -> Outcome {
    const ROUNDS: u32 = 100;
    let events: Arc<[Event; 2]> = Arc::default();
    let mut crew = Crew::default();
    for (me, cpu) in [0, at.cpu_count() - 1].into_iter().enumerate() {
        let events = events.clone();
        crew.start(at, ThreadOptions::named("ping-pong").on(CpuSet::of([cpu])), move |at| {
            for _ in 0..ROUNDS {
                if me == 1 {
                    await_event(at, &events[1], "the other thread's event")?;
                    events[1].clear(at);
                }
                events[1 - me].set(at);
                if me == 0 {
                    await_event(at, &events[0], "the other thread's event")?;
                    events[0].clear(at);
                }
            }
            Ok(())
        })?;
    }
    crew.finish(at)
}
