//! Whether a function may assert its interrupt line.
//!
//! **Invariant:** a function's line is on exactly while somebody listens. An asserted line that nobody serves would hold
//! off everybody who shares it.

use crate::{Error, PciDevice, config::Command};
use alloc::sync::Arc;
use core::fmt;
use ke::{At, Passive, WaitLock};

/// A function's interrupt pin, counted: on from the first listener to the last.
pub struct PinSwitch {
    device: Arc<PciDevice>,
    listeners: WaitLock<u32>,
}

impl PinSwitch {
    /// The pin of `device`, off.
    pub fn new(device: Arc<PciDevice>) -> Self {
        PinSwitch { device, listeners: WaitLock::new(0) }
    }

    /// Lets the function assert its line: its interrupt is connected. PASSIVE.
    pub fn switch_on(&self, at: &mut At<'_, Passive>) -> Result<(), Error> {
        let mut listeners = self.listeners.acquire(at);
        if *listeners == 0 {
            self.device.set_line_enabled(at, true)?;
        }
        *listeners += 1;
        Ok(())
    }

    /// Undoes one [`Self::switch_on`]: its interrupt is about to be disconnected. A function that is gone asserts nothing:
    /// that is no error. PASSIVE.
    pub fn switch_off(&self, at: &mut At<'_, Passive>) -> Result<(), Error> {
        let mut listeners = self.listeners.acquire(at);
        *listeners -= 1;
        match *listeners {
            0 => match self.device.set_line_enabled(at, false) {
                Err(Error::Gone(_)) => Ok(()),
                other => other,
            },
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for PinSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pin of {}", self.device.location())
    }
}

impl PciDevice {
    /// A function older than PCI 2.3, which has no messages either, has no such switch: its line is always on.
    pub(crate) fn set_line_enabled(&self, at: &mut At<'_, Passive>, on: bool) -> Result<(), Error> {
        let (set, clear) = match on {
            true => (Command::empty(), Command::INTERRUPT_DISABLE),
            false => (Command::INTERRUPT_DISABLE, Command::empty()),
        };
        match self.function(at).change_command(set, clear) {
            Err(Error::CommandNotTaken { .. }) if self.messages().is_none() => Ok(()),
            other => other,
        }
    }
}
