//! What the plug-and-play manager tells the monitor.

use crate::{PowerState, QueueInfo, Signal, Status};
use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt;
use io::{AcpiDevice, Grant, Line, Location, PciDevice, PciIds};
use ke::{Mode, StormCause};

/// How a device is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceState {
    /// No driver of the image serves it.
    NoDriver,
    /// It works.
    Started,
    /// It was started, and sleeps.
    LowPower(PowerState),
    /// It was stopped and can be started.
    Stopped,
    /// It, or its driver, could not be started.
    Failed(Status),
    /// It was removed.
    Removed,
}

impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceState::NoDriver => f.write_str("no driver"),
            DeviceState::Started => f.write_str("started"),
            DeviceState::LowPower(state) => write!(f, "asleep in {state:?}"),
            DeviceState::Stopped => f.write_str("stopped"),
            DeviceState::Failed(status) => write!(f, "failed: {status}"),
            DeviceState::Removed => f.write_str("removed"),
        }
    }
}

/// A line of the monitor's `devices`.
#[derive(Debug, Clone)]
pub struct DeviceRow {
    /// The function: its BARs and messages.
    pub pci: Arc<PciDevice>,
    /// Where the function sits.
    pub location: Location,
    /// What it is.
    pub ids: PciIds,
    /// Its name, if a driver serves it.
    pub name: Option<String>,
    /// How it is doing.
    pub state: DeviceState,
    /// Messages or lines that the bus gives the started device, and that its driver has no interrupt object for.
    pub unused_interrupts: u16,
}

/// A device that ACPI describes, for the monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpiDeviceRow {
    /// Its path, hardware ids, ports and lines.
    pub acpi: Arc<AcpiDevice>,
    /// Its name, if a driver serves it.
    pub name: Option<String>,
    /// How it is doing.
    pub state: DeviceState,
    /// Lines that the started device has, and that its driver has no interrupt object for.
    pub unused_interrupts: u16,
}

/// An interrupt line in use, for the monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineRow {
    /// Its number, and how it signals.
    pub line: Line,
    /// The CPU and vector of all who share it.
    pub grant: Grant,
    /// Their handlers, in the order in which they are asked.
    pub members: Vec<&'static str>,
    /// Interrupts.
    pub count: u64,
    /// Those that nobody claimed.
    pub unclaimed: u64,
    /// Whether it is masked because too many were not claimed.
    pub stormed: bool,
}

/// A line of the monitor's `interrupts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterruptRow {
    /// The device's name.
    pub device: String,
    /// The driver's handler type.
    pub handler: &'static str,
    /// The number of the message or line among the device's.
    pub message: u16,
    /// Message or line; `None` while the device is stopped.
    pub signal: Option<Signal>,
    /// CPU and vector; `None` while it is not connected.
    pub grant: Option<Grant>,
    /// The IRQL of the ISR and of `synchronize`.
    pub synchronize_irql: u8,
    /// Level or latched.
    pub mode: Mode,
    /// Whether the ISR runs at PASSIVE.
    pub passive: bool,
    /// Interrupts delivered to the ISR, by CPU.
    pub counts: Vec<u64>,
    /// Those that it did not claim.
    pub unclaimed: u64,
    /// Whether it is masked now.
    pub masked: bool,
    /// Why it, or its line, was masked for good, if it was.
    pub storm: Option<StormCause>,
    /// Whether what comes reaches the ISR: connected, and not reported inactive.
    pub active: bool,
}

/// A line of the monitor's `queues`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRow {
    /// The device's name.
    pub device: String,
    /// The driver's handler type.
    pub handler: &'static str,
    /// How it is doing.
    pub info: QueueInfo,
}

/// A line of the monitor's `objects`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRow {
    /// WDF's name of the kind.
    pub kind: &'static str,
    /// The handler's type, or whose they are.
    pub of: &'static str,
    /// How many there are.
    pub count: usize,
    /// Their memory that devices can write.
    pub bytes: usize,
}
