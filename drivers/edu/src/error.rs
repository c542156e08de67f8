use core::fmt;
use framework::prelude::Status;

/// Why something was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EduError {
    /// The request failed.
    Request(Status),
    /// So much does not fit the part of the device's buffer that may be used. The device has not seen it.
    OutOfBuffer {
        /// How many bytes.
        len: usize,
    },
    /// These bits mean something else to the driver, or are none.
    NotRaisable {
        /// The bits.
        bits: u32,
    },
    /// What came back is not what was sent.
    Different {
        /// The first byte that differs.
        at: usize,
        /// As it was sent.
        sent: u8,
        /// As it came back.
        received: u8,
    },
}

impl fmt::Display for EduError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EduError::Request(status) => status.fmt(f),
            EduError::OutOfBuffer { len } => {
                write!(f, "a transfer of {len} bytes does not fit the device's buffer: refused")
            }
            EduError::NotRaisable { bits } => write!(f, "interrupt bits {bits:#x} cannot be raised by hand"),
            EduError::Different { at, sent, received } => {
                write!(f, "byte {at} was sent as {sent:#04x} and came back as {received:#04x}")
            }
        }
    }
}

impl core::error::Error for EduError {}

impl From<Status> for EduError {
    fn from(status: Status) -> Self {
        EduError::Request(status)
    }
}
