//! The end of a machine: what kinds of fatal error the core tells apart.
//!
//! A bug check is for what cannot be returned as an error because the state is no longer trusted. On hardware it
//! prints where, at which IRQL, on which CPU, in which callback, and stops; the simulated machine fails the schedule.

/// Why the machine stops (KeBugCheckEx's code).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BugCheckKind {
    /// A Rust panic: in a thread, or in whatever callback is named beside it.
    Panic,
    /// A processor exception (NT's KMODE_EXCEPTION_NOT_HANDLED, UNEXPECTED_KERNEL_MODE_TRAP).
    Fault,
    /// A thread ran into the guard page under its stack.
    StackOverflow,
    /// A wait, or the end of a callback, at an IRQL it must not have (IRQL_NOT_LESS_OR_EQUAL): a guard was forgotten.
    IrqlNotPassive,
    /// A thread takes a wait lock that it holds already.
    RecursiveLock,
    /// No memory for what the machine cannot run without.
    OutOfMemory,
    /// An allocation above DISPATCH.
    AllocationAtDirql,
    /// An object that belongs to another machine.
    ForeignObject,
    /// A DPC that does not end, or a CPU that gives its threads no time (DPC_WATCHDOG_VIOLATION).
    DpcWatchdog,
    /// What the [verifier](crate::verifier) found (DRIVER_VERIFIER_DETECTED_VIOLATION).
    Verifier,
}

impl BugCheckKind {
    /// The name that the report prints.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Panic => "PANIC",
            Self::Fault => "FAULT",
            Self::StackOverflow => "STACK_OVERFLOW",
            Self::IrqlNotPassive => "IRQL_NOT_PASSIVE",
            Self::RecursiveLock => "RECURSIVE_LOCK",
            Self::OutOfMemory => "OUT_OF_MEMORY",
            Self::AllocationAtDirql => "ALLOCATION_AT_DIRQL",
            Self::ForeignObject => "FOREIGN_OBJECT",
            Self::DpcWatchdog => "DPC_WATCHDOG_VIOLATION",
            Self::Verifier => "VERIFIER_VIOLATION",
        }
    }
}
