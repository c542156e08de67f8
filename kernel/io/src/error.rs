//! What can go wrong on a bus, with the facts.

use crate::Location;
use core::fmt;
use ke::MapError;

/// Why the bus refused. Every case names the function it happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The function answers all ones: it is no longer there.
    Gone(Location),
    /// The configuration space of this bus could not be mapped.
    NotMapped(Location, MapError),
    /// No ECAM region covers this bus.
    NoSuchBus(Location),
    /// The command register did not take a value.
    CommandNotTaken {
        /// The function.
        location: Location,
        /// What was written.
        wanted: u16,
        /// What was read back.
        read: u16,
    },
    /// A base address register is of no kind that the specification knows.
    BadBar {
        /// The function.
        location: Location,
        /// The register's number.
        bar: u8,
        /// What it reads.
        raw: u32,
    },
    /// The function has no memory behind this BAR.
    NoSuchBar {
        /// The function.
        location: Location,
        /// The register's number.
        bar: u8,
    },
    /// Firmware left a BAR unplaced and no window has room for it.
    NoWindow {
        /// The function.
        location: Location,
        /// The register's number.
        bar: u8,
        /// Bytes wanted.
        len: u64,
    },
    /// A BAR did not take the address written to it.
    BarNotTaken {
        /// The function.
        location: Location,
        /// The register's number.
        bar: u8,
        /// The address written.
        wanted: u64,
        /// The address read back.
        read: u64,
    },
    /// The BAR has no address, because no window had room for it.
    BarNotPlaced {
        /// The function.
        location: Location,
        /// The register's number.
        bar: u8,
    },
    /// The MSI-X table is not inside the BAR that should hold it.
    BadTable(Location),
    /// The capability list loops or points into the header.
    BadCapabilityList(Location),
    /// A bridge without a usable bus number behind it: what is behind it was not looked at.
    BridgeNotNumbered {
        /// The bridge.
        location: Location,
        /// The bus number it gives.
        secondary: u8,
    },
    /// The function has neither MSI nor MSI-X.
    NoMessages(Location),
    /// A message number at or above what the function has.
    NoSuchMessage {
        /// The function.
        location: Location,
        /// The number asked for.
        message: u16,
        /// How many it has.
        available: u16,
    },
    /// The function's MSI capability holds 32 address bits (or 16 data bits), and the message needs more.
    MessageTooWide {
        /// The function.
        location: Location,
        /// The message's address.
        address: u64,
        /// The message's data.
        data: u32,
    },
    /// The messages of an MSI function are one block on one CPU, so none can be moved alone.
    OneBlock {
        /// The function.
        location: Location,
        /// How many messages it was programmed for.
        messages: u16,
    },
    /// A mask or enable bit did not take.
    MaskNotTaken {
        /// The function.
        location: Location,
        /// The message.
        message: u16,
        /// The state that was wanted: masked or not.
        masked: bool,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::Gone(location) => write!(f, "{location} answers all ones: the device is gone"),
            Error::NotMapped(location, error) => write!(f, "memory of {location} could not be mapped: {error}"),
            Error::NoSuchBus(location) => write!(f, "no ECAM region covers the bus of {location}"),
            Error::CommandNotTaken { location, wanted, read } => {
                write!(f, "the command register of {location} reads {read:#06x} after {wanted:#06x} was written")
            }
            Error::BadBar { location, bar, raw } => {
                write!(f, "BAR {bar} of {location} reads {raw:#010x}, which is no kind of BAR")
            }
            Error::NoSuchBar { location, bar } => write!(f, "{location} has no memory behind BAR {bar}"),
            Error::NoWindow { location, bar, len } => {
                write!(f, "no address window has {len:#x} bytes left for BAR {bar} of {location}")
            }
            Error::BarNotTaken { location, bar, wanted, read } => {
                write!(f, "BAR {bar} of {location} reads {read:#x} after {wanted:#x} was written")
            }
            Error::BarNotPlaced { location, bar } => write!(f, "BAR {bar} of {location} has no address"),
            Error::BadTable(location) => write!(f, "the MSI-X table of {location} is outside its BAR"),
            Error::BadCapabilityList(location) => write!(f, "the capability list of {location} is malformed"),
            Error::BridgeNotNumbered { location, secondary } => {
                write!(f, "bridge {location} leads to bus {secondary}, which cannot be behind it: not walked")
            }
            Error::NoMessages(location) => write!(f, "{location} has neither MSI nor MSI-X"),
            Error::NoSuchMessage { location, message, available } => {
                write!(f, "message {message} of {location} was asked for, but it has {available}")
            }
            Error::MessageTooWide { location, address, data } => {
                write!(f, "{location} cannot send data {data:#x} to {address:#x}: its MSI registers are too narrow")
            }
            Error::OneBlock { location, messages } => {
                write!(f, "the {messages} MSI messages of {location} are one block: none can be moved alone")
            }
            Error::MaskNotTaken { location, message, masked } => {
                let state = if masked { "masked" } else { "unmasked" };
                write!(f, "message {message} of {location} could not be {state}")
            }
        }
    }
}

impl core::error::Error for Error {}
