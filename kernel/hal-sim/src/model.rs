//! Device models: what a simulated PCI function is and does.
//!
//! A model is plain safe Rust: it answers register accesses and says which internal steps it could take ("the factorial is
//! done"). *When* a step happens is the explorer's choice, at every point of the driver. A model raises interrupts only
//! when its own rules say so, through [`BusAccess::interrupt`].
//!
//! ```
//! use hal_sim::model::{Bar, BusAccess, Identity, Model, Step};
//! /// Counts down to an interrupt.
//! #[derive(Default)]
//! struct Countdown { left: u64, status: u64 }
//! impl Model for Countdown {
//!     fn identity(&self) -> Identity {
//!         Identity { bars: vec![Bar::memory32(0x1000)], msi_messages: 1, ..Identity::new(0x1234, 0x0001) }
//!     }
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

mod edu;

pub use edu::Edu;

use crate::memory::{DmaFault, Memory};
use ke::hal::MsiMessage;

/// A device, as its registers and its own progress. Methods are called by one thread of execution at a time.
pub trait Model: Send + 'static {
    /// What its configuration space says. Asked once.
    fn identity(&self) -> Identity;

    /// A register read of `width` bytes at `offset` in BAR `bar`.
    fn read(&mut self, bar: usize, offset: u64, width: usize, bus: &mut BusAccess<'_>) -> u64;

    /// A register write of `width` bytes at `offset` in BAR `bar`.
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
}

impl Identity {
    /// A function without BARs or interrupts.
    pub fn new(vendor: u16, device: u16) -> Self {
        Identity { vendor, device, class: 0xff_0000, revision: 0, bars: Vec::new(), msi_messages: 0 }
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
    pub(crate) bus_master: bool,
    /// The MSI capability as programmed: `None` while disabled.
    pub(crate) msi: Option<MsiMessage>,
    pub(crate) msi_vectors: u8,
    pub(crate) sent: Vec<MsiMessage>,
    pub(crate) line: Vec<bool>,
    pub(crate) fault: Option<String>,
    pub(crate) leave: bool,
}

impl BusAccess<'_> {
    /// Virtual time in nanoseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Sends MSI message `number`. Nothing happens while MSI is disabled or the function is no bus master.
    pub fn interrupt(&mut self, number: u8) {
        let Some(message) = self.msi.filter(|_| self.bus_master) else { return };
        let number = number % self.msi_vectors.max(1);
        self.sent.push(MsiMessage { data: message.data | u32::from(number), ..message });
    }

    /// Asserts the interrupt line, or no longer: a level until it is changed, an edge when it becomes asserted. Nothing
    /// happens unless [`crate::Setup::wire`] has led it somewhere.
    pub fn set_line(&mut self, asserted: bool) {
        self.line.push(asserted);
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
        if !self.bus_master {
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
