//! The plug-and-play manager: matches functions to drivers, takes devices through their lives, answers the monitor.
//!
//! All of it is one value that the image owns and lends; there is no `static`.

use crate::{
    AcpiDeviceRow, BusChanges, Departure, Device, DeviceRef, DeviceRow, DeviceState, Driver, File, InterruptRow,
    LineRow, ObjectRow, PowerState, QueueRow, Result, Status,
    dma::Quarantine,
    driver::AnyDriver,
    hardware::Hardware,
    lines::Lines,
    node::{AnyNode, Node},
};
use alloc::{boxed::Box, collections::BTreeMap, string::String, sync::Arc, vec::Vec};
use core::{any::Any, fmt};
use io::{AcpiMethods, Affinity, Bus, Grant, Location, Platform, VectorSpace};
use ke::{At, Passive, WaitLock};

/// What all devices of a machine draw on.
pub(crate) struct Shared {
    pub vectors: WaitLock<VectorSpace>,
    pub lines: Lines,
    pub methods: Option<Arc<dyn AcpiMethods>>,
    pub quarantine: Quarantine,
    pub changes: BusChanges,
    problems: WaitLock<Vec<Status>>,
}

impl Shared {
    /// Keeps what went wrong where nobody can be told.
    pub fn report(&self, problem: Status, at: &mut At<'_, Passive>) {
        self.problems.acquire(at).push(problem);
    }
}

/// The devices of a machine and their drivers.
pub struct Pnp {
    tree: Arc<Tree>,
}

/// What [`Pnp`] owns, and what serves devices that leave looks into.
pub(crate) struct Tree {
    pub shared: Arc<Shared>,
    /// Dropped before the drivers that serve them.
    pub devices: Vec<Entry>,
    _drivers: BTreeMap<&'static str, Box<dyn AnyDriver>>,
}

pub(crate) struct Entry {
    pub hardware: Hardware,
    /// The device with its driver; why the driver did not load; or nothing, for want of a driver.
    pub node: Option<Result<Arc<dyn AnyNode>>>,
}

impl Entry {
    fn state(&self, at: &mut At<'_, Passive>) -> (Option<String>, DeviceState) {
        match &self.node {
            None => (None, DeviceState::NoDriver),
            Some(Err(status)) => (None, DeviceState::Failed(status.clone())),
            Some(Ok(node)) => (Some(String::from(node.name())), node.state(at)),
        }
    }

    fn unused_interrupts(&self, at: &mut At<'_, Passive>) -> u16 {
        match &self.node {
            Some(Ok(node)) => node.unused_interrupts(at),
            _ => 0,
        }
    }
}

impl Pnp {
    /// Enumerates `platform`, and adds and starts every device that one of `drivers` serves (the first in the table
    /// wins). What fails is in the device's state; the others work. PASSIVE.
    pub fn start(at: &mut At<'_, Passive>, platform: &Platform, drivers: &[Driver]) -> Self {
        let bus = Bus::enumerate(at, platform);
        let shared = Arc::new(Shared {
            vectors: WaitLock::new(VectorSpace::new(at.cpu_count())),
            lines: Lines::new(platform.line_controller().cloned()),
            methods: platform.acpi_methods().cloned(),
            quarantine: Quarantine::default(),
            changes: BusChanges::new(),
            problems: WaitLock::new(bus.problems().iter().copied().map(Status::Bus).collect()),
        });
        let functions = bus.devices().iter().cloned().map(Hardware::Pci);
        let found: Vec<Hardware> =
            functions.chain(platform.acpi_devices().iter().cloned().map(Hardware::Acpi)).collect();
        let mut loaded: BTreeMap<&'static str, Box<dyn AnyDriver>> = BTreeMap::new();
        let mut instances: BTreeMap<&'static str, u32> = BTreeMap::new();
        let mut devices = Vec::new();
        for hardware in found {
            let mut entry = Entry { hardware, node: None };
            if let Some(driver) = drivers.iter().find(|driver| driver.serves(&entry.hardware)) {
                entry.node = Some(load_once(&mut loaded, driver, at).map(|any| {
                    let instance = instances.entry(driver.name()).or_default();
                    let node = any.add(&shared, &entry.hardware, *instance, driver.has_on_lines(*instance), at);
                    *instance += 1;
                    // A failure is in the device's state.
                    let _started = node.start(at);
                    node
                }));
            }
            devices.push(entry);
        }
        let tree = Arc::new(Tree { shared, devices, _drivers: loaded });
        tree.shared.changes.open(at, &tree);
        Pnp { tree }
    }

