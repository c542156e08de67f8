//! Buses and what a plug-and-play manager gives to drivers: PCI functions, their BARs and messages, interrupt vectors.
//!
//! [`Bus::enumerate`] walks the configuration space behind ECAM, bridges included, sizes the BARs, places those that
//! firmware left out, and gives a list of [`PciDevice`]s. A device hands out its [`Resource`]s, maps its BARs and
//! programs its messages. Beside them are the [`AcpiDevice`]s, which no bus announces. [`VectorSpace`] assigns interrupt
//! vectors: one CPU each, by priority class and affinity. [`LineSource`] and [`MessageSource`] are where they come from.
//!
//! What decides is written over two small traits, [`Registers`] and [`ConfigSpace`], so that all of it is tested on
//! the host against a configuration space made of arrays. Memory is mapped in one module, `mapping`, the only one with
//! `unsafe`. There is no `static`: whoever enumerates owns the bus.
#![cfg_attr(not(test), no_std)]
#![deny(missing_docs)]

extern crate alloc;

mod acpi;
mod bar;
mod bus;
mod capability;
mod config;
pub mod connect;
mod device;
mod error;
#[cfg(test)]
mod fake;
mod line;
mod line_source;
mod location;
mod mapping;
mod msi;
mod msix;
mod pin_switch;
mod place;
mod source;
mod vector;
mod walk;

pub use acpi::{
    AcpiDevice, AcpiError, AcpiMethods, AcpiValue, FIXED_HARDWARE_ID, FixedBlock, FixedHardware, GpeMethod,
    Notification,
};
pub use bar::{Bar, BarKind};
pub use bus::{Bus, Platform};
pub use config::{Command, ConfigSpace, Function, Registers};
pub use device::{Messages, PciDevice, PciIds, Resource};
pub use error::Error;
pub use line::{Line, LineRouting, Pin, Polarity, Trigger};
pub use line_source::{LineController, LineError, LineSource, LineState};
pub use location::Location;
pub use mapping::{EcamRegion, PortRange};
pub use msi::Msi;
pub use msix::MsiX;
pub use pin_switch::PinSwitch;
pub use source::MessageSource;
pub use vector::{Affinity, Grant, NoVector, Policy, Priority, VectorSpace};
