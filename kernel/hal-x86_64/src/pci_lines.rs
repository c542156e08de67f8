//! Where the pins of PCI functions lead, as AML says: `_PRT` of each bus, `_CRS` of the link devices that it names.
//!
//! What AML said once is kept: nothing but this kernel changes a link.

use crate::{
    acpi::Platform,
    aml::Aml,
    aml_name,
    isa,
    prt::{self, Source, Table},
    resource::{self, Interrupt, Number},
};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    sync::Arc,
    vec,
    vec::Vec,
};
use io::{AcpiError, AcpiValue, Line, LineRouting, Location, Pin};
use ke::{At, Passive, WaitLock};

/// Hardware ids of PCI host bridges, with and without PCI Express.
pub(crate) const ROOTS: [&str; 2] = ["PNP0A08", "PNP0A03"];

/// The routing of all pins.
pub struct PciLines {
    aml: Arc<Aml>,
    platform: &'static Platform,
    roots: Vec<Root>,
    known: WaitLock<Known>,
}

/// A host bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) segment: u16,
    pub(crate) bus: u8,
    pub(crate) path: String,
}

/// What AML said.
#[derive(Default)]
struct Known {
    /// By the path of the bus.
    tables: BTreeMap<String, Arc<Table>>,
    /// By the path of the bus, and the bridge's device and function as `_ADR` has them.
    bridges: BTreeMap<(String, u64), Option<String>>,
    /// By the path of the link.
    links: BTreeMap<String, Vec<Line>>,
    problems: Vec<AcpiError>,
}

/// A pin of a bus, for tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedPin {
    /// The path of the bus in the ACPI namespace.
    pub bus: String,
    /// The device on it.
    pub device: u8,
    /// The pin.
    pub pin: Pin,
    /// The link device that the pin leads to; `None` where it is hard-wired.
    pub link: Option<String>,
    /// The line, if AML could say it.
    pub line: Option<Line>,
}

impl PciLines {
    pub(crate) fn new(aml: Arc<Aml>, platform: &'static Platform, roots: Vec<Root>) -> Self {
        PciLines { aml, platform, roots, known: WaitLock::new(Known::default()) }
    }

    /// Every pin that firmware's tables name. PASSIVE.
    pub fn routes(&self, at: &mut At<'_, Passive>) -> Vec<RoutedPin> {
        let mut routes = Vec::new();
        let mut known = self.known.acquire(at);
        for bus in self.aml.devices().iter().filter(|device| device.has("_PRT")) {
            let Some(table) = self.table(at, &mut known, &bus.path) else { continue };
            for entry in table.entries() {
                let link = match &entry.source {
                    Source::Link(name, _) => self.link_path(&bus.path, name),
                    Source::Gsi(_) => None,
                };
                let line = self.line(at, &mut known, &bus.path, &entry.source);
                routes.push(RoutedPin { bus: bus.path.clone(), device: entry.device, pin: entry.pin, link, line });
            }
        }
        routes
    }

    /// What AML could not say so far. PASSIVE.
    pub fn problems(&self, at: &mut At<'_, Passive>) -> Vec<AcpiError> {
        self.known.acquire(at).problems.clone()
    }

    /// The path of the bus behind `bridge`, which is on the bus with the path `bus`.
    fn behind(
        &self,
        at: &mut At<'_, Passive>,
        known: &mut Known,
        bus: &str,
        bridge: Location,
    ) -> Option<String> {
        let address = u64::from(bridge.device) << 16 | u64::from(bridge.function);
        let key = (bus.to_string(), address);
        if let Some(path) = known.bridges.get(&key) {
            return path.clone();
        }
        let mut children =
            self.aml.devices().iter().filter(|child| aml_name::parent(&child.path) == Some(bus) && child.has("_ADR"));
        let found = children.find(|child| {
            let child_address = self.aml.integer(at, &format!("{}._ADR", child.path));
            child_address.map_err(|error| known.problems.push(error)) == Ok(address)
        });
        let path = found.map(|child| child.path.clone());
        known.bridges.insert(key, path.clone());
        path
    }

