//! What a scenario says about its machine: the devices on its bus and the code of its main thread.

use crate::{
    bus::{Buses, lock},
    machine::{self, Main},
    model::{BusAccess, IsaModel, Model, PciModel},
};
use ke::{
    At, Passive,
    hal::{Hal, Point},
};
use std::{
    fmt,
    panic::Location,
    sync::{Arc, Mutex},
};

/// The machine of one schedule before it runs. Called again for every schedule, so that none sees another's state.
pub struct Setup {
    bus: Buses,
    main: Option<Main>,
}

impl Setup {
    pub(super) fn new() -> Self {
        Setup { bus: Buses::new(), main: None }
    }

    /// Plugs `model` into the next slot of bus 0, from device number 1 up.
    pub fn device<M: PciModel>(&mut self, model: M) -> Device<M> {
        let model = Arc::new(Mutex::new(model));
        let slot = self.bus.plug(model.clone());
        Device { model, slot }
    }

    /// Puts `model` at its ports and its lines: ACPI tells of it.
    pub fn isa_device<M: IsaModel>(&mut self, model: M) -> Device<M> {
        let model = Arc::new(Mutex::new(model));
        let slot = self.bus.install(model.clone());
        Device { model, slot }
    }

    /// Leads the interrupt pin of `device` to input `gsi` of the I/O APIC. Several devices may share one.
    pub fn wire<M: PciModel>(&mut self, device: &Device<M>, gsi: u32) {
        self.bus.wire(device.slot, gsi);
    }

    /// The main thread's code, at PASSIVE. The schedule ends when it has returned and nothing more can happen.
    pub fn main(&mut self, main: impl for<'c> FnOnce(&mut At<'c, Passive>) + Send + 'static) {
        self.main = Some(Box::new(main));
    }

    pub(super) fn into_parts(self) -> (Buses, Main) {
        (self.bus, self.main.expect("a scenario calls `Setup::main`"))
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").finish_non_exhaustive()
    }
}

/// A device on the simulated bus, for the test to look into and to pull out.
pub struct Device<M> {
    model: Arc<Mutex<M>>,
    slot: usize,
}

impl<M: Model> Device<M> {
    /// Looks at the model or changes it, behind the driver's back. Not a point of exploration.
    pub fn with<R>(&self, f: impl FnOnce(&mut M) -> R) -> R {
        f(&mut lock(&*self.model))
    }

    /// An access to the device by code that runs on the machine, without a bus: `f` answers as the model would. A point
    /// of exploration.
    #[track_caller]
    pub fn access<R>(&self, f: impl FnOnce(&mut M, &mut BusAccess<'_>) -> R) -> R {
        let location = Location::caller();
        let result = machine::with_current(|machine| {
            machine.port().point(Point::MmioRead, self.slot, location);
            machine.within(|machine| machine.with_access(self.slot, |bus| f(&mut lock(&*self.model), bus)))
        });
        result.expect("a device is accessed by code that runs on its machine")
    }

    /// The device's number on bus 0.
    pub fn number(&self) -> u8 {
        (self.slot + 1) as u8
    }

    /// Surprise removal: from now on all ones. Called by code that runs on the machine.
    pub fn remove(&self) {
        let removed = machine::with_current(|machine| machine.within(|machine| machine.remove(self.slot)));
        assert!(removed.is_some(), "a device is removed by code that runs on its machine");
    }
}

impl<M> Clone for Device<M> {
    fn clone(&self) -> Self {
        Device { model: self.model.clone(), slot: self.slot }
    }
}

impl<M> fmt::Debug for Device<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("slot", &self.slot).finish_non_exhaustive()
    }
}
