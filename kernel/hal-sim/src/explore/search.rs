//! The search through the schedules of one scenario.

use super::{Explorer, Failure, Setup, Stats, failure, say};
use crate::{
    chooser::{self, Chooser, Deviation, Random},
    fault::Fault,
    fiber::Fibers,
    machine::Outcome,
};
use std::{
    rc::Rc,
    time::{Duration, Instant},
};

/// Deviations from its priorities that a random schedule makes.
const PRIORITY_CHANGES: usize = 3;
/// What shrinking may take.
const SHRINKING_TIME: Duration = Duration::from_secs(5);

pub(super) struct Search {
    explorer: Explorer,
    setup: Rc<dyn Fn(&mut Setup)>,
    fibers: Rc<dyn Fibers>,
    deadline: Option<Instant>,
    started: Instant,
    schedules: usize,
    random: usize,
    questions: usize,
}

/// Why a part of the search ended early.
enum Stop {
    Failed(Box<Failure>),
    OutOfTime,
}

impl Search {
    pub(super) fn new(explorer: Explorer, setup: Rc<dyn Fn(&mut Setup)>) -> Self {
        let (fibers, deadline) = (explorer.fibers(), explorer.deadline());
        let started = Instant::now();
        Search { explorer, setup, fibers, deadline, started, schedules: 0, random: 0, questions: 0 }
    }

    pub(super) fn run(mut self) -> Result<Stats, Box<Failure>> {
        if let Ok(text) = std::env::var("DIRQL_REPLAY")
            && let Some(parsed) = chooser::parse_replay(&self.explorer.name, &text)
        {
            return self.replay(parsed.unwrap_or_else(|bad| panic!("{bad}")));
        }
        let complete = match self.systematic() {
            Ok(()) => true,
            Err(Stop::OutOfTime) => false,
            Err(Stop::Failed(failure)) => return Err(failure),
        };
        self.random()?;
        Ok(self.stats(complete))
    }

    fn replay(mut self, deviations: Vec<Deviation>) -> Result<Stats, Box<Failure>> {
        match failure::record(&self.explorer, &self.setup, deviations) {
            Ok(trace) => say(&format_args!("{}: the replayed schedule passes:\n{trace}", self.explorer.name)),
            Err(failure) => {
                say(&failure);
                return Err(failure);
            }
        }
        self.schedules = 1;
        Ok(self.stats(false))
    }

    fn stats(&self, complete: bool) -> Stats {
        Stats {
            name: self.explorer.name.clone(),
            schedules: self.schedules,
            bound: self.explorer.bound_in_force(),
            complete,
            random: self.random,
            seed: self.explorer.seed,
            questions: self.questions,
            elapsed: self.started.elapsed(),
        }
    }

    /// Every schedule within the bound, simplest first.
    fn systematic(&mut self) -> Result<(), Stop> {
        self.schedules += 1;
        let default = self.try_script(&[])?;
        for deviations in 1..=self.explorer.bound_in_force() {
            self.extend(&mut Vec::new(), &default, deviations)?;
        }
        Ok(())
    }

    /// Every schedule with `more` deviations after those of `script`, whose run was asked `asked`.
    fn extend(&mut self, script: &mut Vec<Deviation>, asked: &[u8], more: usize) -> Result<(), Stop> {
        let first = script.last().map_or(0, |last| last.question + 1);
        for question in first..asked.len() as u32 {
            for alternative in 1..asked[question as usize] {
                script.push(Deviation { question, alternative });
                // With more deviations to come this is a schedule that an earlier round has counted.
                self.schedules += usize::from(more == 1);
                let child = self.try_script(script)?;
                assert!(
                    child.get(..=question as usize) == asked.get(..=question as usize),
                    "{}: the scenario is not deterministic: the same choices led to other questions",
                    self.explorer.name
                );
                if more > 1 {
                    self.extend(script, &child, more - 1)?;
                }
                script.pop();
            }
        }
        Ok(())
    }

    /// What the run of `script` was asked.
    fn try_script(&mut self, script: &[Deviation]) -> Result<Vec<u8>, Stop> {
        if self.schedules > 1 && self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            self.schedules -= 1;
            return Err(Stop::OutOfTime);
        }
        let outcome = self.run_once(Chooser::script(script.to_vec()));
        self.questions = self.questions.max(outcome.log.asked.len());
        match outcome.fault {
            None => Ok(outcome.log.asked),
            Some(fault) => Err(Stop::Failed(self.report(&fault, outcome.log.taken, None))),
        }
    }

    /// Random schedules, for what lies beyond the bound. They get a quarter of the time on top.
    fn random(&mut self) -> Result<(), Box<Failure>> {
        let deadline = Instant::now().checked_add(self.explorer.limit / 4);
        let mut seeds = Random(self.explorer.seed);
        // Without a question there is one schedule, and it was run.
        let count = if self.questions == 0 { 0 } else { self.explorer.random };
        for _ in 0..count {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            let outcome = self.run_once(Chooser::random(seeds.next(), PRIORITY_CHANGES, self.questions));
            self.random += 1;
            self.questions = self.questions.max(outcome.log.asked.len());
            if let Some(fault) = outcome.fault {
                return Err(self.report(&fault, outcome.log.taken, Some(self.explorer.seed)));
            }
        }
        Ok(())
    }

    /// The simplest schedule that fails like this one, recorded.
    fn report(&mut self, fault: &Fault, deviations: Vec<Deviation>, seed: Option<u64>) -> Box<Failure> {
        let shrunk = self.shrink(fault, deviations);
        let found = failure::record(&self.explorer, &self.setup, shrunk);
        let Err(mut failure) = found else {
            panic!("{}: the scenario is not deterministic: {fault} does not come back", self.explorer.name);
        };
        failure.after = self.schedules + self.random;
        failure.seed = seed;
        failure
    }

    /// Drops deviations, large parts first, as long as the same failure stays.
    fn shrink(&mut self, fault: &Fault, mut deviations: Vec<Deviation>) -> Vec<Deviation> {
        let started = Instant::now();
        let in_time = || started.elapsed() < SHRINKING_TIME;
        let mut part = deviations.len();
        while part > 0 {
            let mut start = 0;
            let mut dropped = false;
            while start < deviations.len() && in_time() {
                let end = (start + part).min(deviations.len());
                let without = [&deviations[..start], &deviations[end..]].concat();
                let outcome = self.run_once(Chooser::script(without));
                if outcome.fault.is_some_and(|other| other.same(fault)) {
                    // What the run took: a deviation that found no question is dropped too.
                    deviations = outcome.log.taken;
                    dropped = true;
                } else {
                    start = end;
                }
            }
            // Single deviations are tried until none can go.
            if part > 1 || !dropped || !in_time() {
                part /= 2;
            }
        }
        deviations
    }

    fn run_once(&self, chooser: Chooser) -> Outcome {
        self.explorer.run_once(chooser, &*self.setup, &self.fibers, false)
    }
}
