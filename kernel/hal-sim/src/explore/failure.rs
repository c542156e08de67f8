//! A schedule that fails: what, how, and the string that brings it back.

use super::{Explorer, Setup};
use crate::{
    chooser::{self, Chooser, Deviation},
    fault::{Fault, FaultKind},
    trace::Trace,
};
use std::{fmt, rc::Rc};

/// A longer replay string says that shrinking ran out of time; it would flood the terminal.
const LONGEST_PRINTED: usize = 2_000;

/// The simplest failing schedule found, recorded.
pub struct Failure {
    pub(super) explorer: Explorer,
    pub(super) setup: Rc<dyn Fn(&mut Setup)>,
    pub(super) fault: Fault,
    pub(super) deviations: Vec<Deviation>,
    pub(super) trace: Trace,
    /// How many schedules were run until it was found.
    pub(super) after: usize,
    /// The seed, if a random schedule found it.
    pub(super) seed: Option<u64>,
}

impl Failure {
    /// Which oracle it failed.
    pub fn kind(&self) -> FaultKind {
        self.fault.kind
    }

    /// What is wrong, in a sentence.
    pub fn message(&self) -> &str {
        &self.fault.message
    }

    /// What happened, line by line.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// How often the schedule leaves the default.
    pub fn deviations(&self) -> usize {
        self.deviations.len()
    }

    /// The schedule as one string, for `DIRQL_REPLAY`.
    pub fn replay_string(&self) -> String {
        chooser::replay_string(&self.explorer.name, &self.deviations)
    }

    /// Runs the schedule of [`Self::replay_string`] again: the failure of that run.
    ///
    /// # Panics
    /// If it does not fail, or not in the same way.
    #[track_caller]
    pub fn replay(&self) -> Box<Failure> {
        let text = self.replay_string();
        let parsed = chooser::parse_replay(&self.explorer.name, &text).expect("the string names this exploration");
        let deviations = parsed.expect("the string was made by `replay_string`");
        let again = record(&self.explorer, &self.setup, deviations);
        let again = again.err().unwrap_or_else(|| panic!("{text} does not fail when it is replayed"));
        assert!(again.fault.same(&self.fault), "{text} fails otherwise when it is replayed: {}", again.fault);
        again
    }
}

/// Runs one schedule, recorded: its trace, or its failure.
pub(super) fn record(
    explorer: &Explorer,
    setup: &Rc<dyn Fn(&mut Setup)>,
    deviations: Vec<Deviation>,
) -> Result<Trace, Box<Failure>> {
    let outcome = explorer.run_once(Chooser::script(deviations), &**setup, &explorer.fibers(), true);
    let (explorer, setup) = (explorer.clone(), setup.clone());
    let (deviations, trace) = (outcome.log.taken, outcome.trace);
    match outcome.fault {
        None => Ok(trace),
        Some(fault) => Err(Box::new(Failure { explorer, setup, fault, deviations, trace, after: 1, seed: None })),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.explorer.name;
        writeln!(f, "{name}: schedule {} fails: {}", self.after, self.fault)?;
        if let Some(seed) = self.seed {
            writeln!(f, "a random schedule found it, of seed {seed}")?;
        }
        writeln!(f, "the schedule (* = left its default):\n{}", self.trace)?;
        match self.replay_string() {
            string if string.len() <= LONGEST_PRINTED => write!(f, "replay: DIRQL_REPLAY='{string}' cargo test"),
            _ => write!(f, "{} deviations are too many to print: search again, with the same seed", self.deviations()),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
