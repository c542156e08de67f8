//! Interrupt objects (WDFINTERRUPT): one trait for each callback, a handle for the driver, a context for each callback.
//!
//! The interrupt's state lives behind its lock. The ISR runs with the lock held and is handed `&mut` to the state; all
//! others go through `synchronize` or `acquire_lock`. What is not implemented cannot be queued.

mod assignment;
mod builder;
mod context;
mod handler;
mod object;

pub(crate) use assignment::Assignment;
pub use assignment::Signal;
pub use builder::{InterruptBuilder, IntoLock};
pub use context::{DpcCx, IsrCx, NotInItsOwnIsr, WorkCx};
pub use handler::{ByDpc, ByWorkItem, Deferral, EvtDpc, EvtIsr, EvtWorkItem, Nothing};
pub(crate) use object::AnyInterrupt;
pub use object::{Info, Interrupt};
