//! What the core promises, checked on the machine it runs on.
//!
//! Every check is bounded in time: threads and events are waited for with a limit, and a limit that passes is a failure
//! with a sentence, not a hang.

mod crew;
mod dpcs;
mod level;
mod locks;
mod memory;
mod threads;
mod timers;
mod work;

use alloc::string::String;
use ke::{At, Passive};

/// How long anything may take: the machine may be a slow emulation on a loaded host.
const LIMIT: u64 = 40 * SECOND;
const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// Why a check failed.
type Outcome = Result<(), String>;

struct Check {
    name: &'static str,
    run: fn(&mut At<'_, Passive>) -> Outcome,
}

const CHECKS: &[Check] = &[
    Check { name: "a thread runs on each CPU that it is bound to", run: threads::bound },
    Check { name: "a thread that is pushed off its CPU goes on on each other one", run: threads::migrates },
    Check { name: "threads that are woken together take all CPUs", run: threads::spread },
    Check { name: "a better thread preempts a worse one", run: threads::preemption },
    Check { name: "equal threads take turns on one CPU", run: threads::turns },
    Check { name: "a DPC runs on the CPU that it targets", run: dpcs::remote },
    Check { name: "flushing waits for the DPCs of every CPU", run: dpcs::barrier },
    Check { name: "a queued DPC is queued once and can be removed", run: dpcs::insert_and_remove },
    Check { name: "an important DPC goes first", run: dpcs::importance },
    Check { name: "a timer does not expire before its time", run: timers::not_early },
    Check { name: "a cancelled timer does not expire", run: timers::cancel },
    Check { name: "a wait with a time-out ends after it", run: timers::time_out },
    Check { name: "a wait lock is handed over between CPUs", run: locks::wait_lock },
    Check { name: "a spin lock excludes all CPUs", run: locks::spin_lock },
    Check { name: "an interrupt lock excludes all CPUs", run: locks::interrupt_lock },
    Check { name: "two threads on two CPUs answer each other's events", run: locks::ping_pong },
    Check { name: "a DPC's work item runs at PASSIVE", run: work::from_a_dpc },
    Check { name: "the worker pool grows when its workers wait", run: work::pool_grows },
    Check { name: "heap blocks of all sizes are apart and come back", run: memory::heap },
    Check { name: "all CPUs can use the heap at once", run: memory::heap_on_every_cpu },
    Check { name: "DMA memory obeys the device's address limit", run: memory::dma },
    Check { name: "every CPU is at IRQL 0 with CR8 0", run: level::all_passive },
];

/// Runs all checks and prints a line for each.
pub fn run(at: &mut At<'_, Passive>) -> Outcome {
    let mut failed = 0;
    for check in CHECKS {
        let start = at.now();
        match (check.run)(at) {
            Ok(()) => at.print(format_args!("ok {} ({} ms)\n", check.name, (at.now() - start) / MILLISECOND)),
            Err(why) => {
                failed += 1;
                at.print(format_args!("FAILED {}: {why}\n", check.name));
            }
        }
    }
    at.print(format_args!("{} passed, {failed} failed\n", CHECKS.len() - failed));
    if failed == 0 { Ok(()) } else { Err(alloc::format!("{failed} of {} checks failed", CHECKS.len())) }
}
