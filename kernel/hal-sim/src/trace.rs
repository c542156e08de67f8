//! What a schedule did, one line for each event, recorded when a failing schedule is run again.
//!
//! Objects are named by kind of use and order of appearance, never by address: the same schedule gives the same text in
//! every process and on both stack switchers.

use std::{collections::HashMap, fmt, panic::Location};

/// Of a longer trace only the beginning and the end are printed.
const SHOWN: usize = 400;
const FIRST_SHOWN: usize = 60;

/// A recorded schedule. Its `Display` is the text that a failure prints.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    lines: Vec<Line>,
}

/// One event of a [`Trace`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Virtual time in nanoseconds.
    pub now: u64,
    /// The CPU, `None` for what a device or the clock did by itself.
    pub cpu: Option<usize>,
    /// The CPU's IRQL.
    pub irql: u8,
    /// The thread, idle loop or interrupt that was running.
    pub who: String,
    /// What happened.
    pub what: String,
    /// The line of source that asked for it.
    pub location: Option<&'static Location<'static>>,
    /// Whether the schedule left its default here.
    pub deviation: bool,
    /// Inside the core or of configuration space: several such lines are printed as one.
    pub minor: bool,
}

impl Line {
    /// What happened at `now`, by itself.
    pub(crate) fn new(now: u64, who: String, what: String) -> Self {
        Line { now, cpu: None, irql: 0, who, what, location: None, deviation: false, minor: false }
    }
}

impl Trace {
    /// The events in order.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// What is printed: lines, and runs of minor ones.
    fn shown(&self) -> Vec<&[Line]> {
        let minor = |line: &Line| line.minor && !line.deviation;
        self.lines.chunk_by(|a, b| minor(a) && minor(b)).collect()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "      time cpu irql who                  what")?;
        let shown = self.shown();
        let left_out = if shown.len() > SHOWN { FIRST_SHOWN..shown.len() + FIRST_SHOWN - SHOWN } else { 0..0 };
        for (n, part) in shown.iter().enumerate() {
            if n == left_out.start && !left_out.is_empty() {
                writeln!(f, "  ... {} lines ...", left_out.len())?;
            }
            if left_out.contains(&n) {
                continue;
            }
            let [line] = part else {
                writeln!(f, "  ... {} steps of the core and of configuration space ...", part.len())?;
                continue;
            };
            let mark = if line.deviation { '*' } else { ' ' };
            let cpu = line.cpu.map_or("-".to_owned(), |cpu| cpu.to_string());
            let irql = if line.cpu.is_some() { line.irql.to_string() } else { "-".to_owned() };
            let time = format!("{}us", line.now / 1000);
            write!(f, "{mark} {time:>8} {cpu:>3} {irql:>4} {:<20} ", line.who)?;
            match line.location {
                Some(location) => writeln!(f, "{:<40}  {}:{}", line.what, location.file(), location.line())?,
                None => writeln!(f, "{}", line.what)?,
            }
        }
        Ok(())
    }
}

/// Writes a [`Trace`], or nothing when the run is not recorded.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    trace: Option<Trace>,
    objects: HashMap<usize, usize>,
    deviation: bool,
}

impl Recorder {
    pub(crate) fn new(record: bool) -> Self {
        Recorder { trace: record.then(Trace::default), ..Self::default() }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.trace.is_some()
    }

    /// Forgets what was recorded.
    pub(crate) fn start_over(&mut self) {
        *self = Recorder::new(self.is_on());
    }

    /// The next line is where the schedule left its default.
    pub(crate) fn mark_deviation(&mut self) {
        self.deviation = true;
    }

    pub(crate) fn line(&mut self, mut line: Line) {
        line.deviation = std::mem::take(&mut self.deviation);
        if let Some(trace) = &mut self.trace {
            trace.lines.push(line);
        }
    }

    /// The number of the object at `address`, from 1 in order of appearance.
    pub(crate) fn object(&mut self, address: usize) -> usize {
        let next = self.objects.len() + 1;
        *self.objects.entry(address).or_insert(next)
    }

    pub(crate) fn into_trace(self) -> Trace {
        self.trace.unwrap_or_default()
    }
}
