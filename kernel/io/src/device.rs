//! A PCI function as a plug-and-play manager sees it: identity, resources, and the switches of its command register.

use crate::{
    Bar, Error, Line, Location, Msi, MsiX,
    config::{Command, Function},
    mapping::{self, Mapped},
    walk::Found,
};
use alloc::vec::Vec;
use ke::{At, Level, Mmio, Passive};

/// Who made a function and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PciIds {
    /// The vendor.
    pub vendor: u16,
    /// The vendor's number for the device.
    pub device: u16,
    /// Base class, subclass and programming interface, 24 bits.
    pub class: u32,
    /// The vendor's revision.
    pub revision: u8,
    /// Who put the device on a board; 0 when nobody says so.
    pub subsystem_vendor: u16,
    /// The board.
    pub subsystem: u16,
}

/// How a function can send messages. MSI-X is preferred where a function has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Messages {
    /// MSI.
    Msi(Msi),
    /// MSI-X.
    MsiX(MsiX),
}

impl Messages {
    /// How many messages the function can tell apart.
    pub fn count(&self) -> u16 {
        match self {
            Messages::Msi(msi) => msi.messages(),
            Messages::MsiX(msix) => msix.messages(),
        }
    }

    /// How many consecutive vectors on one CPU `used` messages take, as one block; `None` when each has its own.
    pub fn block(&self, used: u16) -> Option<u16> {
        match self {
            Messages::Msi(_) => Some(used.next_power_of_two()),
            Messages::MsiX(_) => None,
        }
    }
}

/// Something of the machine that a driver is given with its device (CM_PARTIAL_RESOURCE_DESCRIPTOR).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Memory or ports behind a BAR.
    Bar(Bar),
    /// Message-signaled interrupts.
    Messages(Messages),
    /// A line interrupt.
    Line(Line),
}

/// A PCI function that is not a bridge (the PDO that a bus driver would make).
#[derive(Debug)]
pub struct PciDevice {
    found: Found,
    config: Mmio,
    line: Option<Line>,
}

impl PciDevice {
    pub(crate) fn new(found: Found, config: Mmio, line: Option<Line>) -> Self {
        PciDevice { found, config, line }
    }

    /// Where it sits.
    pub fn location(&self) -> Location {
        self.found.location
    }

    /// What it is.
    pub fn ids(&self) -> PciIds {
        self.found.ids
    }

    /// The BARs it implements, in order.
    pub fn bars(&self) -> &[Bar] {
        &self.found.bars
    }

    /// The messages it can send, if any.
    pub fn messages(&self) -> Option<Messages> {
        self.found.messages
    }

    /// The line its pin leads to, if it has one and firmware says where.
    pub fn line(&self) -> Option<Line> {
        self.line
    }

    /// All that a driver can be given: the BARs, the messages, the line. It interrupts by messages or by the line.
    pub fn resources(&self) -> Vec<Resource> {
        let bars = self.found.bars.iter().copied().map(Resource::Bar);
        let messages = self.found.messages.map(Resource::Messages);
        bars.chain(messages).chain(self.line.map(Resource::Line)).collect()
    }

    /// Whether the function still answers. Any IRQL.
    pub fn is_present<L: Level>(&self, at: &mut At<'_, L>) -> bool {
        self.function(at).is_present()
    }

    /// Lets the function decode its memory. Its line is off until a [`crate::PinSwitch`] says otherwise: a function with
    /// messages falls back to the line whenever they are off. PASSIVE.
    pub fn enable(&self, at: &mut At<'_, Passive>) -> Result<(), Error> {
        self.set_line_enabled(at, false)?;
        self.function(at).change_command(Command::MEMORY, Command::empty())
    }

    /// Lets the function start transfers, or no longer. When this returns `Ok` after switching off, nothing more comes
    /// and what was under way has arrived: the read-back pushed it. Messages need it too. PASSIVE.
    pub fn set_bus_master(&self, at: &mut At<'_, Passive>, on: bool) -> Result<(), Error> {
        let (set, clear) =
            if on { (Command::BUS_MASTER, Command::empty()) } else { (Command::empty(), Command::BUS_MASTER) };
        self.function(at).change_command(set, clear)
    }

    /// Maps all of BAR `bar` (MmMapIoSpace), for good: mapped again it is the same memory. PASSIVE.
    pub fn map_bar(&self, at: &mut At<'_, Passive>, bar: u8) -> Result<Mmio, Error> {
        let location = self.found.location;
        match self.found.bars.iter().find(|b| b.index == bar && b.kind != crate::BarKind::Io) {
            Some(bar) => mapping::map_bar(at, location, bar),
            None => Err(Error::NoSuchBar { location, bar }),
        }
    }

    /// Where BAR `bar` is, as its registers read now. PASSIVE.
    pub fn read_bar(&self, at: &mut At<'_, Passive>, bar: u8) -> Result<u64, Error> {
        let location = self.found.location;
        let found = self.found.bars.iter().find(|found| found.index == bar);
        found.ok_or(Error::NoSuchBar { location, bar })?.read_back(&mut self.function(at))
    }

    pub(crate) fn function<'a, 'c, L: Level>(&'a self, at: &'a mut At<'c, L>) -> Function<Mapped<'a, 'c, L>> {
        Function { location: self.found.location, registers: Mapped::new(&self.config, 0, at) }
    }
}
