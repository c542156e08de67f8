//! The plug-and-play manager: matches functions to drivers, takes devices through their lives, answers the monitor.
//!
//! All of it is one value that the image owns and lends; there is no `static`.

use crate::{
    Device, DeviceRef, Driver, Result, Status,
    dma::Quarantine,
    driver::AnyDriver,
    node::{AnyNode, Node},
};
use alloc::{boxed::Box, collections::BTreeMap, string::String, sync::Arc, vec::Vec};
use core::{any::Any, fmt};
use io::{Bus, Grant, Location, PciDevice, PciIds, Platform, Policy, VectorSpace};
use ke::{At, Mode, Passive, WaitLock};

/// What all devices of a machine draw on.
pub(crate) struct Shared {
    vectors: WaitLock<VectorSpace>,
    pub quarantine: Quarantine,
    problems: WaitLock<Vec<io::Error>>,
}

impl Shared {
    /// Takes a block of vectors and notes it in `blocks`.
    pub fn assign_vectors(
        &self,
        policy: &Policy,
        ceiling: u8,
        count: u16,
        blocks: &mut Vec<(Grant, u16)>,
        at: &mut At<'_, Passive>,
    ) -> Result<Grant> {
        let grant = self.vectors.acquire(at).assign(policy, ceiling, count)?;
        blocks.push((grant, count));
        Ok(grant)
    }

    /// Gives vectors back, to which nothing is connected any more.
    pub fn free_vectors(&self, blocks: &mut Vec<(Grant, u16)>, at: &mut At<'_, Passive>) {
        for (grant, count) in blocks.drain(..) {
            self.vectors.acquire(at).free(grant, count);
        }
    }

    /// Keeps what went wrong where nobody can be told.
    pub fn report(&self, problem: io::Error, at: &mut At<'_, Passive>) {
        self.problems.acquire(at).push(problem);
    }
}

/// The devices of a machine and their drivers.
pub struct Pnp {
    shared: Arc<Shared>,
    /// Dropped before the drivers that serve them.
    devices: Vec<Entry>,
    _drivers: BTreeMap<&'static str, Box<dyn AnyDriver>>,
}

struct Entry {
    pci: Arc<PciDevice>,
    /// The device with its driver; why the driver did not load; or nothing, for want of a driver.
    node: Option<Result<Arc<dyn AnyNode>>>,
}

impl Pnp {
    /// Enumerates `platform`, and adds and starts every device that one of `drivers` serves (the first in the table
    /// wins). What fails is in the device's state; the others work. PASSIVE.
    pub fn start(at: &mut At<'_, Passive>, platform: &Platform, drivers: &[Driver]) -> Self {
        let bus = Bus::enumerate(at, platform);
        let shared = Arc::new(Shared {
            vectors: WaitLock::new(VectorSpace::new(at.cpu_count())),
            quarantine: Quarantine::default(),
            problems: WaitLock::new(bus.problems().to_vec()),
        });
        let mut loaded: BTreeMap<&'static str, Box<dyn AnyDriver>> = BTreeMap::new();
        let mut instances: BTreeMap<&'static str, u32> = BTreeMap::new();
        let mut devices = Vec::new();
        for pci in bus.devices() {
            let mut entry = Entry { pci: pci.clone(), node: None };
            if let Some(driver) = drivers.iter().find(|driver| driver.serves(pci)) {
                entry.node = Some(load_once(&mut loaded, driver, at).map(|any| {
                    let instance = instances.entry(driver.name()).or_default();
                    let node = any.add(&shared, pci, *instance, at);
                    *instance += 1;
                    // A failure is in the device's state.
                    let _started = node.start(at);
                    node
                }));
            }
            devices.push(entry);
        }
        Pnp { shared, devices, _drivers: loaded }
    }

    /// A reference to the device `name` (`edu#0`), if it is a `D`. PASSIVE or above: any thread may keep it.
    pub fn device<D: Device>(&self, name: &str) -> Option<DeviceRef<D>> {
        let node: Arc<dyn Any + Send + Sync> = self.node(name).ok()?.clone();
        node.downcast::<Node<D>>().ok().map(DeviceRef::new)
    }

    /// References to all devices that are `D`s, in bus order.
    pub fn devices_of<D: Device>(&self) -> Vec<DeviceRef<D>> {
        let names = self.nodes().map(|node| node.name());
        names.filter_map(|name| self.device(name)).collect()
    }

    /// Starts a stopped device again (IRP_MN_START_DEVICE). PASSIVE.
    pub fn start_device(&self, at: &mut At<'_, Passive>, name: &str) -> Result<()> {
        self.node(name)?.start(at)
    }

    /// Stops a device; it can be started again, with other resources (IRP_MN_STOP_DEVICE). PASSIVE.
    pub fn stop_device(&self, at: &mut At<'_, Passive>, name: &str) -> Result<()> {
        self.node(name)?.stop(at)
    }

    /// Stops a device, if it runs, and ends its second stage (IRP_MN_REMOVE_DEVICE). PASSIVE.
    pub fn remove_device(&self, at: &mut At<'_, Passive>, name: &str) -> Result<()> {
        self.node(name)?.remove(false, at)
    }

    /// The hardware is gone without a word (IRP_MN_SURPRISE_REMOVAL, then the removal). PASSIVE.
    pub fn surprise_remove_device(&self, at: &mut At<'_, Passive>, name: &str) -> Result<()> {
        self.node(name)?.remove(true, at)
    }

    /// The function at `location` has left the bus, so it cannot write any more: its quarantined buffers are freed.
    /// PASSIVE.
    pub fn left_the_bus(&self, at: &mut At<'_, Passive>, location: Location) {
        self.shared.quarantine.release(at, location);
    }

