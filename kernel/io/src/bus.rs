//! The PCI buses of a machine.

use crate::{
    EcamRegion, Error, LineRouting, Location, PciDevice,
    config::{Command, ConfigSpace, Function},
    mapping::{FUNCTION_LEN, Mapped},
    place,
    walk::Walk,
};
use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};
use core::ops::Range;
use ke::{At, Mmio, Passive};

/// What firmware says about the machine's PCI.
pub struct Platform {
    ecam: Vec<EcamRegion>,
    windows: Vec<Range<u64>>,
    lines: Option<Box<dyn LineRouting>>,
}

impl Platform {
    /// `ecam`: the regions of the MCFG table. `windows`: addresses that the host bridges forward, for BARs that
    /// firmware left unplaced; may be empty.
    ///
    /// # Safety
    /// The regions are configuration space and the windows hold nothing but device memory.
    pub unsafe fn new(ecam: Vec<EcamRegion>, windows: Vec<Range<u64>>) -> Self {
        Platform { ecam, windows, lines: None }
    }

    /// Lets functions use interrupt lines where they have no messages.
    pub fn with_lines(mut self, lines: Box<dyn LineRouting>) -> Self {
        self.lines = Some(lines);
        self
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
            for found in walk.found {
                if found.bridge.is_some() {
                    let forwarding = open_bridge(at, &buses[&found.location.bus], found.location);
                    bus.problems.extend(forwarding.err());
                    continue;
                }
                let config = buses[&found.location.bus].part(found.location.offset_in_bus(), FUNCTION_LEN);
                let config = config.expect("a bus has room for all its functions");
                let lines = platform.lines.as_deref();
                let line = found.pin.zip(lines).and_then(|(pin, lines)| lines.route(at, found.location, pin));
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
