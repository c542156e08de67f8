//! Requests (WDFREQUEST): what somebody outside asks of a device, owned by the driver until it is disposed of.
//!
//! A request comes to a queue's callback by value. Whatever ends it, completing, failing, parking, forwarding, consumes it and
//! gives a [`Disposed`], which the callback must return: a request that is forgotten, or completed twice, does not compile. One
//! that is dropped inside of some data is completed as [`Status::Abandoned`](crate::Status::Abandoned) and told of.
//!
//! **Invariant:** a packet's outcome is set exactly once, by whoever owns its [`Irp`] then.

mod irp;
mod kinds;
mod packet;
mod parked;

pub(crate) use irp::Irp;
pub use irp::{Disposed, Request};
pub use kinds::{AnyRequest, Ioctl, Read, RequestKind, Write};
pub use packet::Completion;
pub(crate) use packet::Packet;
pub use parked::{Cancel, Parked, Resume, Stop, StopAction, Which};
