//! Why a callback or a call failed.

use crate::{PowerState, RequestKind};
use core::fmt;
use io::{LineError, connect::ConnectFailure};
use ke::{CeilingTooLow, ConnectError, DmaError, Gone, Nested, OutOfRange, PortOutOfRange, StormCause, WaitError};

/// Why a call failed, with the facts in it. Small errors of single calls convert into it with `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// The bus refused, or the device is not what it says.
    Bus(io::Error),
    /// A register of the block is not inside the BAR.
    Register(OutOfRange),
    /// A port register of the block is not inside the range.
    Port(PortOutOfRange),
    /// The device has no such BAR, port range or the like.
    NoSuchResource {
        /// What was asked for.
        what: &'static str,
        /// Its number, from 0.
        number: u16,
    },
    /// No DMA memory, or an access outside the buffer.
    Dma(DmaError),
    /// An interrupt was created that the bus has no message or line for.
    NoInterruptLeft {
        /// The message or line wanted, counted from 0.
        created: u16,
        /// How many the bus assigned.
        assigned: u16,
    },
    /// The line cannot be used.
    Line(LineError),
    /// The line is in use, and signals in another way than this device's firmware says.
    LineDiffers {
        /// As this device has it.
        wanted: io::Line,
        /// As it is in use.
        there: io::Line,
    },
    /// No vector is free.
    NoVector(io::NoVector),
    /// The messages of an MSI function are consecutive vectors: one of several cannot move alone.
    OneBlock {
        /// How many there are.
        messages: u16,
    },
    /// An interrupt lock's ceiling was settled below what this interrupt needs.
    CeilingTooLow(CeilingTooLow),
    /// An interrupt of the device was masked for good, or the device cut off, because of a storm.
    Storm {
        /// The interrupt's message or line.
        number: u16,
        /// What made it a storm.
        cause: StormCause,
    },
    /// A callback of the interrupt, or code that holds its lock, asked for what waits for that to end.
    OwnCallback,
    /// The interrupt could not be connected.
    Connect(ConnectError),
    /// The interrupt could not be connected as it was stated.
    NotConnectable(ConnectFailure),
    /// A nested synchronize would not have gone up.
    Nested(Nested),
    /// The wait took too long (STATUS_TIMEOUT).
    TimedOut,
    /// The device was stopped or removed, or answers all ones (STATUS_DEVICE_REMOVED).
    Gone,
    /// The device is not started, or sleeps (STATUS_DEVICE_NOT_READY).
    NotStarted,
    /// A device cannot be put to sleep in this state: it is none of D1, D2 and D3.
    NotALowPowerState(PowerState),
    /// The device is started already, or was removed: it cannot be started.
    CannotStart,
    /// No device has this name.
    NoSuchDevice,
    /// The device takes no requests of this kind (STATUS_INVALID_DEVICE_REQUEST).
    NoQueue {
        /// The kind.
        kind: RequestKind,
    },
    /// Another queue of the device takes the requests that this one was to take.
    QueueTaken {
        /// Which; `None`: it is the default queue.
        kind: Option<RequestKind>,
    },
    /// The driver does not serve such a request (STATUS_INVALID_DEVICE_REQUEST).
    InvalidRequest,
    /// The request was cancelled (STATUS_CANCELLED).
    Cancelled,
    /// The driver dropped the request instead of completing it.
    Abandoned,
    /// The queue was drained or purged, and takes no requests until it is started (STATUS_INVALID_DEVICE_STATE).
    NotAccepting,
    /// The device is busy with something else (STATUS_DEVICE_BUSY).
    Busy,
    /// There is more to give than the request has room for (STATUS_BUFFER_TOO_SMALL).
    BufferTooSmall {
        /// Bytes to give.
        need: usize,
        /// Bytes of room.
        have: usize,
    },
    /// A driver has neither completed nor kept its requests although its device is to stop working.
    RequestsKept {
        /// The handler of the queue that they came from.
        handler: &'static str,
        /// How many they are.
        count: usize,
    },
    /// The driver refuses, in its own words.
    Failed(&'static str),
}

