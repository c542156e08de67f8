//! Dirql's portable kernel core.
//!
//! What KMDF drivers expect of NT's `Ke` layer, once, for the real and for the simulated machine: IRQLs as types and
//! the token that proves them ([`At`]), locks that raise ([`SpinLock`], [`InterruptLock`]), dispatcher objects
//! ([`Event`], [`WaitLock`]), preemptive threads, per-CPU DPC queues, work items, timers, interrupt objects with
//! their dispatch, connection and teardown. A machine is whatever implements [`hal::Hal`].
//!
//! **Invariant:** no `static` with interior mutability: all state lives in one [`system::System`] that is reached
//! through the token, so many machines live in one process and nothing survives from one to the next.

#![cfg_attr(not(test), no_std)]
#![warn(missing_docs)]

extern crate alloc;

mod at;
mod barrier;
pub mod bugcheck;
mod clock;
mod core_lock;
mod cpu_set;
mod dispatch;
mod dma;
mod dpc;
mod dpc_queue;
mod drain;
pub mod entry;
mod event;
pub mod hal;
mod interrupt;
mod interrupt_lock;
mod late_dpc;
pub mod level;
mod line;
mod mmio;
mod owner;
pub mod percpu;
mod place;
mod ports;
mod raw_dpc;
mod ready_queue;
mod rundown;
mod sched;
mod spin_lock;
mod storm;
pub mod system;
pub mod thread;
mod ticket;
mod timer;
mod timer_heap;
pub mod verifier;
mod wait;
mod wait_lock;
pub mod watchdog;
mod work;
mod work_queue;

pub use at::{At, ThisCpuOnly, UpToDispatch};
pub use barrier::flush_queued_dpcs;
pub use cpu_set::CpuSet;
pub use dispatch::Head;
pub use dma::{DmaBuffer, DmaError};
pub use dpc::{Dpc, DpcRoutine};
pub use event::Event;
pub use interrupt::{
    Claim, ConnectError, Connection, Interrupt, InterruptInfo, Masked, Mode, ServiceRoutine, Source,
    connected_interrupts,
};
pub use interrupt_lock::{CeilingTooLow, InterruptGuard, InterruptLock, Nested};
pub use late_dpc::LateDpc;
pub use level::{AtMost, CanTry, Dirql, Dispatch, IsrLevel, Level, LockableFrom, MayWait, Passive, irql};
pub use line::{Line, MOST_PASSES};
pub use mmio::{MapError, Mmio, OutOfRange, Register, RegisterWidth};
pub use owner::{OwnerCell, ThreadId};
pub use place::PlaceCell;
pub use ports::{PortOutOfRange, PortRegister, PortWidth, Ports};
pub use raw_dpc::Importance;
pub use rundown::Rundown;
pub use spin_lock::{SpinGuard, SpinLock};
pub use storm::{STORM, StormCause};
pub use thread::{JoinHandle, Thread};
pub use timer::{Timer, TimerConfig, TimerRoutine};
pub use wait::{Gone, WaitError};
pub use wait_lock::{WaitGuard, WaitLock};
pub use work::{WorkItem, WorkRoutine, flush_dropped};
