//! What the oracles find: the ways in which a schedule fails.

use std::fmt;

/// Which oracle a schedule failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// Every CPU is idle, nothing is pending, and the test's main thread has not finished.
    LostWakeup,
    /// A CPU spins on a lock that nobody can release.
    Deadlock,
    /// The schedule does not end though something always runs.
    Livelock,
    /// A panic (an assertion of the test, say) or a bug check of the core.
    BugCheck,
    /// A level word or CR8 is not what it was, or not what it must be here: a guard was forgotten.
    IrqlImbalance,
    /// Code above DISPATCH allocates ([`crate::LevelCheckedAllocator`]).
    AllocationAtDirql,
    /// A device still asserts an interrupt that an ISR claimed.
    StillAsserted,
    /// A device's message or line came to a vector that no object is connected to, or a callback of an interrupt runs after
    /// teardown.
    UnexpectedInterrupt,
    /// A DPC, a work item or a timer runs more often than it was queued.
    NotQueued,
    /// A device reached memory that was freed or never allocated.
    DeviceMemory,
    /// A driver asked of a device what makes the real one fall over.
    DeviceAbort,
    /// Something is left at the end of the run: DMA memory, a connected vector, a thread.
    Leak,
    /// The core asked the machine for what no machine can do.
    Hal,
}

impl FaultKind {
    /// The kind's name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LostWakeup => "lost wake-up",
            Self::Deadlock => "deadlock",
            Self::Livelock => "livelock",
            Self::BugCheck => "bug check",
            Self::IrqlImbalance => "IRQL imbalance",
            Self::AllocationAtDirql => "allocation above DISPATCH",
            Self::StillAsserted => "interrupt still asserted",
            Self::UnexpectedInterrupt => "callback after teardown",
            Self::NotQueued => "callback that nobody queued",
            Self::DeviceMemory => "device access to memory it does not own",
            Self::DeviceAbort => "device abort",
            Self::Leak => "leak",
            Self::Hal => "impossible request",
        }
    }
}

/// How a schedule failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) message: String,
    /// The source line of a panic: what makes two bug checks the same failure.
    pub(crate) place: Option<(String, u32)>,
}

impl Fault {
    /// Whether `other` is the same failure of another schedule.
    pub(crate) fn same(&self, other: &Fault) -> bool {
        self.kind == other.kind && self.place == other.place
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.message)
    }
}