/// What callbacks return.
pub type Result<T, E = Status> = core::result::Result<T, E>;

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Bus(error) => error.fmt(f),
            Status::Register(error) => error.fmt(f),
            Status::Port(error) => error.fmt(f),
            Status::NoSuchResource { what, number } => write!(f, "the device has no {what} {number}"),
            Status::Dma(error) => error.fmt(f),
            Status::NoInterruptLeft { created, assigned } => {
                write!(f, "the driver wants interrupt {created}, counted from 0, but the bus assigned {assigned}")
            }
            Status::Line(error) => error.fmt(f),
            Status::LineDiffers { wanted, there } => {
                write!(f, "the device's line is {wanted}, but others use it as {there}")
            }
            Status::NoVector(error) => error.fmt(f),
            Status::OneBlock { messages } => {
                write!(f, "the {messages} messages of the device move together or not at all")
            }
            Status::CeilingTooLow(error) => error.fmt(f),
            Status::Storm { number, cause } => write!(f, "interrupt {number} was masked for good: {cause}"),
            Status::OwnCallback => {
                f.write_str("this waits for the interrupt's callbacks, so it cannot be asked for in one of them")
            }
            Status::Connect(error) => error.fmt(f),
            Status::NotConnectable(failure) => failure.fmt(f),
            Status::Nested(error) => error.fmt(f),
            Status::TimedOut => f.write_str("the device did not answer in time"),
            Status::Gone => f.write_str("the device is gone or was stopped"),
            Status::NotStarted => f.write_str("the device is not started, or sleeps"),
            Status::NotALowPowerState(state) => write!(f, "a device does not sleep in {state:?}, but in D1, D2 or D3"),
            Status::CannotStart => f.write_str("the device is started already or was removed"),
            Status::NoSuchDevice => f.write_str("no device has this name"),
            Status::NoQueue { kind } => write!(f, "the device takes no {kind} requests"),
            Status::QueueTaken { kind: Some(kind) } => write!(f, "another queue takes the device's {kind} requests"),
            Status::QueueTaken { kind: None } => f.write_str("the device has a default queue already"),
            Status::InvalidRequest => f.write_str("the device does not serve such a request"),
            Status::Cancelled => f.write_str("the request was cancelled"),
            Status::Abandoned => f.write_str("the driver dropped the request instead of completing it"),
            Status::NotAccepting => f.write_str("the device's queue was drained or purged, and takes no requests"),
            Status::Busy => f.write_str("the device is busy"),
            Status::BufferTooSmall { need, have } => write!(f, "{need} bytes do not fit into the request's {have}"),
            Status::RequestsKept { handler, count } => {
                write!(f, "{handler} still had {count} requests when its device was to stop working")
            }
            Status::Failed(why) => f.write_str(why),
        }
    }
}

impl core::error::Error for Status {}

macro_rules! from {
    ($($error:ty => $case:ident;)*) => {$(
        impl From<$error> for Status {
            fn from(error: $error) -> Self {
                Status::$case(error)
            }
        }
    )*};
}
from! {
    io::Error => Bus;
    OutOfRange => Register;
    PortOutOfRange => Port;
    LineError => Line;
    DmaError => Dma;
    io::NoVector => NoVector;
    CeilingTooLow => CeilingTooLow;
    ConnectError => Connect;
    Nested => Nested;
}

impl From<ConnectFailure> for Status {
    fn from(failure: ConnectFailure) -> Self {
        match failure {
            ConnectFailure::Core(error) => Status::Connect(error),
            ConnectFailure::CeilingTooLow(error) => Status::CeilingTooLow(error),
            ConnectFailure::Device(error) => Status::Bus(error),
            other => Status::NotConnectable(other),
        }
    }
}

impl From<Gone> for Status {
    fn from(_: Gone) -> Self {
        Status::Gone
    }
}

impl From<WaitError> for Status {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::TimedOut => Status::TimedOut,
            WaitError::Gone => Status::Gone,
        }
    }
}
