//! What can be asked of a device: to read, to write, or something of its own.

use super::irp::{Irp, Request};
use core::fmt;

/// A read request (IRP_MJ_READ), as a type.
#[derive(Debug)]
pub enum Read {}
/// A write request (IRP_MJ_WRITE), as a type.
#[derive(Debug)]
pub enum Write {}
/// A device control request (IRP_MJ_DEVICE_CONTROL), as a type.
#[derive(Debug)]
pub enum Ioctl {}

/// What a request asks for (WDF_REQUEST_TYPE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// To read.
    Read,
    /// To write.
    Write,
    /// What the driver defines, by code (device control).
    Control,
}

impl fmt::Display for RequestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RequestKind::Read => "read",
            RequestKind::Write => "write",
            RequestKind::Control => "control",
        })
    }
}

/// A request whose kind is known at run time (WdfRequestGetType): from [`IoQueue::retrieve`](crate::IoQueue::retrieve).
#[derive(Debug)]
#[must_use = "a request that is dropped is completed as abandoned"]
pub enum AnyRequest {
    /// To read.
    Read(Request<Read>),
    /// To write.
    Write(Request<Write>),
    /// Device control.
    Control(Request<Ioctl>),
}

impl AnyRequest {
    pub(crate) fn of(irp: Irp) -> Self {
        match irp.kind {
            RequestKind::Read => AnyRequest::Read(Request::of(irp)),
            RequestKind::Write => AnyRequest::Write(Request::of(irp)),
            RequestKind::Control => AnyRequest::Control(Request::of(irp)),
        }
    }
}
