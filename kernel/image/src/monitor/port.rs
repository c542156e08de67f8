//! A serial port, as its driver knows it and as a file.

use framework::{DeviceRef, File, Pnp};
use serial::Serial;

/// A serial port of the machine.
#[derive(Clone)]
pub struct Port {
    /// For what is no request.
    pub device: DeviceRef<Serial>,
    /// To read from and to write to.
    pub file: File,
}

impl Port {
    /// The serial port of this name, if there is one.
    pub fn open(pnp: &Pnp, name: &str) -> Option<Self> {
        Some(Port { device: pnp.device(name)?, file: pnp.open(name).ok()? })
    }
}
