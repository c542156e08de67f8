//! Requests of many threads to one sequential queue, each cancelled by somebody at a random moment, or not.

use super::LIMIT;
use alloc::{format, string::String, sync::Arc, vec::Vec};
use edu::code;
use framework::{Completion, File, Pending, Pnp, Status};
use ke::{
    At, Passive, SpinLock,
    thread::{self, ThreadOptions},
};

/// Threads that submit.
const SUBMITTERS: usize = 8;
/// The factorials that they ask for, and check.
const FACTORIALS: [u32; 13] = [1, 1, 2, 6, 24, 120, 720, 5_040, 40_320, 362_880, 3_628_800, 39_916_800, 479_001_600];

/// What became of the requests.
#[derive(Debug, Default)]
struct Ends {
    completed: u64,
    cancelled: u64,
    fault: Option<String>,
}

/// What all submitters share.
struct Round {
    file: File,
    /// The request that each has under way, for others to cancel.
    under_way: [SpinLock<Option<Arc<Pending>>>; SUBMITTERS],
    ends: SpinLock<Ends>,
}

/// Submits `count` requests, and says what became of them.
pub fn run(pnp: &Pnp, count: u32, at: &mut At<'_, Passive>) -> Result<(), String> {
    let file = pnp.open("edu#0").map_err(|status| format!("edu#0: {status}"))?;
    let before = work_queue(pnp, at)?;
    let round = Arc::new(Round { file, under_way: Default::default(), ends: SpinLock::default() });
    let each = count.div_ceil(SUBMITTERS as u32);
    let mut submitters = Vec::new();
    for n in 0..SUBMITTERS {
        let round = round.clone();
        let submitter = thread::spawn(at, ThreadOptions::named("submitter"), move |at| submit(&round, n, each, at));
        submitters.push(submitter.map_err(|error| format!("{error}"))?);
    }
    for submitter in submitters {
        submitter.join(at).map_err(|error| format!("{error}"))?;
    }
    let after = work_queue(pnp, at)?;
    let ends = core::mem::take(&mut *round.ends.acquire(at));
    if let Some(fault) = ends.fault {
        return Err(fault);
    }
    let (submitted, ended) = (u64::from(each) * SUBMITTERS as u64, ends.completed + ends.cancelled);
    if ended != submitted {
        return Err(format!("{ended} of {submitted} requests ended"));
    }
    let queued = after.cancelled - before.cancelled;
    let in_flight = ends.cancelled - queued;
    let completed = ends.completed;
    at.print(format_args!(
        "STRESS requests {submitted} completed {completed} cancelled-queued {queued} cancelled-in-flight {in_flight} ok\n"
    ));
    Ok(())
}

/// How the sequential queue is doing; nothing is in it.
fn work_queue(pnp: &Pnp, at: &mut At<'_, Passive>) -> Result<framework::QueueInfo, String> {
    let handler = core::any::type_name::<edu::EduWork>();
    let row = pnp.queues(at).into_iter().find(|row| row.device == "edu#0" && row.handler == handler);
    let info = row.ok_or("edu#0 has no work queue")?.info;
    match (info.waiting, info.given) {
        (0, 0) => Ok(info),
        (waiting, given) => Err(format!("{waiting} requests wait, and the driver has {given}")),
    }
}

/// One after another, cancelling one's own or another's request now and then.
fn submit(round: &Round, me: usize, count: u32, at: &mut At<'_, Passive>) {
    let mut random = Random(0x9e37_79b9 ^ (me as u32 + 1));
    for _ in 0..count {
        let n = random.below(FACTORIALS.len());
        let pending = round.file.submit_control(at, code::FACTORIAL, &(n as u32).to_le_bytes(), 4);
        let pending = Arc::new(pending);
        *round.under_way[me].acquire(at) = Some(pending.clone());
        for _ in 0..random.below(64) {
            core::hint::spin_loop();
        }
        if random.below(2) == 0 {
            let victim = round.under_way[random.below(SUBMITTERS)].acquire(at).clone();
            if let Some(victim) = victim {
                victim.cancel(at);
            }
        }
        let waited = pending.wait_timeout(at, LIMIT);
        drop(round.under_way[me].acquire(at).take());
        let end = pending.take(at);
        let fault = round.ends.with(at, |ends, _| {
            match (waited, end) {
                (Ok(()), Some(Completion { result: Ok(4), data })) if data == FACTORIALS[n].to_le_bytes() => {
                    ends.completed += 1;
                }
                (Ok(()), Some(Completion { result: Err(Status::Cancelled), .. })) => ends.cancelled += 1,
                (waited, end) => {
                    ends.fault.get_or_insert_with(|| format!("{n}! ended as {end:?} after {waited:?}"));
                }
            }
            ends.fault.is_some()
        });
        if fault {
            return;
        }
    }
}

/// Marsaglia's xorshift.
struct Random(u32);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize % end
    }
}