    /// All functions of the bus, with their drivers' state. PASSIVE.
    pub fn devices(&self, at: &mut At<'_, Passive>) -> Vec<DeviceRow> {
        let row = |entry: &Entry, at: &mut At<'_, Passive>| {
            let (name, state) = match &entry.node {
                None => (None, DeviceState::NoDriver),
                Some(Err(status)) => (None, DeviceState::Failed(status.clone())),
                Some(Ok(node)) => (Some(String::from(node.name())), node.state(at)),
            };
            DeviceRow { pci: entry.pci.clone(), location: entry.pci.location(), ids: entry.pci.ids(), name, state }
        };
        self.devices.iter().map(|entry| row(entry, at)).collect()
    }

    /// The interrupt objects of all devices. PASSIVE.
    pub fn interrupts(&self, at: &mut At<'_, Passive>) -> Vec<InterruptRow> {
        self.nodes().flat_map(|node| node.interrupts(at)).collect()
    }

    /// What exists, counted by kind and handler: interrupts, work items, DMA buffers, and what is in quarantine or
    /// taken of the vectors. PASSIVE.
    pub fn objects(&self, at: &mut At<'_, Passive>) -> Vec<ObjectRow> {
        let mut rows: BTreeMap<(&'static str, &'static str), ObjectRow> = BTreeMap::new();
        let mut all: Vec<ObjectRow> = self.nodes().flat_map(|node| node.objects(at)).collect();
        let (count, bytes) = self.shared.quarantine.totals(at);
        all.push(ObjectRow { kind: "DmaBuffer", of: "quarantine", count, bytes });
        let vectors = self.shared.vectors.acquire(at).total_used() as usize;
        all.push(ObjectRow { kind: "Vector", of: "all devices", count: vectors, bytes: 0 });
        for row in all {
            let empty = ObjectRow { count: 0, bytes: 0, ..row };
            let sum = rows.entry((row.kind, row.of)).or_insert(empty);
            sum.count += row.count;
            sum.bytes += row.bytes;
        }
        rows.into_values().collect()
    }

    /// What the bus or a device's teardown had to say, and nobody could be told. PASSIVE.
    pub fn problems(&self, at: &mut At<'_, Passive>) -> Vec<io::Error> {
        self.shared.problems.acquire(at).clone()
    }

    /// Stops and removes all devices, last first. PASSIVE.
    pub fn shut_down(&self, at: &mut At<'_, Passive>) {
        for entry in self.devices.iter().rev() {
            if let Some(Ok(node)) = &entry.node {
                // Already removed is as good.
                let _ = node.remove(false, at);
            }
        }
    }

    fn nodes(&self) -> impl Iterator<Item = &Arc<dyn AnyNode>> {
        self.devices.iter().filter_map(|entry| entry.node.as_ref()?.as_ref().ok())
    }

    fn node(&self, name: &str) -> Result<&Arc<dyn AnyNode>> {
        self.nodes().find(|node| node.name() == name).ok_or(Status::NoSuchDevice)
    }
}

fn load_once<'a>(
    loaded: &'a mut BTreeMap<&'static str, Box<dyn AnyDriver>>,
    driver: &Driver,
    at: &mut At<'_, Passive>,
) -> Result<&'a dyn AnyDriver> {
    if !loaded.contains_key(driver.name()) {
        loaded.insert(driver.name(), driver.load(at)?);
    }
    Ok(&*loaded[driver.name()])
}

impl fmt::Debug for Pnp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pnp").field("devices", &self.devices.len()).finish_non_exhaustive()
    }
}

/// How a device is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceState {
    /// No driver of the image serves it.
    NoDriver,
    /// It works.
    Started,
    /// It was stopped and can be started.
    Stopped,
    /// It, or its driver, could not be started.
    Failed(Status),
    /// It was removed.
    Removed,
}

impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceState::NoDriver => f.write_str("no driver"),
            DeviceState::Started => f.write_str("started"),
            DeviceState::Stopped => f.write_str("stopped"),
            DeviceState::Failed(status) => write!(f, "failed: {status}"),
            DeviceState::Removed => f.write_str("removed"),
        }
    }
}

/// A line of the monitor's `devices`.
#[derive(Debug, Clone)]
pub struct DeviceRow {
    /// The function: its BARs and messages.
    pub pci: Arc<PciDevice>,
    /// Where the function sits.
    pub location: Location,
    /// What it is.
    pub ids: PciIds,
    /// Its name, if a driver serves it.
    pub name: Option<String>,
    /// How it is doing.
    pub state: DeviceState,
}

/// A line of the monitor's `interrupts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterruptRow {
    /// The device's name.
    pub device: String,
    /// The driver's handler type.
    pub handler: &'static str,
    /// The message's number.
    pub message: u16,
    /// CPU and vector; `None` while it is not connected.
    pub grant: Option<Grant>,
    /// The IRQL of the ISR and of `synchronize`.
    pub synchronize_irql: u8,
    /// Level or latched.
    pub mode: Mode,
    /// Whether the ISR runs at PASSIVE.
    pub passive: bool,
    /// Interrupts delivered to the ISR, by CPU.
    pub counts: Vec<u64>,
    /// Those that it did not claim.
    pub unclaimed: u64,
    /// Whether it is masked now.
    pub masked: bool,
}

/// A line of the monitor's `objects`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRow {
    /// WDF's name of the kind.
    pub kind: &'static str,
    /// The handler's type, or whose they are.
    pub of: &'static str,
    /// How many there are.
    pub count: usize,
    /// Their memory that devices can write.
    pub bytes: usize,
}
