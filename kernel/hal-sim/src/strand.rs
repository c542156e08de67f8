//! What the machine knows about each of its fibers: its thread, the callbacks that run on it, where it was last seen.

use crate::oracle::{Asserted, Levels};
use ke::hal::Point;
use std::panic::Location;

/// What the machine knows about a fiber.
pub(crate) struct Strand {
    /// Null for an idle loop. Alive as long as the strand is.
    pub(crate) thread: *const ke::Thread,
    pub(crate) ended: bool,
    /// An idle loop in `halt`: it ends by itself when the machine has died.
    pub(crate) halted: bool,
    /// The interrupts and callbacks that run on it, innermost last.
    pub(crate) frames: Vec<Frame>,
    /// Where a caller of the core last asked it for something, and what for. `None` for the core's own threads.
    pub(crate) last: LastPoint,
    /// Who asked for the register access that comes next.
    pub(crate) accessor: Option<&'static Location<'static>>,
}

/// Where somebody asked the core for something, and what for.
pub(crate) type LastPoint = Option<(Point, &'static Location<'static>)>;

/// What runs on a fiber beside its thread.
#[derive(Debug)]
pub(crate) enum Frame {
    /// An interrupt, from its delivery to its end of interrupt.
    Interrupt(u8),
    /// A driver's callback.
    Callback {
        /// "ISR", "DPC" and so on.
        what: &'static str,
        /// The address of the object whose callback it is.
        object: usize,
        /// The levels at its start.
        levels: Levels,
        /// What the devices asserted when its ISR started.
        asserted: Vec<Asserted>,
        /// Where the code that it interrupts, or the worker, was last seen.
        last: LastPoint,
    },
}

/// Whether a line of source is the core's own.
pub(crate) fn is_core(location: &Location<'_>) -> bool {
    location.file().contains("kernel/ke/src/")
}

pub(crate) fn thread_name(strand: &Strand) -> &'static str {
    if strand.thread.is_null() {
        return "idle";
    }
    // SAFETY: a strand is asked for its name only while its thread has not ended.
    unsafe { (*strand.thread).name() }
}

/// What a thread waits for, as far as it is known.
pub(crate) fn thread_and_place(strand: &Strand) -> String {
    format!("thread {} waits{}", thread_name(strand), last_point(strand.last))
}

/// Where a thread was last seen.
pub(crate) fn last_point(last: LastPoint) -> String {
    last.map_or(String::new(), |(what, at)| format!(" after {what:?} at {}:{}", at.file(), at.line()))
}
