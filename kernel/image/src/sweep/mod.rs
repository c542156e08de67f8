//! The one-instruction sweep: an interrupt at every instruction of what the core must never be torn in.
//!
//! A timer's [shot] is placed at the first, the second, ... instruction of a [sequence](sequences), until it comes
//! after the end. Whatever it hits, it must lead to what it leads to exactly once, each callback at its level, at once,
//! and leave a CPU with nothing pending, level word 0 and CR8 0. Each sequence is swept with shots above and below its
//! lock's ceiling that end in a DPC, in a woken thread, in a work item, and in a passive-level ISR. What is [wrong] on
//! purpose must be caught.
//!
//! Every instruction is met only where a tick of the timer is an instruction: in QEMU with `-icount shift=0,sleep=off`.

mod msix;
mod sequences;
mod shot;
pub mod software;
mod wrong;

use alloc::{format, string::String, sync::Arc};
use edu::Edu;
use framework::{Device, Pnp};
use hal_x86_64::{X86Hal, time};
use ke::{At, Passive, Thread, hal::Hal, thread};
pub use msix::Msix;
use sequences::{CEILING, Connected, Effect, SEQUENCES, Sequence, Stand};
use shot::{Runs, Shot};
use wrong::WRONG;

/// The classes of the shots: one that a section at the ceiling holds off, one that interrupts it.
const CLASSES: [u8; 2] = [CEILING - 4, CEILING + 3];

/// How many shots after the end of a sequence are enough.
const BEYOND: u32 = 4;
/// The same for a sequence that waits: the way from there to the halted CPU is longer than the longest sequence of these.
const BEYOND_WAIT: u32 = 200;
/// A sequence that has not ended by then never does.
const MOST_POSITIONS: u32 = 100_000;
/// Ticks after which an interrupt that was due has come.
const SLACK: u64 = 5_000;

/// The command `sweep`: all sequences, or the one called `only`.
pub fn run(pnp: &Pnp, only: Option<&str>, at: &mut At<'_, Passive>) -> Result<(), String> {
    if at.cpu_count() != 1 {
        return Err("sweep needs a machine with one CPU: the timer interrupts the CPU that armed it".into());
    }
    let sweeper = thread::list(at).into_iter().find(|thread| thread.state() == thread::State::Running);
    let sweeper = sweeper.ok_or("no thread runs")?;
    let edu = pnp.devices_of::<Edu>().into_iter().next().ok_or("sweep needs an edu device")?;
    let chosen = |sequence: &&Sequence| only.is_none_or(|name| name == sequence.name);
    if !all().any(|sequence| chosen(&sequence)) {
        return Err(format!("no sequence has this name; there are {}", names()));
    }
    let stand = Stand::new(at, edu, pnp.devices_of::<Msix>().into_iter().next())?;
    // The shots are the clock's.
    ke::watchdog::stop(at);
    let mut sum = Sum::default();
    for sequence in all().filter(chosen) {
        if !stand.has_what_it_takes(sequence) {
            at.print(format_args!("-- {}: needs an e1000e with the driver `{}`\n", sequence.name, Msix::NAME));
            continue;
        }
        sweep(sequence, &stand, &sweeper, &mut sum, at)?;
    }
    stand.end(at);
    at.print(format_args!("{} sequences, {} positions, {} failed\n", sum.sequences, sum.positions, sum.failed));
    if sum.failed == 0 { Ok(()) } else { Err(format!("{} of {} positions failed", sum.failed, sum.positions)) }
}

fn all() -> impl Iterator<Item = &'static Sequence> {
    SEQUENCES.iter().chain(WRONG)
}

fn names() -> String {
    all().map(|sequence| sequence.name).collect::<alloc::vec::Vec<_>>().join(", ")
}

#[derive(Default)]
struct Sum {
    sequences: u32,
    positions: u32,
    failed: u32,
}

