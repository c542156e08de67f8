//! Threads of a check: each may find a fault, and all must end in time.

use super::{LIMIT, Outcome, SECOND};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use ke::{
    At, CpuSet, Event, JoinHandle, Passive, SpinLock,
    thread::{self, ThreadOptions},
};

/// Threads that run one check together.
#[derive(Default)]
pub struct Crew {
    members: Vec<JoinHandle>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    progress: SpinLock<Progress>,
    /// Set by whoever ends, so that the waiter looks again.
    one_ended: Event,
}

#[derive(Default)]
struct Progress {
    ended: usize,
    fault: Option<String>,
}

impl Crew {
    /// Starts a thread that runs `job`.
    pub fn start(
        &mut self,
        at: &mut At<'_, Passive>,
        options: ThreadOptions,
        job: impl for<'c> FnOnce(&mut At<'c, Passive>) -> Outcome + Send + 'static,
    ) -> Outcome {
        let shared = self.shared.clone();
        let member = thread::spawn(at, options, move |at| {
            let outcome = job(at);
            shared.progress.with(at, |progress, _| {
                progress.ended += 1;
                if let Err(fault) = outcome {
                    progress.fault.get_or_insert(fault);
                }
            });
            shared.one_ended.set(at);
        });
        self.members.push(member.map_err(|error| format!("{error}"))?);
        Ok(())
    }

    /// Waits for all threads; the first fault that one has found.
    pub fn finish(self, at: &mut At<'_, Passive>) -> Outcome {
        let until = at.now() + LIMIT;
        loop {
            self.shared.one_ended.clear(at);
            let (ended, fault) = self.shared.progress.with(at, |progress, _| (progress.ended, progress.fault.take()));
            if let Some(fault) = fault {
                return Err(fault);
            }
            if ended == self.members.len() {
                break;
            }
            if at.now() >= until {
                let all = self.members.len();
                return Err(format!("{ended} of {all} threads have ended after {} s", LIMIT / SECOND));
            }
            // Time-out or not, the loop looks.
            let _ = self.shared.one_ended.wait_timeout(at, until - at.now().min(until));
        }
        for member in self.members {
            member.join(at).map_err(|error| format!("{error}"))?;
        }
        Ok(())
    }
}

/// Runs `job` in a thread on each CPU, at the same time.
pub fn on_every_cpu(
    at: &mut At<'_, Passive>,
    job: impl for<'c> Fn(u32, &mut At<'c, Passive>) -> Outcome + Send + Sync + 'static,
) -> Outcome {
    let job = Arc::new(job);
    let mut crew = Crew::default();
    for cpu in 0..at.cpu_count() {
        let job = job.clone();
        crew.start(at, ThreadOptions::named("selftest").on(CpuSet::of([cpu])), move |at| job(cpu, at))?;
    }
    crew.finish(at)
}

/// Waits for `event`, or says that `what` did not come.
pub fn await_event(at: &mut At<'_, Passive>, event: &Event, what: &str) -> Outcome {
    event.wait_timeout(at, LIMIT).map_err(|_| format!("{what} did not come within {} s", LIMIT / SECOND))
}

/// Spins until `done`, or says that `what` did not happen.
pub fn spin_until(at: &At<'_, Passive>, what: &str, done: impl Fn() -> bool) -> Outcome {
    let until = at.now() + LIMIT;
    while !done() {
        if at.now() >= until {
            return Err(format!("{what} within {} s", LIMIT / SECOND));
        }
        core::hint::spin_loop();
    }
    Ok(())
}

/// An outcome from a condition.
pub fn ensure(condition: bool, otherwise: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { Err(otherwise()) }
}
