//! The table of drivers that an image is built with.

use crate::{
    Device, DriverEntry, DriverInit, PciId, Result,
    node::{AnyNode, Node},
    pnp::Shared,
};
use alloc::{boxed::Box, sync::Arc};
use core::fmt;
use io::PciDevice;
use ke::{At, Passive};

/// A driver in the image's table: `const DRIVERS: &[Driver] = &[Driver::of::<Edu>()];`.
#[derive(Clone, Copy)]
pub struct Driver {
    name: &'static str,
    ids: &'static [PciId],
    load: fn(&mut At<'_, Passive>) -> Result<Box<dyn AnyDriver>>,
}

impl Driver {
    /// The driver whose devices are `D`s.
    pub const fn of<D: Device>() -> Self {
        Driver { name: D::NAME, ids: D::IDS, load: load::<D> }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The functions it serves.
    pub fn ids(&self) -> &'static [PciId] {
        self.ids
    }

    pub(crate) fn serves(&self, pci: &PciDevice) -> bool {
        self.ids.contains(&PciId(pci.ids().vendor, pci.ids().device))
    }

    /// Runs `driver_entry`.
    pub(crate) fn load(&self, at: &mut At<'_, Passive>) -> Result<Box<dyn AnyDriver>> {
        (self.load)(at)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("name", &self.name).field("ids", &self.ids).finish()
    }
}

/// A loaded driver, whatever its devices are. Dropping it is EvtDriverUnload, once its devices are removed.
pub(crate) trait AnyDriver: Send + Sync {
    /// Runs `device_add`.
    fn add(
        &self,
        shared: &Arc<Shared>,
        pci: &Arc<PciDevice>,
        instance: u32,
        at: &mut At<'_, Passive>,
    ) -> Arc<dyn AnyNode>;
}

struct Loaded<D: Device>(Arc<D::Driver>);

fn load<D: Device>(at: &mut At<'_, Passive>) -> Result<Box<dyn AnyDriver>> {
    let driver = D::Driver::driver_entry(&mut DriverInit { name: D::NAME }, at)?;
    Ok(Box::new(Loaded::<D>(Arc::new(driver))))
}

impl<D: Device> AnyDriver for Loaded<D> {
    fn add(
        &self,
        shared: &Arc<Shared>,
        pci: &Arc<PciDevice>,
        instance: u32,
        at: &mut At<'_, Passive>,
    ) -> Arc<dyn AnyNode> {
        Arc::new(Node::<D>::add(shared, pci, &self.0, instance, at))
    }
}
