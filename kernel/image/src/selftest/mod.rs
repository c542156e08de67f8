//! What the core promises, checked on the machine it runs on.
//!
//! Every check is bounded in time: threads and events are waited for with a limit, and a limit that passes is a failure
//! with a sentence, not a hang.

pub mod crew;
mod devices;
mod dpcs;
mod level;
mod locks;
mod memory;
pub mod nesting;
mod threads;
mod timers;
mod work;

use alloc::string::String;
use framework::Pnp;
use ke::{At, Passive};

/// How long anything may take: the machine may be a slow emulation on a loaded host.
pub const LIMIT: u64 = 40 * SECOND;
pub const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// Why a check failed.
type Outcome = Result<(), String>;

struct Check {
    name: &'static str,
    run: fn(&Pnp, &mut At<'_, Passive>) -> Outcome,
}

const CHECKS: &[Check] = &[
    Check { name: "a thread runs on each CPU that it is bound to", run: |_, at| threads::bound(at) },
    Check { name: "a thread that is pushed off its CPU goes on on each other one", run: |_, at| threads::migrates(at) },
    Check { name: "threads that are woken together take all CPUs", run: |_, at| threads::spread(at) },
    Check { name: "a better thread preempts a worse one", run: |_, at| threads::preemption(at) },
    Check { name: "equal threads take turns on one CPU", run: |_, at| threads::turns(at) },
    Check { name: "flushing waits for the DPCs of every CPU", run: |_, at| dpcs::barrier(at) },
    Check { name: "a timer does not expire before its time", run: |_, at| timers::not_early(at) },
    Check { name: "a cancelled timer does not expire", run: |_, at| timers::cancel(at) },
    Check { name: "a wait with a time-out ends after it", run: |_, at| timers::time_out(at) },
    Check { name: "a wait lock is handed over between CPUs", run: |_, at| locks::wait_lock(at) },
    Check { name: "a spin lock excludes all CPUs", run: |_, at| locks::spin_lock(at) },
    Check { name: "an interrupt lock excludes all CPUs", run: |_, at| locks::interrupt_lock(at) },
    Check { name: "two threads on two CPUs answer each other's events", run: |_, at| locks::ping_pong(at) },
    Check { name: "a DPC's work item runs at PASSIVE", run: |_, at| work::from_a_dpc(at) },
    Check { name: "the worker pool grows when its workers wait", run: |_, at| work::pool_grows(at) },
    Check { name: "heap blocks of all sizes are apart and come back", run: |_, at| memory::heap(at) },
    Check { name: "all CPUs can use the heap at once", run: |_, at| memory::heap_on_every_cpu(at) },
    Check { name: "DMA memory obeys the device's address limit", run: |_, at| memory::dma(at) },
    Check { name: "ISRs of all classes nest within a quarter of a stack", run: |_, at| nesting::deepest(at) },
    Check { name: "a register outside its BAR cannot be had", run: devices::register_limits },
    Check { name: "a BAR above 4 GiB reads back where it was placed", run: devices::high_bar },
    Check { name: "every CPU is at IRQL 0 with CR8 0", run: |_, at| level::all_passive(at) },
];

/// Runs all checks and prints a line for each.
pub fn run(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let mut failed = 0;
    for check in CHECKS {
        let start = at.now();
        match (check.run)(pnp, at) {
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
