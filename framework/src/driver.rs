//! The table of drivers that an image is built with.

use crate::{
    Device, DriverEntry, DriverInit, PciId, Result,
    hardware::Hardware,
    node::{AnyNode, Node},
    pnp::Shared,
};
use alloc::{boxed::Box, sync::Arc};
use core::fmt;
use ke::{At, Passive};

/// A driver in the image's table: `const DRIVERS: &[Driver] = &[Driver::of::<Edu>()];`.
#[derive(Clone, Copy)]
pub struct Driver {
    name: &'static str,
    ids: &'static [PciId],
    hids: &'static [&'static str],
    /// Names of devices, separated by commas, that interrupt by lines.
    on_lines: &'static str,
    load: fn(&mut At<'_, Passive>) -> Result<Box<dyn AnyDriver>>,
}

impl Driver {
    /// The driver whose devices are `D`s.
    pub const fn of<D: Device>() -> Self {
        Driver { name: D::NAME, ids: D::IDS, hids: D::HIDS, on_lines: "", load: load::<D> }
    }

    /// Has the devices that `names` names (`edu#1,edu#2`) interrupt by their lines, also where they have messages: what an
    /// INF says with `MSISupported = 0`.
    pub const fn on_lines(self, names: &'static str) -> Self {
        Driver { on_lines: names, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The functions it serves.
    pub fn ids(&self) -> &'static [PciId] {
        self.ids
    }

    /// The devices that ACPI describes and that it serves, by hardware id.
    pub fn hids(&self) -> &'static [&'static str] {
        self.hids
    }

    pub(crate) fn serves(&self, hardware: &Hardware) -> bool {
        hardware.is_one_of(self.ids, self.hids)
    }

    pub(crate) fn has_on_lines(&self, instance: u32) -> bool {
        let number = |name: &str| name.strip_prefix(self.name)?.strip_prefix('#')?.parse::<u32>().ok();
        self.on_lines.split(',').any(|name| number(name) == Some(instance))
    }

    /// Runs `driver_entry`.
    pub(crate) fn load(&self, at: &mut At<'_, Passive>) -> Result<Box<dyn AnyDriver>> {
        (self.load)(at)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, ids, hids) = (self.name, self.ids, self.hids);
        f.debug_struct("Driver").field("name", &name).field("ids", &ids).field("hids", &hids).finish_non_exhaustive()
    }
}

/// A loaded driver, whatever its devices are. Dropping it is EvtDriverUnload, once its devices are removed.
pub(crate) trait AnyDriver: Send + Sync {
    /// Runs `device_add`.
    fn add(
        &self,
        shared: &Arc<Shared>,
        hardware: &Hardware,
        instance: u32,
        by_line: bool,
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
        hardware: &Hardware,
        instance: u32,
        by_line: bool,
        at: &mut At<'_, Passive>,
    ) -> Arc<dyn AnyNode> {
        Arc::new(Node::<D>::add(shared, hardware, &self.0, instance, by_line, at))
    }
}