    /// The table of the bus with the path `bus`, if it has one.
    fn table(&self, at: &mut At<'_, Passive>, known: &mut Known, bus: &str) -> Option<Arc<Table>> {
        if let Some(table) = known.tables.get(bus) {
            return Some(table.clone());
        }
        if !self.aml.device(bus)?.has("_PRT") {
            return None;
        }
        let path = format!("{bus}._PRT");
        let table = match self.aml.call(at, &path, Vec::new()) {
            Ok(AcpiValue::Package(entries)) => Table::parse(&entries)
                .map_err(|error| AcpiError::Failed { path, why: error.to_string() }),
            Ok(_) => Err(AcpiError::Unexpected { path, wanted: "a package" }),
            Err(error) => Err(error),
        };
        // A bus whose table cannot be read routes nothing; its pins are not those of the bridge.
        let table = Arc::new(table.unwrap_or_else(|error| {
            known.problems.push(error);
            Table::default()
        }));
        known.tables.insert(bus.into(), table.clone());
        Some(table)
    }

    fn link_path(&self, bus: &str, name: &str) -> Option<String> {
        aml_name::resolve(bus, &aml_name::shortened(name), |path| self.aml.device(path).is_some())
    }

    fn line(&self, at: &mut At<'_, Passive>, known: &mut Known, bus: &str, source: &Source) -> Option<Line> {
        let (name, index) = match source {
            Source::Gsi(gsi) => return Some(isa::hard_wired(*gsi, &self.platform.overrides)),
            Source::Link(name, index) => (name, *index),
        };
        let Some(link) = self.link_path(bus, name) else {
            known.problems.push(AcpiError::NoSuchObject(name.clone()));
            return None;
        };
        if !known.links.contains_key(&link) {
            let lines = self.link_lines(at, &link).unwrap_or_else(|error| {
                known.problems.push(error);
                Vec::new()
            });
            known.links.insert(link.clone(), lines);
        }
        known.links[&link].get(index).copied()
    }

    /// The lines of the link device at `link`. One that firmware left open is set to the first that it can be.
    fn link_lines(&self, at: &mut At<'_, Passive>, link: &str) -> Result<Vec<Line>, AcpiError> {
        let mut interrupts = self.interrupts(at, &format!("{link}._CRS"))?;
        if interrupts.is_empty() {
            let possible = self.interrupts(at, &format!("{link}._PRS"))?;
            if let Some(&choice) = possible.first() {
                let wanted = AcpiValue::Buffer(resource::encode(choice));
                self.aml.call(at, &format!("{link}._SRS"), vec![wanted])?;
                interrupts = self.interrupts(at, &format!("{link}._CRS"))?;
            }
        }
        Ok(interrupts.into_iter().map(|interrupt| isa::line(interrupt, &self.platform.overrides)).collect())
    }

    /// The interrupts of a list of descriptors, without number 0: an open link says that.
    fn interrupts(&self, at: &mut At<'_, Passive>, path: &str) -> Result<Vec<Interrupt>, AcpiError> {
        let bytes = self.aml.buffer(at, path)?;
        let found = resource::decode(&bytes)
            .map_err(|error| AcpiError::Failed { path: path.into(), why: error.to_string() })?;
        let is_set = |interrupt: &Interrupt| !matches!(interrupt.number, Number::Isa(0) | Number::Gsi(0));
        Ok(found.interrupts.into_iter().filter(is_set).collect())
    }
}

impl LineRouting for PciLines {
    fn route(&self, at: &mut At<'_, Passive>, location: Location, bridges: &[Location], pin: Pin) -> Option<Line> {
        let root_bus = bridges.first().map_or(location.bus, |bridge| bridge.bus);
        let root = self.roots.iter().find(|root| (root.segment, root.bus) == (location.segment, root_bus))?;
        let mut known = self.known.acquire(at);
        // The path of the bus at each depth, as far as the namespace knows it.
        let mut buses = vec![Some(root.path.clone())];
        for &bridge in bridges {
            let above = buses.last().cloned().flatten();
            buses.push(above.and_then(|above| self.behind(at, &mut known, &above, bridge)));
        }
        let tables: Vec<_> =
            buses.iter().map(|bus| self.table(at, &mut known, bus.as_deref()?)).collect();
        let (depth, device, pin) = prt::find_table(location, bridges, pin, |depth| tables[depth].is_some())?;
        let (table, bus) = (tables[depth].as_ref()?, buses[depth].as_ref()?);
        let source = table.source(device, pin)?;
        self.line(at, &mut known, bus, source)
    }
}
