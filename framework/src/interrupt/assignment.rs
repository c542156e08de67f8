//! What the bus gave an interrupt.

use alloc::sync::Arc;
use core::mem;
use io::{Grant, Line, MessageSource, PinSwitch, Polarity, connect::InterruptResource};
use ke::{At, AtMost, Dispatch, Mode, Passive, SpinLock};

/// What an interrupt is to be connected to.
#[derive(Clone)]
pub(crate) enum Assignment {
    Message {
        block: Arc<Block>,
        /// Which vector of the block.
        nth: u16,
        source: Arc<MessageSource>,
    },
    Line {
        core: Arc<ke::Line>,
        line: Line,
        /// Whether it lets others on the line (ShareVector).
        shared: bool,
        pin: Option<Arc<PinSwitch>>,
    },
}

/// Consecutive vectors that a device has taken.
#[derive(Debug)]
pub(crate) struct Block {
    first: SpinLock<Grant>,
    pub count: u16,
}

impl Block {
    pub fn new(first: Grant, count: u16) -> Self {
        Block { first: SpinLock::new(first), count }
    }

    /// The first of them.
    pub fn first<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> Grant {
        self.first.with(at, |first, _| *first)
    }

    /// It starts at `new` from here on; where it started before.
    pub fn move_to(&self, new: Grant, at: &mut At<'_, Passive>) -> Grant {
        mem::replace(&mut *self.first.acquire(at), new)
    }
}

/// How an interrupt gets to its CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// By a message (MessageSignaled).
    Message,
    /// By a line.
    Line {
        /// The line's number (global system interrupt).
        gsi: u32,
        /// Its asserted state.
        polarity: Polarity,
        /// Whether others may be on it (ShareDisposition).
        shared: bool,
    },
}

impl Assignment {
    pub fn signal(&self) -> Signal {
        match self {
            Assignment::Message { .. } => Signal::Message,
            Assignment::Line { line, shared, .. } => {
                Signal::Line { gsi: line.gsi, polarity: line.polarity, shared: *shared }
            }
        }
    }

    pub fn mode(&self) -> Mode {
        match self {
            Assignment::Message { .. } => Mode::Latched,
            Assignment::Line { line, .. } => line.trigger.into(),
        }
    }

    /// The CPU and vector, where it is now.
    pub fn grant<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> Grant {
        match self {
            Assignment::Message { block, nth, .. } => block.first(at).nth(*nth),
            Assignment::Line { core, .. } => Grant { cpu: core.cpu(), vector: core.vector() },
        }
    }

    /// The same, where it is now, as connecting knows it.
    pub fn resource(&self, at: &mut At<'_, Passive>) -> InterruptResource {
        match self {
            Assignment::Message { source, .. } => {
                InterruptResource::Message { grant: self.grant(at), source: source.clone() }
            }
            Assignment::Line { core, shared, pin, .. } => {
                InterruptResource::Line { line: core.clone(), shared: *shared, pin: pin.clone() }
            }
        }
    }
}
