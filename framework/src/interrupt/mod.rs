//! Interrupt objects (WDFINTERRUPT): one trait for each callback, a handle for the driver, a context for each callback.
//!
//! The interrupt's state lives behind its lock. The ISR runs with the lock held and is handed `&mut` to the state; all
//! others go through `synchronize` or `acquire_lock`. What is not implemented cannot be queued.

mod assignment;
mod builder;
mod context;
mod handle;
mod handler;
mod info;
mod keeper;
mod moving;
mod object;
mod serialized;

pub use assignment::Signal;
pub(crate) use assignment::{Assignment, Block};
pub use builder::{InterruptBuilder, IntoLock};
pub use context::{AfterIsr, Callback, CallbackCx, DpcCx, InDpc, InIsr, InWorkItem, IsrCx, NotInItsOwnIsr, WorkCx};
pub use handle::Interrupt;
pub use handler::{ByDpc, ByWorkItem, Deferral, EvtDpc, EvtIsr, EvtWorkItem, Nothing};
pub use info::Info;
pub(crate) use keeper::AnyInterrupt;
pub(crate) use object::{Down, Target};
pub use serialized::{EvtSerializedDpc, EvtSerializedWorkItem};
