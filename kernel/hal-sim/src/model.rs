//! Device models: what a simulated device is and does.
//!
//! A model is plain safe Rust: it answers register accesses and says which internal steps it could take ("the factorial is
//! done"). *When* a step happens is the explorer's choice, at every point of the driver. A model raises interrupts only
//! when its own rules say so, through [`BusAccess::interrupt`] and [`BusAccess::set_line`].
//!
//! ```
//! use hal_sim::model::{Bar, BusAccess, Identity, Model, PciModel, Step};
//! /// Counts down to an interrupt.
//! #[derive(Default)]
//! struct Countdown { left: u64, status: u64 }
//! impl PciModel for Countdown {
//!     fn identity(&self) -> Identity {
//!         Identity { bars: vec![Bar::memory32(0x1000)], msi_messages: 1, ..Identity::new(0x1234, 0x0001) }
//!     }
//! }
//! impl Model for Countdown {
//!     fn read(&mut self, _bar: usize, offset: u64, _width: usize, _bus: &mut BusAccess<'_>) -> u64 {
//!         if offset == 0 { self.left } else { self.status }
//!     }
//!     fn write(&mut self, _bar: usize, offset: u64, _width: usize, value: u64, _bus: &mut BusAccess<'_>) {
//!         if offset == 0 { self.left = value } else { self.status &= !value }
//!     }
//!     fn steps(&self, steps: &mut Vec<Step>) {
//!         if self.left > 0 { steps.push(Step::soon(0, "counts down")) }
//!     }
//!     fn step(&mut self, _id: u32, bus: &mut BusAccess<'_>) {
//!         self.left -= 1;
//!         if self.left == 0 { self.status = 1; bus.interrupt(0) }
//!     }
//!     fn interrupt_status(&self) -> u64 { self.status }
//! }
//! ```

#[cfg(test)]
mod bench;
mod edu;
mod i8042;
mod ivshmem;
mod uart;

pub use edu::Edu;
pub use i8042::I8042;
pub use ivshmem::Ivshmem;
pub use uart::Uart;

use crate::{
    bus::Function,
    memory::{DmaFault, Memory},
};
use ke::hal::MsiMessage;
use std::ops::Range;

/// A device, as its registers and its own progress. Methods are called by one thread of execution at a time.
pub trait Model: Send + 'static {
    /// A register read of `width` bytes at `offset` in BAR or range of ports `bar`.
    fn read(&mut self, bar: usize, offset: u64, width: usize, bus: &mut BusAccess<'_>) -> u64;

    /// A register write of `width` bytes at `offset` in BAR or range of ports `bar`.
    fn write(&mut self, bar: usize, offset: u64, width: usize, value: u64, bus: &mut BusAccess<'_>);

    /// Adds the steps that the device could take now. The same state gives the same steps in the same order.
    fn steps(&self, steps: &mut Vec<Step>) {
        let _ = steps;
    }

    /// Takes a step that [`Self::steps`] offered.
    fn step(&mut self, id: u32, bus: &mut BusAccess<'_>) {
        let _ = (id, bus);
    }

    /// The interrupt conditions that the driver has not acknowledged, one bit each. An oracle: a bit that an ISR leaves
    /// behind though it claimed the interrupt, or that is still there when the whole machine is idle, is a failure.
    fn interrupt_status(&self) -> u64 {
        0
    }

    /// The device left the bus. From now on nothing reaches it.
    fn removed(&mut self) {}
}

/// A PCI function: see [`crate::Setup::device`].
pub trait PciModel: Model {
    /// What its configuration space says. Asked once.
    fn identity(&self) -> Identity;
}

/// A device at fixed ports, which ACPI describes: see [`crate::Setup::isa_device`].
pub trait IsaModel: Model {
    /// What ACPI says: one chip can be several devices there. Their ranges of ports and their lines are numbered through,
    /// device after device. Asked once.
    fn devices(&self) -> Vec<IsaDevice>;
}

/// What ACPI says about a device at fixed ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsaDevice {
    /// Its hardware id.
    pub hid: &'static str,
    /// Its ranges of ports.
    pub ports: Vec<Range<u16>>,
    /// Its lines.
    pub lines: Vec<io::Line>,
}

/// What a function's configuration space says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PCI vendor.
    pub vendor: u16,
    /// PCI device.
    pub device: u16,
    /// Class, subclass and programming interface, in 24 bits.
    pub class: u32,
    /// Revision.
    pub revision: u8,
    /// BARs in order; a 64-bit one takes two slots of the header.
    pub bars: Vec<Bar>,
    /// Messages of the MSI capability: 0 for no capability, else a power of two up to 32.
    pub msi_messages: u8,
    /// The MSI-X capability.
    pub msix: Option<MsiX>,
}

