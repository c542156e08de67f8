//! PCI routing tables (`_PRT`): which source the pins of a bus's devices lead to.

use alloc::{string::String, vec::Vec};
use core::fmt;
use io::{AcpiValue, Location, Pin};

/// The pins of a bus.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table(Vec<Entry>);

/// A pin of a device, all functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The device.
    pub device: u8,
    /// The pin.
    pub pin: Pin,
    /// Where it leads.
    pub source: Source,
}

/// Where a pin leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// To a line, hard-wired.
    Gsi(u32),
    /// To a link device, by a name relative to the table's scope, and there to the resource of this index.
    Link(String, usize),
}

/// The entry with this number is not as the specification has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadEntry(pub usize);

impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} of the routing table is malformed", self.0)
    }
}

impl core::error::Error for BadEntry {}

impl Table {
    /// The table that the entries of a `_PRT` package make.
    pub fn parse(entries: &[AcpiValue]) -> Result<Self, BadEntry> {
        let entries = entries.iter().enumerate().map(|(n, entry)| parse_entry(entry).ok_or(BadEntry(n)));
        entries.collect::<Result<_, _>>().map(Table)
    }

    /// Where `pin` of `device` leads, if the table says so.
    pub fn source(&self, device: u8, pin: Pin) -> Option<&Source> {
        self.0.iter().find(|entry| (entry.device, entry.pin) == (device, pin)).map(|entry| &entry.source)
    }

    /// All entries.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }
}

fn parse_entry(entry: &AcpiValue) -> Option<Entry> {
    let AcpiValue::Package(fields) = entry else { return None };
    let [AcpiValue::Integer(address), AcpiValue::Integer(pin), source, AcpiValue::Integer(index)] = fields.as_slice()
    else {
        return None;
    };
    Some(Entry {
        device: u8::try_from(address >> 16).ok().filter(|&device| device < 32)?,
        pin: *[Pin::A, Pin::B, Pin::C, Pin::D].get(usize::try_from(*pin).ok()?)?,
        source: match source {
            AcpiValue::Integer(0) => Source::Gsi(u32::try_from(*index).ok()?),
            AcpiValue::String(link) => Source::Link(link.clone(), usize::try_from(*index).ok()?),
            _ => return None,
        },
    })
}

/// The bus that has a table for `pin` of the function at `location`, which is behind `bridges` from the root bus down:
/// its depth (0 the root bus), and the device and the pin there. `has_table` says whether the bus at a depth has one.
pub fn find_table(
    location: Location,
    bridges: &[Location],
    pin: Pin,
    has_table: impl Fn(usize) -> bool,
) -> Option<(usize, u8, Pin)> {
    let (mut device, mut pin) = (location.device, pin);
    for depth in (0..=bridges.len()).rev() {
        if has_table(depth) {
            return Some((depth, device, pin));
        }
        pin = pin.swizzled(device);
        device = bridges.get(depth.checked_sub(1)?)?.device;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec};

    fn entry(address: u64, pin: u64, source: AcpiValue, index: u64) -> AcpiValue {
        AcpiValue::Package(vec![
            AcpiValue::Integer(address),
            AcpiValue::Integer(pin),
            source,
            AcpiValue::Integer(index),
        ])
    }

    fn link(name: &str) -> AcpiValue {
        AcpiValue::String(name.to_string())
    }

    #[test]
    fn pins_lead_to_links_and_to_lines() {
        let table = Table::parse(&[
            entry(0x2_ffff, 0, link("GSIG"), 0),
            entry(0x2_ffff, 3, link("GSIF"), 0),
            entry(0x1f_ffff, 1, AcpiValue::Integer(0), 17),
        ])
        .unwrap();
        assert_eq!(table.source(2, Pin::A), Some(&Source::Link("GSIG".into(), 0)));
        assert_eq!(table.source(2, Pin::D), Some(&Source::Link("GSIF".into(), 0)));
        assert_eq!(table.source(31, Pin::B), Some(&Source::Gsi(17)));
        assert_eq!(table.source(2, Pin::B), None);
        assert_eq!(table.source(3, Pin::A), None);
    }

    #[test]
    fn a_malformed_entry_is_named() {
        let good = entry(0x2_ffff, 0, link("GSIG"), 0);
        let bad = [
            AcpiValue::Integer(1),
            AcpiValue::Package(vec![AcpiValue::Integer(0xffff)]),
            entry(0x20_ffff, 0, link("GSIG"), 0),
            entry(0x2_ffff, 4, link("GSIG"), 0),
            entry(0x2_ffff, 0, AcpiValue::Integer(3), 0),
            entry(0x2_ffff, 0, AcpiValue::Nothing, 0),
        ];
        for bad in bad {
            assert_eq!(Table::parse(&[good.clone(), bad]), Err(BadEntry(1)));
        }
    }

    fn at(bus: u8, device: u8) -> Location {
        Location::new(0, bus, device, 0)
    }

    #[test]
    fn a_bus_with_a_table_answers_for_itself() {
        assert_eq!(find_table(at(0, 3), &[], Pin::A, |_| true), Some((0, 3, Pin::A)));
        assert_eq!(find_table(at(1, 3), &[at(0, 2)], Pin::B, |_| true), Some((1, 3, Pin::B)));
        assert_eq!(find_table(at(0, 3), &[], Pin::A, |_| false), None);
    }

    #[test]
    fn a_bridge_without_a_table_passes_the_pin_on_turned_by_the_device() {
        let root_only = |depth| depth == 0;
        assert_eq!(find_table(at(1, 0), &[at(0, 2)], Pin::A, root_only), Some((0, 2, Pin::A)));
        assert_eq!(find_table(at(1, 3), &[at(0, 2)], Pin::A, root_only), Some((0, 2, Pin::D)));
        // INTA of device 1, behind device 6, behind device 4: B on the middle bus, D on the root bus.
        assert_eq!(find_table(at(2, 1), &[at(0, 4), at(1, 6)], Pin::A, root_only), Some((0, 4, Pin::D)));
        let middle = |depth| depth == 1;
        assert_eq!(find_table(at(2, 1), &[at(0, 4), at(1, 6)], Pin::A, middle), Some((1, 6, Pin::B)));
        assert_eq!(find_table(at(2, 1), &[at(0, 4), at(1, 6)], Pin::A, |_| false), None);
    }
}
