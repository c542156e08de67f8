//! What the bus gave an interrupt.

use alloc::sync::Arc;
use io::{Grant, Line, MessageSource, PinSwitch, Polarity};
use ke::{At, Passive};

/// What an interrupt is to be connected to.
#[derive(Clone)]
pub(crate) enum Assignment {
    Message {
        grant: Grant,
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

    /// Lets the device signal: the interrupt is connected.
    pub fn switch_on(&self, at: &mut At<'_, Passive>) -> Result<(), io::Error> {
        match self {
            Assignment::Message { source, .. } => source.switch_on(at),
            Assignment::Line { pin: Some(pin), .. } => pin.switch_on(at),
            Assignment::Line { pin: None, .. } => Ok(()),
        }
    }

    /// Undoes [`Self::switch_on`]: it is about to be disconnected.
    pub fn switch_off(&self, at: &mut At<'_, Passive>) -> Result<(), io::Error> {
        match self {
            Assignment::Message { source, .. } => source.switch_off(at),
            Assignment::Line { pin: Some(pin), .. } => pin.switch_off(at),
            Assignment::Line { pin: None, .. } => Ok(()),
        }
    }
}
