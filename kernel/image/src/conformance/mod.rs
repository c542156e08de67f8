//! `conformance`: the conformance cases that hardware can show, on the hardware.
//!
//! Each case is a function named by its number. Interrupts without a device are raised by the program itself, as
//! interprocessor interrupts at vectors of the class that the case wants; lines need a real device, an `edu` that the
//! [`probe`] drives. Everything is bounded in time: what does not come is a failure with a sentence.

mod critical_section;
mod dpcs;
mod levels;
mod life;
mod lines;
mod objects;
mod passive;
mod probe;
pub mod soft;
mod turns;

use crate::selftest::crew::Crew;
use alloc::{format, string::String};
use framework::Pnp;
use ke::{At, CpuSet, Passive, thread::ThreadOptions};
pub use probe::Probe;

/// Why a case failed.
type Outcome = Result<(), String>;

/// One case.
struct Case {
    name: &'static str,
    needs: Needs,
    run: Run,
}

/// What a machine must have for a case.
enum Needs {
    Cpus(u32),
    /// Devices of the probe that share a line.
    Devices(usize),
}

enum Run {
    /// In a thread that stays on one CPU, the last.
    OnOneCpu(fn(&mut At<'_, Passive>) -> Outcome),
    WithDevices(fn(&Pnp, &mut At<'_, Passive>) -> Outcome),
}

macro_rules! case {
    ($name:ident) => {
        crate::conformance::case!($name, cpus: 1)
    };
    ($name:ident, cpus: $cpus:expr) => {
        crate::conformance::Case {
            name: stringify!($name),
            needs: crate::conformance::Needs::Cpus($cpus),
            run: crate::conformance::Run::OnOneCpu($name),
        }
    };
    ($name:ident, devices: $devices:expr) => {
        crate::conformance::Case {
            name: stringify!($name),
            needs: crate::conformance::Needs::Devices($devices),
            run: crate::conformance::Run::WithDevices($name),
        }
    };
}
use case;

const CASES: &[&[Case]] =
    &[critical_section::CASES, dpcs::CASES, levels::CASES, passive::CASES, lines::CASES, life::CASES, objects::CASES];

/// Runs all cases that this machine can show and prints a line for each. The edu devices are the [`Probe`]'s.
pub fn run(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let (mut passed, mut failed, mut left_out) = (0, 0, 0);
    for case in CASES.iter().copied().flatten() {
        if let Some(lack) = case.needs.lack(pnp, at) {
            left_out += 1;
            at.print(format_args!("-- {}: {lack}\n", case.name));
            continue;
        }
        match case.run(pnp, at) {
            Ok(()) => {
                passed += 1;
                at.print(format_args!("ok {}\n", case.name));
            }
            Err(why) => {
                failed += 1;
                at.print(format_args!("FAILED {}: {why}\n", case.name));
            }
        }
    }
    at.print(format_args!("CONFORMANCE {passed} passed, {failed} failed, {left_out} left out\n"));
    if failed == 0 { Ok(()) } else { Err(format!("{failed} conformance cases failed")) }
}

impl Needs {
    /// What the machine lacks.
    fn lack(&self, pnp: &Pnp, at: &mut At<'_, Passive>) -> Option<String> {
        match *self {
            Needs::Cpus(cpus) => (at.cpu_count() < cpus).then(|| format!("needs {cpus} CPUs")),
            Needs::Devices(wanted) => {
                (probe::on_one_line(pnp, at) < wanted).then(|| format!("needs {wanted} edu devices on one line"))
            }
        }
    }
}

impl Case {
    fn run(&self, pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
        match self.run {
            Run::WithDevices(run) => run(pnp, at),
            Run::OnOneCpu(run) => {
                let last = CpuSet::of([at.cpu_count() - 1]);
                let mut crew = Crew::default();
                crew.start(at, ThreadOptions::named("conformance").on(last), run)?;
                crew.finish(at)
            }
        }
    }
}
