//! The simulated machine with edu devices on its bus.

use framework::{Driver, Pnp, prelude::*};

/// Starts all devices on the simulated bus.
pub fn start<D: Device>(at: &mut At<'_, Passive>) -> Pnp {
    Pnp::start(at, &hal_sim::platform(), &[Driver::of::<D>()])
}
