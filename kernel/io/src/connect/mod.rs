//! IoConnectInterruptEx: the three forms of connecting, with NT's validation and defaults.
//!
//! - [`FullySpecified`]: everything is stated, the synchronize IRQL exactly. One interrupt alone is one such connect; several
//!   with a common lock state the highest level of the set in each.
//! - [`LineBased`]: one ISR on all the lines of a device.
//! - [`MessageBased`]: an ISR for each message of a device, and another for its lines where it has no messages.
//!
//! The latter two take all or nothing, give each interrupt a lock of its own unless one for all is given, and raise all of
//! them to one level ([`Connected::unified_irql`]): the highest of the set, or what is asked for if that is higher.
//!
//! **Invariant:** on an error nothing stays connected; only a lock that had not settled may have.

mod fully_specified;
mod several;

pub use fully_specified::{FullySpecified, Origin};
pub use several::{Connected, InterruptResource, LineBased, Locks, Make, MessageBased, Version};

use crate::Error;
use core::fmt;
use ke::{CeilingTooLow, ConnectError, CpuSet};

/// Why nothing was connected; in brackets NT's status.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// No CPU of the affinity can take the interrupt (STATUS_INVALID_PARAMETER_10).
    NoCpu {
        /// The CPUs that were allowed.
        affinity: CpuSet,
        /// The one that the resource names, if it names one that runs.
        wanted: Option<u32>,
    },
    /// The vector is in another class than the IRQL says (an assertion of NT's).
    WrongIrql {
        /// The vector.
        vector: u8,
        /// The IRQL stated.
        irql: u8,
    },
    /// The synchronize IRQL is below the IRQL, or above every device's (STATUS_INVALID_PARAMETER).
    WrongSynchronizeIrql {
        /// The IRQL.
        irql: u8,
        /// The synchronize IRQL.
        synchronize_irql: u8,
    },
    /// The lock has settled at another level than the synchronize IRQL stated: members that know different levels deadlock.
    OtherCeiling {
        /// Where the lock has settled.
        ceiling: u8,
        /// The synchronize IRQL.
        synchronize_irql: u8,
    },
    /// A passive-level interrupt has no IRQL and no synchronize IRQL but PASSIVE (STATUS_INVALID_PARAMETER).
    NotPassive {
        /// The IRQL stated.
        irql: u8,
        /// The synchronize IRQL.
        synchronize_irql: u8,
    },
    /// The device has no interrupt of the kind (STATUS_NOT_FOUND).
    NoInterrupt,
    /// Line based, and the device has messages (STATUS_INVALID_DEVICE_REQUEST).
    HasMessages {
        /// How many.
        messages: u16,
    },
    /// The lock for all has settled below the set.
    CeilingTooLow(CeilingTooLow),
    /// The core refused.
    Core(ConnectError),
    /// The device could not be told to send.
    Device(Error),
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCpu { affinity, wanted: Some(cpu) } => {
                write!(f, "the interrupt comes to CPU {cpu}, which is not in its affinity {affinity}")
            }
            Self::NoCpu { affinity, wanted: None } => write!(f, "no running CPU is in the affinity {affinity}"),
            Self::WrongIrql { vector, irql } => {
                write!(f, "vector {vector:#x} is of IRQL {}, not {irql}", vector >> 4)
            }
            Self::WrongSynchronizeIrql { irql, synchronize_irql } => {
                write!(f, "an interrupt at IRQL {irql} cannot be synchronized at IRQL {synchronize_irql}")
            }
            Self::OtherCeiling { ceiling, synchronize_irql } => {
                write!(f, "the lock is one of IRQL {ceiling}, and the synchronize IRQL stated is {synchronize_irql}")
            }
            Self::NotPassive { irql, synchronize_irql } => {
                write!(
                    f,
                    "a passive-level interrupt is at IRQL 0, not {irql}, and synchronized there, not at {synchronize_irql}"
                )
            }
            Self::NoInterrupt => f.write_str("the device has no interrupt of this kind"),
            Self::HasMessages { messages } => {
                write!(f, "the device has {messages} messages, so it cannot be connected by its lines")
            }
            Self::CeilingTooLow(error) => error.fmt(f),
            Self::Core(error) => error.fmt(f),
            Self::Device(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ConnectFailure {}

impl From<ConnectError> for ConnectFailure {
    fn from(error: ConnectError) -> Self {
        Self::Core(error)
    }
}

impl From<CeilingTooLow> for ConnectFailure {
    fn from(error: CeilingTooLow) -> Self {
        Self::CeilingTooLow(error)
    }
}

impl From<Error> for ConnectFailure {
    fn from(error: Error) -> Self {
        Self::Device(error)
    }
}
