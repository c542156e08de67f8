//! Exploration: every schedule within a bound of deviations, then random ones; what fails is shrunk and can be replayed.
//!
//! Schedules are searched by their number of deviations: first the default, then every schedule that leaves it once, then
//! twice. So the first failure found is among the simplest, and a search that runs out of time has covered the simpler
//! schedules completely.

mod failure;
mod search;
mod setup;

pub use failure::Failure;
pub use setup::{Device, Setup};

use crate::{
    chooser::Chooser,
    fiber::{Fibers, baton::Batons},
    machine::{Config, Machine, Outcome},
    trace::Trace,
};
use search::Search;
use std::{
    fmt,
    io::Write,
    rc::Rc,
    time::{Duration, Instant},
};

/// Where a schedule can deviate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granularity {
    /// At the core's and the framework's calls ([`ke::hal::Point`]) and where a CPU blocks: for drivers. A driver in
    /// safe Rust commutes with everything between two such points.
    Coarse,
    /// At every `Hal` call that somebody else could notice: for the core itself.
    Fine,
}

/// How fibers switch stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switcher {
    /// Coroutines on one thread of the host. Under Miri the same as [`Self::Batons`].
    Coroutines,
    /// One thread of the host for each fiber; one at a time holds the baton. Slow, and independent of assembly.
    Batons,
}

/// Explores the schedules of a scenario. Build one, then call [`Self::run`] or [`Self::expect_failure`].
///
/// Environment variables: `DIRQL_REPLAY` (one schedule, from a failure's report), `DIRQL_SEED` (of the random schedules),
/// `DIRQL_BOUND` and `DIRQL_SECONDS` (instead of what the test says).
#[derive(Debug, Clone)]
pub struct Explorer {
    name: String,
    cpus: usize,
    bound: Option<usize>,
    granularity: Granularity,
    switcher: Switcher,
    failing_allocations: bool,
    verifier: bool,
    horizon: Duration,
    random: usize,
    seed: u64,
    limit: Duration,
}

/// What an exploration covered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The exploration's name.
    pub name: String,
    /// Different schedules run in the systematic part.
    pub schedules: usize,
    /// Most deviations that a schedule had.
    pub bound: usize,
    /// Whether every schedule within the bound was run.
    pub complete: bool,
    /// Random schedules run after that.
    pub random: usize,
    /// What made the random schedules.
    pub seed: u64,
    /// Most questions that a schedule was asked.
    pub questions: usize,
    /// How long it took.
    pub elapsed: Duration,
}

impl Stats {
    /// Schedules per second of the host.
    pub fn rate(&self) -> f64 {
        (self.schedules + self.random) as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let complete = if self.complete { "complete" } else { "INCOMPLETE (out of time)" };
        write!(
            f,
            "{}: {} schedules within {} deviations, {complete}; {} random (seed {}); up to {} choices; {:.0}/s",
            self.name,
            self.schedules,
            self.bound,
            self.random,
            self.seed,
            self.questions,
            self.rate()
        )
    }
}

impl Explorer {
    /// An exploration called `name`: one CPU, coarse granularity, at most 10 seconds.
    pub fn new(name: &str) -> Self {
        Explorer {
            name: name.to_owned(),
            cpus: 1,
            bound: None,
            granularity: Granularity::Coarse,
            switcher: Switcher::Coroutines,
            failing_allocations: false,
            verifier: true,
            horizon: Duration::from_secs(1),
            random: 200,
            seed: 1,
            limit: Duration::from_secs(10),
        }
    }

    /// The number of virtual CPUs, at least 1.
    pub fn cpus(mut self, cpus: usize) -> Self {
        assert!(cpus > 0, "a machine has at least one CPU");
        self.cpus = cpus;
        self
    }

    /// The most deviations of a schedule. By default 3 on one CPU, 2 on more.
    pub fn bound(mut self, deviations: usize) -> Self {
        self.bound = Some(deviations);
        self
    }

    /// Where schedules can deviate.
    pub fn granularity(mut self, granularity: Granularity) -> Self {
        self.granularity = granularity;
        self
    }

    /// How fibers switch stacks.
    pub fn switcher(mut self, switcher: Switcher) -> Self {
        self.switcher = switcher;
        self
    }

    /// Lets DMA and stack allocations fail, each a deviation. The scenario has to take every such error gracefully.
    pub fn failing_allocations(mut self) -> Self {
        self.failing_allocations = true;
        self
    }

