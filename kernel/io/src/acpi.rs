//! Devices that no bus announces and ACPI describes: the serial port, the keyboard controller, the power button.
//!
//! Whoever runs AML (the HAL) fills in [`AcpiDevice`]s and answers for [`AcpiMethods`]; here they are plain data, beside
//! the PCI functions, with what a driver needs: hardware ids, ports, memory and lines.

use crate::{Line, Location, PortRange};
use alloc::{string::String, vec::Vec};
use core::{fmt, ops::Range};
use ke::{At, Passive};

/// The hardware id of the one device that is made of the FADT's register blocks and the SCI, see [`FixedBlock`]. ACPI
/// gives none to it.
pub const FIXED_HARDWARE_ID: &str = "DIRQL_ACPI";

/// Which of [`AcpiDevice::ports`] is what, in the device with [`FIXED_HARDWARE_ID`]. A block that the machine does not
/// have is there too, with no ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum FixedBlock {
    /// Status and enable bits of the fixed events: the first half of the block is the status, the second the enable
    /// register.
    Pm1aEvents,
    /// A second such block, whose bits are ORed with the first's.
    Pm1bEvents,
    /// Status and enable bits of the general purpose events from number 0 on.
    Gpe0,
    /// Those of a second block, from [`FixedHardware::gpe1_base`] on.
    Gpe1,
}

/// What a driver of the device with [`FIXED_HARDWARE_ID`] has to know beside its ports and its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedHardware {
    /// The number of the first event in [`FixedBlock::Gpe1`].
    pub gpe1_base: u8,
    /// The power button is a fixed event, not a device of its own.
    pub power_button: bool,
    /// The sleep button likewise.
    pub sleep_button: bool,
}

/// A device that ACPI describes (the PDO that ACPI.sys would make).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AcpiDevice {
    /// Its path in the ACPI namespace: `\_SB.PCI0.ISA.COM1`.
    pub name: String,
    /// Its hardware id (`_HID`): `PNP0501`.
    pub hid: String,
    /// What else it is compatible with (`_CID`), best first.
    pub cids: Vec<String>,
    /// Its ports, in the order of its `_CRS`.
    pub ports: Vec<PortRange>,
    /// Its device memory.
    pub memory: Vec<Range<u64>>,
    /// Its interrupt lines.
    pub lines: Vec<Line>,
    /// For the device with [`FIXED_HARDWARE_ID`] alone.
    pub fixed: Option<FixedHardware>,
}

impl AcpiDevice {
    /// Whether its hardware id or one of its compatible ids is `id`.
    pub fn matches(&self, id: &str) -> bool {
        self.hid == id || self.cids.iter().any(|cid| cid == id)
    }
}

/// What a method or an object of the ACPI namespace evaluates to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcpiValue {
    /// A number.
    Integer(u64),
    /// A string, or a name of another object.
    String(String),
    /// Bytes: resource descriptors, for one.
    Buffer(Vec<u8>),
    /// A list.
    Package(Vec<AcpiValue>),
    /// Nothing, or an object without a value: a device, a mutex.
    Nothing,
}

/// Why something of the ACPI namespace could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcpiError {
    /// There is no such object.
    NoSuchObject(String),
    /// The machine has no AML that could be loaded.
    NoNamespace(String),
    /// The object could not be evaluated.
    Failed {
        /// The object.
        path: String,
        /// What the interpreter said.
        why: String,
    },
    /// An earlier method failed and left the interpreter in the middle of its callers: nothing more is evaluated.
    Poisoned {
        /// The method that failed.
        by: String,
    },
    /// The object has another type than it should.
    Unexpected {
        /// The object.
        path: String,
        /// What it should be.
        wanted: &'static str,
    },
}

impl fmt::Display for AcpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcpiError::NoSuchObject(path) => write!(f, "the ACPI namespace has no {path}"),
            AcpiError::NoNamespace(why) => write!(f, "the ACPI tables have no AML that can be used: {why}"),
            AcpiError::Failed { path, why } => write!(f, "{path} could not be evaluated: {why}"),
            AcpiError::Poisoned { by } => write!(f, "no more AML is run since {by} failed in a method that it called"),
            AcpiError::Unexpected { path, wanted } => write!(f, "{path} is not {wanted}"),
        }
    }
}

impl core::error::Error for AcpiError {}

/// A general purpose event's method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpeMethod {
    /// The event.
    pub event: u8,
    /// `_Exx`: the status bit is cleared before the method runs; else `_Lxx`, after it.
    pub edge: bool,
    /// What to evaluate.
    pub path: String,
}

/// What a method told about a device while it ran (`Notify`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The path of the device, or its name in the method if the namespace has none there.
    pub device: String,
    /// What happened to it: 1 for "look whether it is there", 3 for "it shall be ejected", 0x80 for "pressed". `None`
    /// where the method computed it: look at the device.
    pub value: Option<u64>,
}

/// The methods of the ACPI namespace. One at a time runs; the others wait.
pub trait AcpiMethods: Send + Sync {
    /// Evaluates the object at the absolute `path`, a method without arguments or a name. PASSIVE.
    fn evaluate(&self, at: &mut At<'_, Passive>, path: &str) -> Result<AcpiValue, AcpiError>;

    /// Calls the method at the absolute `path` with numbers: `_EJ0` with 1. PASSIVE.
    fn call(&self, at: &mut At<'_, Passive>, path: &str, arguments: &[u64]) -> Result<AcpiValue, AcpiError>;

    /// Takes what methods have told about devices since the last time, the same thing once. PASSIVE.
    fn notifications(&self, at: &mut At<'_, Passive>) -> Vec<Notification>;

    /// The PCI function that the device at `path` is, if it is one: what a notification is about. PASSIVE.
    fn location(&self, at: &mut At<'_, Passive>, path: &str) -> Option<Location>;

    /// The path of the device at the PCI function `location`, or at another of its slot, if firmware can let it go: it has
    /// a method `_EJ0`. PASSIVE.
    fn ejectable(&self, at: &mut At<'_, Passive>, location: Location) -> Option<String>;

    /// The methods of general purpose events (`\_GPE._Lxx`, `_Exx`), by event; those that can be run. PASSIVE.
    fn gpe_methods(&self, at: &mut At<'_, Passive>) -> Vec<GpeMethod>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_device_is_what_its_hardware_id_or_a_compatible_id_says() {
        let device =
            AcpiDevice { hid: "PNP0303".into(), cids: ["PNP030B".to_string()].into(), ..AcpiDevice::default() };
        assert!(device.matches("PNP0303") && device.matches("PNP030B"));
        assert!(!device.matches("PNP0F13"));
    }
}
