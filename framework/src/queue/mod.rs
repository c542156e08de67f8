//! I/O queues (WDFQUEUE): where a device's requests wait, and when its driver gets them.
//!
//! A queue gives its requests to the callbacks of its handler ([`EvtIo`]): one at a time, so many at a time, or when the driver
//! asks ([`QueueBuilder`]). It stops doing so while the device sleeps, unless it is told otherwise. A request that waits is
//! cancelled by the queue; one that the driver has, by [`EvtIo::evt_cancel`].
//!
//! **Invariant:** a request is in one place: it waits in one queue, or the driver has it and one queue counts it as given.
//!
//! **Invariant:** who delivers notes that it does, under the queue's lock, and looks for more under the same lock before it
//! notes that it no longer does. So a queue whose work is left to somebody else is never left with work.

mod builder;
mod deliver;
mod handle;
mod handler;
mod life;
mod object;
mod state;

pub use builder::QueueBuilder;
pub(crate) use builder::Routes;
pub use handle::{IoQueue, Refusal};
pub use handler::{EvtIo, EvtSerializedIo};
pub(crate) use life::AnyIoQueue;
pub(crate) use object::AnyQueue;
pub use state::{Dispatching, QueueInfo};
