//! Threads: affinity, migration, priorities, time slices.

use super::{
    Outcome,
    crew::{Crew, await_event, ensure, on_every_cpu, spin_until},
};
use alloc::{format, sync::Arc};
use core::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use ke::{At, CpuSet, Event, Passive, thread::ThreadOptions};

pub fn bound(at: &mut At<'_, Passive>) -> Outcome {
    on_every_cpu(at, |cpu, at| {
        ensure(at.cpu() == cpu, || format!("a thread bound to CPU {cpu} ran on CPU {}", at.cpu()))
    })
}

/// A thread that may run everywhere spins and says where it is. For each CPU in turn better threads occupy all others,
/// until it has been seen on that one. On one CPU there is nowhere to go.
pub fn migrates(at: &mut At<'_, Passive>) -> Outcome {
    let wanderer = Arc::new(Wanderer { cpu: AtomicU32::new(u32::MAX), home: AtomicBool::new(false) });
    let mut crew = Crew::default();
    let there = wanderer.clone();
    crew.start(at, ThreadOptions::named("wanderer"), move |at| {
        spin_until(at, "the wanderer was not called home", || {
            there.cpu.store(at.cpu(), Release);
            there.home.load(Acquire)
        })
    })?;
    let driven = (0..at.cpu_count()).try_for_each(|target| drive_to(at, target, &wanderer));
    wanderer.home.store(true, Release);
    driven.and(crew.finish(at))
}

struct Wanderer {
    cpu: AtomicU32,
    home: AtomicBool,
}

fn drive_to(at: &mut At<'_, Passive>, target: u32, wanderer: &Arc<Wanderer>) -> Outcome {
    let mut crew = Crew::default();
    for occupied in (0..at.cpu_count()).filter(|&cpu| cpu != target) {
        let seen = wanderer.clone();
        let options = ThreadOptions::named("pusher").priority(20).on(CpuSet::of([occupied]));
        crew.start(at, options, move |at| {
            let what = format!("the thread did not come to CPU {target}, though all others were taken,");
            spin_until(at, &what, || seen.cpu.load(Acquire) == target)
        })?;
    }
    crew.finish(at)
}

/// As many threads as CPUs, of different priorities, woken by one event: each spins until all of them run.
pub fn spread(at: &mut At<'_, Passive>) -> Outcome {
    let (count, gate) = (at.cpu_count(), Arc::new(Event::new()));
    let (ready, running) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut crew = Crew::default();
    for n in 0..count {
        let (gate, ready, running) = (gate.clone(), ready.clone(), running.clone());
        crew.start(at, ThreadOptions::named("spread").priority(16 + (n % 8) as u8), move |at| {
            ready.fetch_add(1, Release);
            await_event(at, &gate, "the event that wakes all")?;
            running.fetch_add(1, Release);
            spin_until(at, &format!("not all of {count} threads ran at the same time"), || {
                running.load(Acquire) == count
            })
        })?;
    }
    pause_until(at, || ready.load(Acquire) == count);
    gate.set(at);
    crew.finish(at)
}

/// Waits with pauses, because on one CPU others run only while this thread waits.
fn pause_until(at: &mut At<'_, Passive>, done: impl Fn() -> bool) {
    let pause = Event::new();
    while !done() {
        // Nobody sets it.
        let _ = pause.wait_timeout(at, super::MILLISECOND);
    }
}

/// Both are bound to one CPU, where the worse one spins until the better one has run.
pub fn preemption(at: &mut At<'_, Passive>) -> Outcome {
    let cpu = at.cpu_count() - 1;
    let (started, better_ran) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut crew = Crew::default();
    let (says, sees) = (started.clone(), better_ran.clone());
    crew.start(at, ThreadOptions::named("worse").priority(4).on(CpuSet::of([cpu])), move |at| {
        says.store(true, Release);
        spin_until(at, "the better thread did not preempt", || sees.load(Acquire))
    })?;
    pause_until(at, || started.load(Acquire));
    crew.start(at, ThreadOptions::named("better").priority(20).on(CpuSet::of([cpu])), move |_| {
        better_ran.store(true, Release);
        Ok(())
    })?;
    crew.finish(at)
}

/// Two threads of one priority on one CPU: each spins until it has seen the other move on three times.
pub fn turns(at: &mut At<'_, Passive>) -> Outcome {
    let cpu = at.cpu_count() - 1;
    let steps: Arc<[AtomicU64; 2]> = Arc::default();
    let mut crew = Crew::default();
    for me in 0..2 {
        let steps = steps.clone();
        crew.start(at, ThreadOptions::named("equal").on(CpuSet::of([cpu])), move |at| {
            for turn in 1..=3 {
                steps[me].store(turn, Release);
                spin_until(at, "the equal thread got no turn", || steps[1 - me].load(Acquire) >= turn)?;
            }
            Ok(())
        })?;
    }
    crew.finish(at)?;
    ensure(steps.iter().all(|step| step.load(Relaxed) == 3), || "a thread ended before its third turn".into())
}