    /// A reference to the device `name` (`edu#0`), if it is a `D`. PASSIVE or above: any thread may keep it.
    pub fn device<D: Device>(&self, name: &str) -> Option<DeviceRef<D>> {
        let node: Arc<dyn Any + Send + Sync> = self.node(name).ok()?.clone();
        node.downcast::<Node<D>>().ok().map(DeviceRef::new)
    }

    /// Opens the device `name` (`edu#0`) for requests (ZwCreateFile), whatever driver it has. PASSIVE or above.
    pub fn open(&self, name: &str) -> Result<File> {
        Ok(File::new(self.node(name)?.clone()))
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

    /// Stops a device; it can be started again, with other resources (IRP_MN_STOP_DEVICE). An error of a disable callback, or
    /// of the bus, makes it a failed device, stopped all the same. PASSIVE.
    pub fn stop_device(&self, at: &mut At<'_, Passive>, name: &str) -> Result<()> {
        self.node(name)?.stop(at)
    }

    /// Stops a started device and starts it with other vectors, maybe on other CPUs (IRP_MN_QUERY_STOP_DEVICE and what follows,
    /// for a rebalance). What its driver had disabled stays so. Lines stay where they are: [`Self::move_interrupt`] moves them.
    /// On an error the device is stopped, and failed. PASSIVE.
    pub fn rebalance_device(&self, at: &mut At<'_, Passive>, name: &str) -> Result<()> {
        self.node(name)?.rebalance(at)
    }

    /// Puts a started device to sleep in D1, D2 or D3 (IRP_MN_SET_POWER): whoever uses it from outside leaves, its interrupts
    /// are disabled, and disconnected unless they are to be kept. The bus is told that it is no master, and no more. On an error
    /// the device is stopped, and failed. PASSIVE.
    pub fn power_down_device(&self, at: &mut At<'_, Passive>, name: &str, to: PowerState) -> Result<()> {
        self.node(name)?.power_down(to, at)
    }

    /// Wakes a device that sleeps, to D0 (IRP_MN_SET_POWER). On an error the device is stopped, and failed. PASSIVE.
    pub fn power_up_device(&self, at: &mut At<'_, Passive>, name: &str) -> Result<()> {
        self.node(name)?.power_up(at)
    }

    /// Stops a device, if it runs, and ends its second stage (IRP_MN_REMOVE_DEVICE). An error says what went wrong on the way;
    /// it is removed all the same. PASSIVE.
    pub fn remove_device(&self, at: &mut At<'_, Passive>, name: &str) -> Result<()> {
        self.node(name)?.remove(false, at)
    }

    /// The hardware is gone without a word (IRP_MN_SURPRISE_REMOVAL, then the removal): no disable callback runs. PASSIVE.
    pub fn surprise_remove_device(&self, at: &mut At<'_, Passive>, name: &str) -> Result<()> {
        self.node(name)?.remove(true, at)
    }

    /// The function at `location` has left the bus, so it cannot write any more: its quarantined buffers are freed.
    /// PASSIVE.
    pub fn left_the_bus(&self, at: &mut At<'_, Passive>, location: Location) {
        self.tree.shared.quarantine.release(at, location);
    }

    /// Where it is told that devices come to leave the bus.
    pub fn bus_changes(&self) -> BusChanges {
        self.tree.shared.changes.clone()
    }

    /// Waits until everything that was told to [`Self::bus_changes`] has been served. PASSIVE.
    pub fn settle(&self, at: &mut At<'_, Passive>) {
        self.tree.shared.changes.flush(at);
    }

    /// The functions that have left the bus, or should have, first to last. PASSIVE.
    pub fn departures(&self, at: &mut At<'_, Passive>) -> Vec<Departure> {
        self.tree.shared.changes.departures(at)
    }

    /// All PCI functions, with their drivers' state. PASSIVE.
    pub fn devices(&self, at: &mut At<'_, Passive>) -> Vec<DeviceRow> {
        let row = |entry: &Entry, at: &mut At<'_, Passive>| {
            let Hardware::Pci(pci) = &entry.hardware else { return None };
            let (name, state) = entry.state(at);
            Some(DeviceRow {
                pci: pci.clone(),
                location: pci.location(),
                ids: pci.ids(),
                name,
                state,
                unused_interrupts: entry.unused_interrupts(at),
            })
        };
        self.tree.devices.iter().filter_map(|entry| row(entry, at)).collect()
    }