    /// Without the [verifier](ke::verifier), which is on unless this says otherwise: what it finds is then left to the oracles, or
    /// to nobody.
    pub fn without_verifier(mut self) -> Self {
        self.verifier = false;
        self
    }

    /// How slow CPUs can be: a timer that is due within this time may fire before they have done another step. By default
    /// a second, so that short time-outs race with what they guard, and those of many seconds tell that something hangs.
    pub fn horizon(mut self, horizon: Duration) -> Self {
        self.horizon = horizon;
        self
    }

    /// How many random schedules follow the systematic ones.
    pub fn random(mut self, schedules: usize) -> Self {
        self.random = schedules;
        self
    }

    /// What makes the random schedules.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How long to search; what is then not covered is said to be incomplete.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Explores, prints what was covered, and panics with the report of a schedule that fails.
    #[track_caller]
    pub fn run(&self, setup: impl Fn(&mut Setup) + 'static) -> Stats {
        match self.explore(setup) {
            Ok(stats) => {
                say(&stats);
                stats
            }
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Explores a scenario that must fail: how a planted fault shows that its oracle works.
    #[track_caller]
    pub fn expect_failure(&self, setup: impl Fn(&mut Setup) + 'static) -> Failure {
        match self.explore(setup) {
            Ok(stats) => panic!("no schedule fails: {stats}"),
            Err(failure) => *failure,
        }
    }

    /// Explores: what was covered, or the failure.
    pub fn explore(&self, setup: impl Fn(&mut Setup) + 'static) -> Result<Stats, Box<Failure>> {
        Search::new(self.with_environment(), Rc::new(setup)).run()
    }

    /// Runs the default schedule alone and records it.
    pub fn record(&self, setup: impl Fn(&mut Setup) + 'static) -> Trace {
        self.run_once(Chooser::script(Vec::new()), &setup, &self.fibers(), true).trace
    }

    /// Runs one random schedule and records it.
    pub fn record_random(&self, seed: u64, setup: impl Fn(&mut Setup) + 'static) -> Trace {
        self.run_once(Chooser::random(seed, 3, 200), &setup, &self.fibers(), true).trace
    }

    fn run_once(&self, chooser: Chooser, setup: &dyn Fn(&mut Setup), fibers: &Rc<dyn Fibers>, record: bool) -> Outcome {
        let mut prepared = Setup::new();
        setup(&mut prepared);
        let (bus, main) = prepared.into_parts();
        let Explorer { cpus, granularity, failing_allocations, verifier, horizon, .. } = *self;
        let horizon = u64::try_from(horizon.as_nanos()).unwrap_or(u64::MAX);
        let config = Config { cpus, granularity, failing_allocations, verifier, horizon };
        Machine::new(config, fibers.clone(), chooser, bus, record).run(main)
    }

    fn fibers(&self) -> Rc<dyn Fibers> {
        match self.switcher {
            #[cfg(not(miri))]
            Switcher::Coroutines => Rc::new(crate::fiber::coroutine::Coroutines::default()),
            #[cfg(miri)]
            Switcher::Coroutines => Rc::new(Batons::default()),
            Switcher::Batons => Rc::new(Batons::default()),
        }
    }

    fn bound_in_force(&self) -> usize {
        self.bound.unwrap_or(if self.cpus == 1 { 3 } else { 2 })
    }

    fn with_environment(&self) -> Explorer {
        let mut explorer = self.clone();
        if let Some(seed) = number("DIRQL_SEED") {
            explorer.seed = seed;
        }
        if let Some(bound) = number("DIRQL_BOUND") {
            explorer.bound = Some(bound as usize);
        }
        if let Some(seconds) = number("DIRQL_SECONDS") {
            explorer.limit = Duration::from_secs(seconds);
        }
        explorer
    }

    fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.limit)
    }
}

/// Runs `setup`'s scenario once, on its default schedule, and panics with the trace if it fails: a plain unit test of
/// code that needs a machine.
#[track_caller]
pub fn run_once(cpus: usize, setup: impl Fn(&mut Setup) + 'static) {
    let explorer = Explorer::new("single run").cpus(cpus).bound(0).random(0);
    if let Err(failure) = explorer.explore(setup) {
        panic!("{failure}");
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, which is not a number")))
}

/// Past the test harness, which keeps what a passing test prints to itself: one schedule must look different from forty
/// thousand.
fn say(what: &dyn fmt::Display) {
    let line = format!("explored {what}\n");
    // At once, as other tests print too. Without a standard error there is nobody to tell.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
