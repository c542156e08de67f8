//! The one source of nondeterminism: every answer that could go either way is asked for here.
//!
//! A question offers alternatives; the first is the default, any other is a *deviation*. A run is determined by its
//! deviations alone, so a schedule is written as the few questions at which it left the default: its replay string.
//!
//! **Invariant:** the same deviations give the same questions, hence the same run.

use std::fmt;

/// A question at which a schedule leaves the default, and what it takes instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deviation {
    pub(crate) question: u32,
    pub(crate) alternative: u8,
}

/// Who would act if an alternative were taken: what random priorities are given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Actor {
    Cpu(usize),
    Device(usize),
    Message,
    Clock,
    /// An outcome, such as an allocation that fails. Not an actor: a coin decides.
    Outcome,
}

/// Answers the questions of one run and remembers what was asked.
pub(crate) struct Chooser {
    mode: Mode,
    /// How many alternatives each question had.
    asked: Vec<u8>,
    taken: Vec<Deviation>,
}

enum Mode {
    Script { deviations: Vec<Deviation>, next: usize },
    Random(Priorities),
}

impl Chooser {
    /// Takes `deviations`, in the order of their questions, and the default everywhere else.
    pub(crate) fn script(deviations: Vec<Deviation>) -> Self {
        Chooser { mode: Mode::Script { deviations, next: 0 }, asked: Vec::new(), taken: Vec::new() }
    }

    /// Probabilistic concurrency testing: the alternative of the actor with the highest random priority, lowered at
    /// `changes` random questions among the first `length`.
    pub(crate) fn random(seed: u64, changes: usize, length: usize) -> Self {
        let mode = Mode::Random(Priorities::new(seed, changes, length));
        Chooser { mode, asked: Vec::new(), taken: Vec::new() }
    }

    /// The index of the alternative to take, out of `count`. A single alternative is no question.
    pub(crate) fn choose(&mut self, count: usize, actor: impl Fn(usize) -> Actor) -> usize {
        if count < 2 {
            return 0;
        }
        let question = self.asked.len() as u32;
        self.asked.push(u8::try_from(count).unwrap_or(u8::MAX));
        let chosen = match &mut self.mode {
            Mode::Script { deviations, next } => match deviations.get(*next) {
                Some(deviation) if deviation.question == question => {
                    *next += 1;
                    // A shrunk schedule may meet another question here than the one it was recorded at.
                    if usize::from(deviation.alternative) < count { usize::from(deviation.alternative) } else { 0 }
                }
                _ => 0,
            },
            Mode::Random(priorities) => {
                let alternatives: Vec<Actor> = (0..count).map(actor).collect();
                priorities.choose(question, &alternatives)
            }
        };
        if chosen != 0 {
            self.taken.push(Deviation { question, alternative: chosen as u8 });
        }
        chosen
    }

    /// How many alternatives each question had, and where the run left the default.
    pub(crate) fn into_log(self) -> Log {
        Log { asked: self.asked, taken: self.taken }
    }
}

/// What a finished run was asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) asked: Vec<u8>,
    pub(crate) taken: Vec<Deviation>,
}

/// One in how many questions lets a clock fire.
const CLOCK_ODDS: usize = 16;

struct Priorities {
    random: Random,
    actors: Vec<(Actor, i64)>,
    change_points: Vec<u32>,
    lowest: i64,
}

impl Priorities {
    fn new(seed: u64, changes: usize, length: usize) -> Self {
        let mut random = Random(seed);
        let change_points = (0..changes).map(|_| random.below(length.max(1)) as u32).collect();
        Priorities { random, actors: Vec::new(), change_points, lowest: 0 }
    }

    fn priority(&mut self, actor: Actor) -> i64 {
        if let Some(&(_, priority)) = self.actors.iter().find(|(known, _)| *known == actor) {
            return priority;
        }
        let priority = self.draw();
        self.actors.push((actor, priority));
        priority
    }

    fn draw(&mut self) -> i64 {
        1 + (self.random.next() >> 2) as i64
    }

    fn set(&mut self, actor: Actor, to: i64) {
        for (known, priority) in &mut self.actors {
            if *known == actor {
                *priority = to;
            }
        }
    }

