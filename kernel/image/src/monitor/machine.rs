//! What the commands work on: the machine's devices, and the drivers that serve them.

use super::{io::Requests, terminal};
use crate::drivers;
use alloc::{string::String, sync::Arc, vec::Vec};
use framework::{Driver, Pnp};
use io::{AcpiMethods, Platform};
use ke::{At, Passive};

/// The devices and drivers of the machine.
pub struct Machine {
    platform: Platform,
    drivers: Vec<Driver>,
    pnp: Pnp,
    /// Requests that somebody will ask about.
    pub requests: Requests,
    /// `shutdown` was typed.
    pub ended: bool,
}

impl Machine {
    /// Starts the devices that `drivers` serve.
    pub fn start(at: &mut At<'_, Passive>, platform: Platform, drivers: Vec<Driver>) -> Self {
        let pnp = Pnp::start(at, &platform, &drivers);
        terminal::take(at, &pnp);
        Machine { platform, drivers, pnp, requests: Requests::default(), ended: false }
    }

    /// The devices.
    pub fn pnp(&self) -> &Pnp {
        &self.pnp
    }

    /// The methods of the ACPI namespace, on a machine that has one.
    pub fn methods(&self) -> Option<&Arc<dyn AcpiMethods>> {
        self.platform.acpi_methods()
    }

    /// The drivers, in the order in which they are asked.
    pub fn drivers(&self) -> &[Driver] {
        &self.drivers
    }

    /// Makes the driver `name` the first to be asked. Unless it was, all devices start anew.
    pub fn give_first(&mut self, at: &mut At<'_, Passive>, name: &str) -> Result<(), String> {
        if self.drivers.first().is_some_and(|first| first.name() == name) {
            return Ok(());
        }
        terminal::print(at, format_args!("starting the devices anew, with the driver `{name}` before the others\n"));
        let mut drivers = drivers::chosen(Some(name))?;
        drivers.extend(self.drivers.iter().filter(|driver| driver.name() != name));
        self.drivers = drivers;
        self.start_anew(at);
        Ok(())
    }

    /// Takes all devices down and starts them anew: with new locks and new connections.
    pub fn start_anew(&mut self, at: &mut At<'_, Passive>) {
        self.remove_all(at);
        self.pnp = Pnp::start(at, &self.platform, &self.drivers);
        terminal::take(at, &self.pnp);
    }

    /// Takes all devices down, last first.
    pub fn remove_all(&mut self, at: &mut At<'_, Passive>) {
        terminal::give_back(at);
        self.pnp.shut_down(at);
    }
}
