use core::fmt;
use framework::prelude::DmaError;

/// Why a request was refused or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EduError {
    /// Another request is under way, or the device still works on one that was given up.
    Busy,
    /// The device was stopped or removed, or reads all ones.
    Gone,
    /// The device is alive but did not finish in time.
    TimedOut,
    /// The transfer does not fit the part of the device's buffer that may be used, or is too long. The device has not
    /// seen it.
    OutOfBuffer {
        /// Where in the device's buffer it would begin.
        offset: usize,
        /// Its length.
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
    /// An access outside the driver's own DMA memory.
    Memory(DmaError),
}

impl fmt::Display for EduError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EduError::Busy => f.write_str("the device is busy with another request"),
            EduError::Gone => f.write_str("the device is gone"),
            EduError::TimedOut => f.write_str("the device is alive but did not finish in time"),
            EduError::OutOfBuffer { offset, len } => {
                write!(f, "a transfer of {len} bytes at {offset} does not fit the device's buffer: refused")
            }
            EduError::NotRaisable { bits } => write!(f, "interrupt bits {bits:#x} cannot be raised by hand"),
            EduError::Different { at, sent, received } => {
                write!(f, "byte {at} was sent as {sent:#04x} and came back as {received:#04x}")
            }
            EduError::Memory(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for EduError {}

impl From<DmaError> for EduError {
    fn from(error: DmaError) -> Self {
        EduError::Memory(error)
    }
}