    fn choose(&mut self, question: u32, alternatives: &[Actor]) -> usize {
        if alternatives.contains(&Actor::Outcome) {
            return if self.random.below(8) == 0 { 1 + self.random.below(alternatives.len() - 1) } else { 0 };
        }
        let best = self.best(alternatives);
        let change = self.change_points.contains(&question);
        if !change {
            // Devices and clocks do one thing at a time and then are not ahead of everybody again.
            if !matches!(alternatives[best], Actor::Cpu(_)) {
                let priority = self.draw();
                self.set(alternatives[best], priority);
            }
            return best;
        }
        self.lowest -= 1;
        self.set(alternatives[best], self.lowest);
        self.best(alternatives)
    }

    fn best(&mut self, alternatives: &[Actor]) -> usize {
        // A clock is armed again and again: with a priority it would fire for ever at the cost of all else.
        let clock_may = self.random.below(CLOCK_ODDS) == 0;
        let mut best = 0;
        for (index, &actor) in alternatives.iter().enumerate() {
            let may = actor != Actor::Clock || clock_may || index == 0;
            if may && self.priority(actor) > self.priority(alternatives[best]) {
                best = index;
            }
        }
        best
    }
}

/// SplitMix64: small, seedable, and the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// A replay string: `name:question.alternative-question.alternative`. The name keeps one string from steering every
/// test of a run.
pub(crate) fn replay_string(name: &str, deviations: &[Deviation]) -> String {
    struct List<'a>(&'a [Deviation]);
    impl fmt::Display for List<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            for (n, deviation) in self.0.iter().enumerate() {
                let separator = if n == 0 { "" } else { "-" };
                write!(f, "{separator}{}.{}", deviation.question, deviation.alternative)?;
            }
            Ok(())
        }
    }
    format!("{}:{}", name.replace(char::is_whitespace, "_"), List(deviations))
}

/// The deviations of a replay string of the exploration `name`; `None` for another's.
pub(crate) fn parse_replay(name: &str, text: &str) -> Option<Result<Vec<Deviation>, BadReplay>> {
    let (of, list) = text.rsplit_once(':')?;
    if of != name.replace(char::is_whitespace, "_") {
        return None;
    }
    let parse = |item: &str| {
        let (question, alternative) = item.split_once('.')?;
        Some(Deviation { question: question.parse().ok()?, alternative: alternative.parse().ok()? })
    };
    let items = list.split('-').filter(|item| !item.is_empty());
    Some(items.map(|item| parse(item).ok_or_else(|| BadReplay(item.to_owned()))).collect())
}

/// A part of a replay string that is not `question.alternative`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadReplay(pub(crate) String);

impl fmt::Display for BadReplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` in a replay string is not of the form question.alternative", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_deviates_where_it_says_and_nowhere_else() {
        let script = vec![Deviation { question: 1, alternative: 1 }];
        let mut chooser = Chooser::script(script.clone());
        assert_eq!([0, 1, 0].map(|_| chooser.choose(2, Actor::Cpu)), [0, 1, 0]);
        assert_eq!(chooser.choose(1, Actor::Cpu), 0);
        let log = chooser.into_log();
        assert_eq!((log.asked, log.taken), (vec![2, 2, 2], script));
    }

    #[test]
    fn the_same_seed_gives_the_same_answers() {
        let run = |seed| {
            let mut chooser = Chooser::random(seed, 3, 50);
            (0..50).map(|_| chooser.choose(2, Actor::Cpu)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert!((0..20).any(|seed| run(seed) != run(7)));
    }

    #[test]
    fn a_replay_string_comes_back_as_its_deviations() {
        let deviations = vec![Deviation { question: 4, alternative: 2 }, Deviation { question: 19, alternative: 1 }];
        let text = replay_string("edu factorial", &deviations);
        assert_eq!(text, "edu_factorial:4.2-19.1");
        assert_eq!(parse_replay("edu factorial", &text), Some(Ok(deviations)));
        assert_eq!(parse_replay("edu dma", &text), None);
        assert_eq!(parse_replay("a", "a:"), Some(Ok(Vec::new())));
        assert_eq!(parse_replay("a", "a:1-2.3"), Some(Err(BadReplay("1".to_owned()))));
    }
}