/// Sweeps one sequence with every kind of shot and prints its line.
fn sweep(
    sequence: &Sequence,
    stand: &Stand,
    sweeper: &Arc<Thread>,
    sum: &mut Sum,
    at: &mut At<'_, Passive>,
) -> Result<(), String> {
    let (mut positions, mut failed) = (0, 0);
    for class in CLASSES {
        for &end in sequence.ends {
            let shot = Shot::new(at, class, end, sweeper)?;
            let mut beyond = 0;
            let mut ticks = 0;
            while beyond < if sequence.waits { BEYOND_WAIT } else { BEYOND } && ticks < MOST_POSITIONS {
                ticks += 1;
                if sequence.connection == Connected::From {
                    shot.disconnect(at);
                }
                let landing = Landing::of(ticks, sequence, stand, &shot, at);
                if let Err(why) = landing.check(sequence, stand, &shot) {
                    failed += 1;
                    if failed <= 3 && !sequence.is_wrong {
                        let name = sequence.name;
                        at.print(format_args!("FAILED {name}, class {class}, {end:?}, tick {ticks}: {why}\n"));
                    }
                }
                if sequence.connection == Connected::Until {
                    shot.connect(at)?;
                }
                beyond = if landing.was_beyond { beyond + 1 } else { 0 };
            }
            positions += ticks;
            stand.rest(sequence);
            shot.end(at)?;
        }
    }
    let name = sequence.name;
    sum.sequences += 1;
    sum.positions += positions;
    if sequence.is_wrong {
        at.print(format_args!("SWEEP {name} positions {positions} caught {failed}\n"));
        sum.failed += u32::from(failed == 0);
    } else {
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        at.print(format_args!("SWEEP {name} positions {positions} {verdict}\n"));
        sum.failed += failed;
    }
    Ok(())
}

/// What was found right after a shot, before anything that could repair it.
struct Landing {
    shot: Runs,
    stand: [Runs; 3],
    pending: u32,
    level: u8,
    task_priority: u8,
    edu: u64,
    /// Interrupts that nobody was connected for.
    unexpected: u64,
    /// The shot came after the end of the sequence, or while it waited.
    was_beyond: bool,
}

impl Landing {
    /// Runs the sequence with an interrupt `ticks` after its beginning.
    fn of(ticks: u32, sequence: &Sequence, stand: &Stand, shot: &Shot, at: &mut At<'_, Passive>) -> Self {
        stand.rest(sequence);
        let edu_before = stand.edu_count(at);
        let unexpected = |at: &At<'_, Passive>| at.unexpected_interrupts(0).unwrap_or(0);
        let unexpected_before = unexpected(at);
        shot.reset(at);
        stand.reset();
        let start = time::tsc();
        shot.arm(ticks);
        (sequence.run)(stand, shot, at);
        let end = time::tsc();
        let due = start + u64::from(ticks);
        // No lock is taken, nothing is raised or lowered: that would deliver what the sequence has left behind.
        let may_not_come = sequence.connection != Connected::Throughout;
        while (shot.runs().isrs == 0 || may_not_come) && time::tsc() < due + SLACK {
            core::hint::spin_loop();
        }
        let mut landing = Landing {
            shot: shot.runs(),
            stand: stand.runs(),
            pending: X86Hal.pending(),
            level: X86Hal.level(),
            task_priority: X86Hal.task_priority(),
            edu: 0,
            unexpected: unexpected(at) - unexpected_before,
            was_beyond: if sequence.waits { shot.met_waiting() } else { end < due },
        };
        shot.disarm();
        if sequence.is_wrong {
            // What follows lowers, and so delivers what was left behind, if CR8 lets it.
            X86Hal.set_task_priority(0);
        }
        landing.edu = stand.edu_count(at) - edu_before;
        landing
    }

    fn check(&self, sequence: &Sequence, stand: &Stand, shot: &Shot) -> Result<(), String> {
        let Landing { pending, level, task_priority, .. } = self;
        if (*pending, *level, *task_priority) != (0, 0, 0) {
            return Err(format!("it ends with pending {pending:#x}, level word {level}, CR8 {task_priority}"));
        }
        let expected = shot.expected();
        let is_right = match sequence.connection {
            Connected::Throughout => self.shot == expected,
            Connected::Until => self.shot.is_part_of(expected),
            Connected::From if self.unexpected == 0 => self.shot == expected,
            Connected::From => self.shot == Runs::default() && self.unexpected == 1,
        };
        if !is_right {
            return Err(format!("the shot led to {:?}, {} unexpected", self.shot, self.unexpected));
        }
        if self.stand != Stand::expected(sequence) {
            return Err(format!("the sequence led to {:?}", self.stand));
        }
        let edu = u64::from(sequence.leads_to.contains(&Effect::Edu));
        if self.edu != edu {
            return Err(format!("edu's ISR ran {} times", self.edu));
        }
        if shot.runs() != self.shot || stand.runs() != self.stand {
            return Err("a callback ran later".into());
        }
        Ok(())
    }
}