/// Where an MSI-X capability has its structures, which the bus keeps: the model sees no access to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsiX {
    /// How many messages.
    pub messages: u16,
    /// The BAR, by its place in [`Identity::bars`].
    pub bar: usize,
    /// Where the table begins in it.
    pub table: u64,
    /// Where the pending bits begin in it.
    pub pending: u64,
}

impl Identity {
    /// A function without BARs or interrupts.
    pub fn new(vendor: u16, device: u16) -> Self {
        Identity { vendor, device, class: 0xff_0000, revision: 0, bars: Vec::new(), msi_messages: 0, msix: None }
    }
}

/// One memory BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Bytes: a power of two, at least 16.
    pub size: u64,
    /// Placed above 4 GiB.
    pub wide: bool,
}

impl Bar {
    /// A BAR below 4 GiB.
    pub fn memory32(size: u64) -> Self {
        Bar { size, wide: false }
    }

    /// A 64-bit BAR, placed above 4 GiB.
    pub fn memory64(size: u64) -> Self {
        Bar { size, wide: true }
    }
}

/// Progress that a device can make by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The model's own number for it.
    pub id: u32,
    /// What the trace says.
    pub what: &'static str,
    /// The virtual time, in nanoseconds, that brings it; `None`: any time from now on.
    pub at: Option<u64>,
    /// The virtual time by which it has happened: no clock fires after it first. `u64::MAX`: whenever.
    pub by: u64,
    /// Whether it happens in the end. `false`: only if the explorer wants it to, like a surprise removal.
    pub certain: bool,
}

impl Step {
    /// A step that may happen at any time from now on, and will.
    pub fn soon(id: u32, what: &'static str) -> Self {
        Step { id, what, at: None, by: u64::MAX, certain: true }
    }

    /// A step that may happen at any time from now on, and will by virtual time `by`.
    pub fn before(id: u32, what: &'static str, by: u64) -> Self {
        Step { by, ..Self::soon(id, what) }
    }

    /// A step that virtual time `at` brings.
    pub fn at(id: u32, what: &'static str, at: u64) -> Self {
        Step { at: Some(at), ..Self::soon(id, what) }
    }

    /// A step that may happen at any time or never.
    pub fn perhaps(id: u32, what: &'static str) -> Self {
        Step { certain: false, ..Self::soon(id, what) }
    }
}

/// What a model can do to the rest of the machine.
pub struct BusAccess<'a> {
    pub(crate) memory: &'a mut Memory,
    pub(crate) now: u64,
    /// `None`: a device at fixed ports.
    pub(crate) function: Option<&'a mut Function>,
    pub(crate) sent: Vec<MsiMessage>,
    pub(crate) lines: Vec<(usize, bool)>,
    pub(crate) fault: Option<String>,
    pub(crate) leave: bool,
}

impl BusAccess<'_> {
    /// Virtual time in nanoseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Sends message `number`, or leaves it pending if MSI-X masks it. Nothing happens while messages are off or the
    /// function is no bus master.
    pub fn interrupt(&mut self, number: u8) {
        self.sent.extend(self.function.as_mut().and_then(|function| function.raise(number)));
    }

    /// Asserts the interrupt line, or no longer: a level until it is changed, an edge when it becomes asserted. Nothing
    /// happens unless the line leads somewhere, see [`crate::Setup::wire`].
    pub fn set_line(&mut self, asserted: bool) {
        self.set_line_of(0, asserted);
    }

    /// The same for line `number` of a device that has several.
    pub fn set_line_of(&mut self, number: usize, asserted: bool) {
        self.lines.push((number, asserted));
    }

    /// Reads RAM. `false`: the function is no bus master and nothing was read. A transfer that misses RAM fails the run.
    pub fn dma_read(&mut self, physical: u64, into: &mut [u8]) -> bool {
        self.transfer("read", physical, into.len(), |memory| into.copy_from_slice(memory))
    }

    /// Writes RAM, likewise.
    pub fn dma_write(&mut self, physical: u64, from: &[u8]) -> bool {
        self.transfer("write", physical, from.len(), |memory| memory.copy_from_slice(from))
    }

    /// The driver asked for what makes the real device, or its host, fall over. Fails the run.
    pub fn abort(&mut self, why: String) {
        self.fault.get_or_insert(why);
    }

    /// The device leaves the bus, now: all ones from here on.
    pub fn leave(&mut self) {
        self.leave = true;
    }

    fn transfer(&mut self, verb: &str, physical: u64, len: usize, copy: impl FnOnce(&mut [u8])) -> bool {
        if !self.function.as_ref().is_some_and(|function| function.bus_master()) {
            return false;
        }
        match self.memory.at(physical, len) {
            Ok(memory) => copy(memory),
            Err(fault @ (DmaFault::Freed { .. } | DmaFault::Nowhere { .. })) => {
                self.abort(format!("device {verb} of {fault}"));
            }
        }
        true
    }
}
