//! Where a line interrupt comes from: an input of an interrupt controller, programmed here, masked by the core.

use crate::{Grant, Line, Trigger};
use alloc::sync::Arc;
use core::fmt;
use ke::{At, Dirql, Mode, Passive, Source};

/// The controllers that turn lines into vectors: a PC's I/O APICs.
pub trait LineController: Send + Sync {
    /// Points `line` at `grant`'s vector and CPU and leaves it masked. A line that is moved was masked, and the barrier
    /// passed on its old CPU. PASSIVE.
    fn program(&self, at: &mut At<'_, Passive>, line: Line, grant: Grant) -> Result<(), LineError>;

    /// Masks or unmasks the line `gsi`, read back so that nothing leaves it after it was masked. `false`: it did not take.
    /// Any IRQL.
    fn set_masked(&self, at: &mut At<'_, Dirql>, gsi: u32, masked: bool) -> bool;

    /// What the controller says about the line `gsi`. Any IRQL.
    fn state(&self, gsi: u32) -> Result<LineState, LineError>;
}

/// An input of a controller, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineState {
    /// The vector that it raises.
    pub vector: u8,
    /// Level or edge.
    pub trigger: Trigger,
    /// Whether it delivers nothing.
    pub masked: bool,
    /// A level interrupt was delivered, and its end has not been signalled (remote IRR).
    pub in_service: bool,
}

/// Why a line cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineError {
    /// No controller has it.
    NoSuchLine(u32),
    /// The controller cannot send it to that CPU.
    Unreachable {
        /// The line.
        gsi: u32,
        /// The CPU.
        cpu: u32,
    },
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::NoSuchLine(gsi) => write!(f, "no interrupt controller has line {gsi}"),
            LineError::Unreachable { gsi, cpu } => {
                write!(f, "line {gsi} cannot be sent to CPU {cpu}: its APIC id has more than 8 bits")
            }
        }
    }
}

impl core::error::Error for LineError {}

impl From<Trigger> for Mode {
    fn from(trigger: Trigger) -> Self {
        match trigger {
            Trigger::Level => Mode::LevelSensitive,
            Trigger::Edge => Mode::Latched,
        }
    }
}

/// A line as the source of interrupts, whoever shares it.
pub struct LineSource {
    controller: Arc<dyn LineController>,
    line: Line,
}

impl LineSource {
    /// Programs `line` to raise `grant`, masked. PASSIVE.
    pub fn program(
        at: &mut At<'_, Passive>,
        controller: &Arc<dyn LineController>,
        line: Line,
        grant: Grant,
    ) -> Result<Self, LineError> {
        controller.program(at, line, grant)?;
        Ok(LineSource { controller: controller.clone(), line })
    }

    /// Points the line at another vector, while the core holds it masked to move it. PASSIVE.
    pub fn reprogram(&self, at: &mut At<'_, Passive>, grant: Grant) -> Result<(), LineError> {
        self.controller.program(at, self.line, grant)
    }

    /// The line.
    pub fn line(&self) -> Line {
        self.line
    }
}

impl Source for LineSource {
    fn mask(&self, at: &mut At<'_, Dirql>) -> bool {
        self.controller.set_masked(at, self.line.gsi, true)
    }

    fn unmask(&self, at: &mut At<'_, Dirql>) {
        // It does not take where `mask` did not either: there is nothing to undo then.
        let _taken = self.controller.set_masked(at, self.line.gsi, false);
    }
}

impl fmt::Debug for LineSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line.gsi)
    }
}
