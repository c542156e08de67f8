//! The PCI buses of a machine.

use crate::{
    AcpiDevice, AcpiMethods, EcamRegion, Error, LineController, LineRouting, Location, PciDevice,
    config::{Command, ConfigSpace, Function},
    mapping::{FUNCTION_LEN, Mapped},
    place,
    walk::Walk,
};
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::ops::Range;
use ke::{At, Mmio, Passive};

/// What firmware says about the machine's PCI, its lines, and the devices that no bus announces.
pub struct Platform {
    ecam: Vec<EcamRegion>,
    windows: Vec<Range<u64>>,
    lines: Option<Arc<dyn LineRouting>>,
    controller: Option<Arc<dyn LineController>>,
    acpi: Vec<Arc<AcpiDevice>>,
    methods: Option<Arc<dyn AcpiMethods>>,
}

impl Platform {
    /// `ecam`: the regions of the MCFG table. `windows`: addresses that the host bridges forward, for BARs that
    /// firmware left unplaced; may be empty.
    ///
    /// # Safety
    /// The regions are configuration space and the windows hold nothing but device memory.
    pub unsafe fn new(ecam: Vec<EcamRegion>, windows: Vec<Range<u64>>) -> Self {
        Platform { ecam, windows, lines: None, controller: None, acpi: Vec::new(), methods: None }
    }

    /// Lets functions use interrupt lines where they have no messages.
    pub fn with_lines(mut self, lines: Arc<dyn LineRouting>) -> Self {
        self.lines = Some(lines);
        self
    }

    /// Says who turns lines into vectors. Without it no line can be connected.
    pub fn with_line_controller(mut self, controller: Arc<dyn LineController>) -> Self {
        self.controller = Some(controller);
        self
    }

    /// Adds the devices that ACPI describes, and their methods.
    pub fn with_acpi(mut self, devices: Vec<Arc<AcpiDevice>>, methods: Option<Arc<dyn AcpiMethods>>) -> Self {
        self.acpi = devices;
        self.methods = methods;
        self
    }

    /// Who turns lines into vectors.
    pub fn line_controller(&self) -> Option<&Arc<dyn LineController>> {
        self.controller.as_ref()
    }

    /// The devices that ACPI describes and that are present.
    pub fn acpi_devices(&self) -> &[Arc<AcpiDevice>] {
        &self.acpi
    }

    /// The methods of the ACPI namespace, on a machine that has one.
    pub fn acpi_methods(&self) -> Option<&Arc<dyn AcpiMethods>> {
        self.methods.as_ref()
    }
}

/// The machine's PCI functions.
pub struct Bus {
    devices: Vec<Arc<PciDevice>>,
    problems: Vec<Error>,
}

impl Bus {
    /// Walks all buses and places unplaced BARs. What could not be understood is in [`Self::problems`]; the rest
    /// works. PASSIVE.
    pub fn enumerate(at: &mut At<'_, Passive>, platform: &Platform) -> Self {
        let mut bus = Bus { devices: Vec::new(), problems: Vec::new() };
        for region in &platform.ecam {
            let mut ecam = Ecam { region, buses: BTreeMap::new(), at };
            let buses = u16::from(region.first_bus)..u16::from(region.last_bus) + 1;
            let mut walk = Walk::segment(&mut ecam, region.segment, buses);
            place::place_all(&mut ecam, &mut walk, &platform.windows);
            bus.problems.append(&mut walk.problems);
            let Ecam { buses, .. } = ecam;
            let above: BTreeMap<u8, Location> =
                walk.found.iter().filter_map(|f| Some((f.bridge.as_ref()?.secondary, f.location))).collect();
            for found in walk.found {
                if found.bridge.is_some() {
                    let forwarding = open_bridge(at, &buses[&found.location.bus], found.location);
                    bus.problems.extend(forwarding.err());
                    continue;
                }
                let config = buses[&found.location.bus].part(found.location.offset_in_bus(), FUNCTION_LEN);
                let config = config.expect("a bus has room for all its functions");
                let lines = platform.lines.as_deref();
                let line = found.pin.zip(lines).and_then(|(pin, lines)| {
                    lines.route(at, found.location, &bridges_above(&above, found.location), pin)
                });
                bus.devices.push(Arc::new(PciDevice::new(found, config, line)));
            }
        }
        bus
    }

    /// The functions that are no bridges, in order of their location.
    pub fn devices(&self) -> &[Arc<PciDevice>] {
        &self.devices
    }

    /// What enumeration could not understand or place.
    pub fn problems(&self) -> &[Error] {
        &self.problems
    }
}

/// The bridges between the root bus and `location`, from the root down. `above` says which one leads to a bus.
fn bridges_above(above: &BTreeMap<u8, Location>, location: Location) -> Vec<Location> {
    // The walk follows bridges to higher bus numbers only, so this ends.
    let mut bridges: Vec<Location> =
        core::iter::successors(above.get(&location.bus), |bridge| above.get(&bridge.bus)).copied().collect();
    bridges.reverse();
    bridges
}

/// Lets a bridge forward both ways: accesses of CPUs down, DMA and messages up.
fn open_bridge(at: &mut At<'_, Passive>, bus: &Mmio, location: Location) -> Result<(), Error> {
    let mut bridge = Function { location, registers: Mapped::new(bus, location.offset_in_bus(), at) };
    bridge.change_command(Command::MEMORY | Command::BUS_MASTER, Command::empty())
}

/// The configuration space behind one ECAM region; buses are mapped as the walk reaches them.
struct Ecam<'a, 'c> {
    region: &'a EcamRegion,
    buses: BTreeMap<u8, Mmio>,
    at: &'a mut At<'c, Passive>,
}

impl<'c> ConfigSpace for Ecam<'_, 'c> {
    type Registers<'a>
        = Mapped<'a, 'c, Passive>
    where
        Self: 'a;

    fn registers(&mut self, location: Location) -> Result<Self::Registers<'_>, Error> {
        if !(self.region.first_bus..=self.region.last_bus).contains(&location.bus) {
            return Err(Error::NoSuchBus(location));
        }
        if !self.buses.contains_key(&location.bus) {
            self.buses.insert(location.bus, self.region.map_bus(self.at, location)?);
        }
        Ok(Mapped::new(&self.buses[&location.bus], location.offset_in_bus(), self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bridges_above_a_function_are_named_from_the_root_down() {
        let at = |bus, device| Location::new(0, bus, device, 0);
        let above = BTreeMap::from([(1, at(0, 2)), (2, at(1, 5)), (3, at(0, 7))]);
        assert_eq!(bridges_above(&above, at(2, 4)), [at(0, 2), at(1, 5)]);
        assert_eq!(bridges_above(&above, at(3, 0)), [at(0, 7)]);
        assert_eq!(bridges_above(&above, at(0, 3)), []);
    }
}