    /// All devices that ACPI describes, with their drivers' state. PASSIVE.
    pub fn acpi_devices(&self, at: &mut At<'_, Passive>) -> Vec<AcpiDeviceRow> {
        let row = |entry: &Entry, at: &mut At<'_, Passive>| {
            let Hardware::Acpi(acpi) = &entry.hardware else { return None };
            let (name, state) = entry.state(at);
            Some(AcpiDeviceRow { acpi: acpi.clone(), name, state, unused_interrupts: entry.unused_interrupts(at) })
        };
        self.tree.devices.iter().filter_map(|entry| row(entry, at)).collect()
    }

    /// The interrupt lines in use. PASSIVE.
    pub fn lines(&self, at: &mut At<'_, Passive>) -> Vec<LineRow> {
        self.tree.shared.lines.rows(at)
    }

    /// Lets line `gsi`, which was masked because nobody claimed its interrupts, interrupt again. PASSIVE.
    pub fn forgive_line(&self, at: &mut At<'_, Passive>, gsi: u32) -> Result<()> {
        self.tree.shared.lines.forgive(gsi, at)
    }

    /// The interrupt objects of all devices. PASSIVE.
    pub fn interrupts(&self, at: &mut At<'_, Passive>) -> Vec<InterruptRow> {
        self.nodes().flat_map(|node| node.interrupts(at)).collect()
    }

    /// Moves interrupt `number` of device `name` to a CPU of `affinity` while it fires, and says where it is now; see
    /// [`Interrupt::set_affinity`](crate::Interrupt::set_affinity). PASSIVE.
    pub fn move_interrupt(
        &self,
        at: &mut At<'_, Passive>,
        name: &str,
        number: u16,
        affinity: &Affinity,
    ) -> Result<Grant> {
        self.node(name)?.move_interrupt(number, affinity, at)
    }

    /// Lets interrupt `number` of device `name`, which was masked for a storm, through again; a line is forgiven by
    /// [`Self::forgive_line`]. The device counts as failed until it is started anew, and one that was cut off is mute. PASSIVE.
    pub fn forgive_interrupt(&self, at: &mut At<'_, Passive>, name: &str, number: u16) -> Result<()> {
        self.node(name)?.forgive_interrupt(number, at)
    }

    /// What exists, counted by kind and handler: interrupts, DPCs, work items, timers, general objects, DMA buffers, and what is
    /// in quarantine or taken of the vectors. PASSIVE.
    pub fn objects(&self, at: &mut At<'_, Passive>) -> Vec<ObjectRow> {
        let mut rows: BTreeMap<(&'static str, &'static str), ObjectRow> = BTreeMap::new();
        let mut all: Vec<ObjectRow> = self.nodes().flat_map(|node| node.objects(at)).collect();
        let (count, bytes) = self.tree.shared.quarantine.totals(at);
        all.push(ObjectRow { kind: "DmaBuffer", of: "quarantine", count, bytes });
        let vectors = self.tree.shared.vectors.acquire(at).total_used() as usize;
        all.push(ObjectRow { kind: "Vector", of: "all devices", count: vectors, bytes: 0 });
        for row in all {
            let empty = ObjectRow { count: 0, bytes: 0, ..row };
            let sum = rows.entry((row.kind, row.of)).or_insert(empty);
            sum.count += row.count;
            sum.bytes += row.bytes;
        }
        rows.into_values().collect()
    }

    /// The queues of all devices. PASSIVE.
    pub fn queues(&self, at: &mut At<'_, Passive>) -> Vec<QueueRow> {
        self.nodes().flat_map(|node| node.queues(at)).collect()
    }

    /// What went wrong on the bus, or while a device went down, in order. PASSIVE.
    pub fn problems(&self, at: &mut At<'_, Passive>) -> Vec<Status> {
        self.tree.shared.problems.acquire(at).clone()
    }

    /// Stops and removes all devices, last first. PASSIVE.
    pub fn shut_down(&self, at: &mut At<'_, Passive>) {
        self.tree.shared.changes.close(at);
        for entry in self.tree.devices.iter().rev() {
            if let Some(Ok(node)) = &entry.node {
                // Already removed is as good; what went wrong is in the problems.
                let _ = node.remove(false, at);
            }
        }
    }

    fn nodes(&self) -> impl Iterator<Item = &Arc<dyn AnyNode>> {
        self.tree.devices.iter().filter_map(|entry| entry.node.as_ref()?.as_ref().ok())
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
        f.debug_struct("Pnp").field("devices", &self.tree.devices.len()).finish_non_exhaustive()
    }
}
