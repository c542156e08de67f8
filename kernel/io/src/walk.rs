//! Enumeration: every function of a segment, bridges followed.
//!
//! **Invariant:** a bridge is followed only to a higher bus number than its own, and no bus twice, so the walk ends
//! whatever the registers say.

use crate::{
    Bar, Error, Location, Messages, Msi, MsiX, PciIds, Pin, bar,
    config::{ConfigSpace, Function, Registers, offset},
};
use alloc::{collections::BTreeSet, vec::Vec};
use core::ops::Range;

/// A function as the walk found it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub location: Location,
    pub ids: PciIds,
    pub bridge: Option<Bridge>,
    pub bars: Vec<Bar>,
    pub messages: Option<Messages>,
    pub pin: Option<Pin>,
}

/// What a PCI-to-PCI bridge forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bridge {
    pub secondary: u8,
    /// The memory window and the prefetchable one; empty when closed.
    pub windows: [Range<u64>; 2],
}

/// All functions of a segment, and what was wrong with those that could not be understood.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub found: Vec<Found>,
    pub problems: Vec<Error>,
}

impl Walk {
    /// Walks `buses` of `segment` from the first bus down. Buses that no bridge leads to (other roots of the host)
    /// are not looked for.
    pub fn segment(space: &mut impl ConfigSpace, segment: u16, buses: Range<u16>) -> Self {
        let mut walk = Walk::default();
        let mut to_do: Vec<u8> = buses.clone().next().map(|bus| bus as u8).into_iter().collect();
        let mut seen: BTreeSet<u8> = to_do.iter().copied().collect();
        while let Some(bus) = to_do.pop() {
            let from = walk.found.len();
            for device in 0..32 {
                if let Err(error) = walk.device(space, Location::new(segment, bus, device, 0)) {
                    walk.problems.push(error);
                }
            }
            for found in &walk.found[from..] {
                let Some(Bridge { secondary, .. }) = found.bridge else { continue };
                if secondary > bus && buses.contains(&u16::from(secondary)) && seen.insert(secondary) {
                    to_do.push(secondary);
                } else {
                    walk.problems.push(Error::BridgeNotNumbered { location: found.location, secondary });
                }
            }
        }
        walk.found.sort_by_key(|found| found.location);
        walk
    }

    /// The functions of the device whose function 0 is at `first`.
    fn device(&mut self, space: &mut impl ConfigSpace, first: Location) -> Result<(), Error> {
        let Some(mut function) = space.function(first)? else { return Ok(()) };
        let several = function.registers.read16(offset::HEADER_TYPE) & 0x80 != 0;
        self.keep(examine(&mut function));
        drop(function);
        for number in 1..if several { 8 } else { 1 } {
            if let Some(mut function) = space.function(Location { function: number, ..first })? {
                self.keep(examine(&mut function));
            }
        }
        Ok(())
    }

    fn keep(&mut self, examined: Result<Found, Error>) {
        match examined {
            Ok(found) => self.found.push(found),
            Err(error) => self.problems.push(error),
        }
    }
}

fn examine<R: Registers>(function: &mut Function<R>) -> Result<Found, Error> {
    let header = function.registers.read16(offset::HEADER_TYPE) & 0x7f;
    let bars = match header {
        0 => bar::size_all(function, 6)?,
        1 => bar::size_all(function, 2)?,
        _ => Vec::new(),
    };
    let messages = match MsiX::find(function)? {
        Some(msix) => Some(Messages::MsiX(msix)),
        None => Msi::find(function)?.map(Messages::Msi),
    };
    let class = function.registers.read32(offset::CLASS);
    let subsystem = if header == 0 { function.registers.read32(offset::SUBSYSTEM) } else { 0 };
    let id = function.registers.read32(offset::ID);
    function.check_present()?;
    Ok(Found {
        location: function.location,
        ids: PciIds {
            vendor: id as u16,
            device: (id >> 16) as u16,
            class: class >> 8,
            revision: class as u8,
            subsystem_vendor: subsystem as u16,
            subsystem: (subsystem >> 16) as u16,
        },
        bridge: (header == 1).then(|| read_bridge(function)),
        bars,
        messages,
        pin: Pin::from_register((function.registers.read16(offset::INTERRUPT) >> 8) as u8),
    })
}

fn read_bridge<R: Registers>(function: &mut Function<R>) -> Bridge {
    let numbers = function.registers.read32(offset::BUS_NUMBERS);
    let mut window = |register: usize, high: Option<(usize, usize)>| {
        let raw = function.registers.read32(register);
        let (base_high, limit_high) = match high {
            // The low bits say whether the window has 64 bits.
            Some((base, limit)) if raw & 0xf == 1 => {
                (function.registers.read32(base), function.registers.read32(limit))
            }
            _ => (0, 0),
        };
        let base = u64::from(base_high) << 32 | u64::from(raw & 0xfff0) << 16;
        let limit = u64::from(limit_high) << 32 | u64::from(raw & 0xfff0_0000) | 0xf_ffff;
        if base < limit { base..limit + 1 } else { 0..0 }
    };
    Bridge {
        secondary: (numbers >> 8) as u8,
        windows: [
            window(offset::MEMORY_WINDOW, None),
            window(offset::PREFETCH_WINDOW, Some((offset::PREFETCH_BASE_HIGH, offset::PREFETCH_LIMIT_HIGH))),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        capability,
        fake::{FakeDevice, FakeSpace},
    };

    fn at(bus: u8, device: u8, function: u8) -> Location {
        Location::new(0, bus, device, function)
    }

    fn locations(walk: &Walk) -> Vec<Location> {
        walk.found.iter().map(|found| found.location).collect()
    }

    #[test]
    fn finds_functions_behind_two_bridges() {
        let mut space = FakeSpace::default()
            .with(at(0, 0, 0), FakeDevice::new(0x8086, 0x29c0))
            .with(at(0, 2, 0), FakeDevice::bridge(0, 1, 2, 0xfe00_0000..0xfe20_0000))
            .with(at(1, 0, 0), FakeDevice::bridge(1, 2, 2, 0xfe00_0000..0xfe10_0000))
            .with(at(2, 4, 0), FakeDevice::new(0x1234, 0x11e8));
        let walk = Walk::segment(&mut space, 0, 0..256);
        assert_eq!(locations(&walk), [at(0, 0, 0), at(0, 2, 0), at(1, 0, 0), at(2, 4, 0)]);
        assert!(walk.problems.is_empty());
        assert_eq!(walk.found[1].bridge.as_ref().unwrap().windows, [0xfe00_0000..0xfe20_0000, 0..0]);
    }

    #[test]
    fn looks_at_functions_1_to_7_only_of_multi_function_devices() {
        let mut space = FakeSpace::default()
            .with(at(0, 1, 0), FakeDevice::new(1, 2).multi_function())
            .with(at(0, 1, 5), FakeDevice::new(1, 3))
            .with(at(0, 2, 0), FakeDevice::new(1, 2))
            .with(at(0, 2, 5), FakeDevice::new(1, 3));
        assert_eq!(locations(&Walk::segment(&mut space, 0, 0..256)), [at(0, 1, 0), at(0, 1, 5), at(0, 2, 0)]);
    }

    #[test]
    fn a_bridge_that_leads_back_is_reported_and_not_followed() {
        let mut space = FakeSpace::default()
            .with(at(0, 2, 0), FakeDevice::bridge(0, 1, 1, 0..0x10_0000))
            .with(at(1, 0, 0), FakeDevice::bridge(1, 0, 1, 0..0x10_0000))
            .with(at(1, 1, 0), FakeDevice::bridge(1, 1, 1, 0..0x10_0000));
        let walk = Walk::segment(&mut space, 0, 0..256);
        assert_eq!(walk.found.len(), 3);
        assert_eq!(
            walk.problems,
            [
                Error::BridgeNotNumbered { location: at(1, 0, 0), secondary: 0 },
                Error::BridgeNotNumbered { location: at(1, 1, 0), secondary: 1 }
            ]
        );
    }

    #[test]
    fn a_broken_function_is_reported_and_the_others_are_found() {
        let broken = FakeDevice::new(1, 2).with_capability(0x40, 1, 0).with_word(0x40, 0x4001, 0);
        let mut space = FakeSpace::default().with(at(0, 1, 0), broken).with(at(0, 3, 0), FakeDevice::new(1, 2));
        let walk = Walk::segment(&mut space, 0, 0..1);
        assert_eq!(locations(&walk), [at(0, 3, 0)]);
        assert_eq!(walk.problems, [Error::BadCapabilityList(at(0, 1, 0))]);
    }

    #[test]
    fn reads_ids_class_pin_and_messages() {
        let device = FakeDevice::new(0x1234, 0x11e8)
            .with_word(offset::CLASS, 0x00ff_0010, 0)
            .with_word(offset::SUBSYSTEM, 0x1100_1af4, 0)
            .with_word(offset::INTERRUPT, 0x0200, 0)
            .with_capability(0x40, capability::MSI, 0x80);
        let walk = Walk::segment(&mut FakeSpace::default().with(at(0, 4, 0), device), 0, 0..1);
        let found = &walk.found[0];
        assert_eq!((found.ids.vendor, found.ids.device), (0x1234, 0x11e8));
        assert_eq!((found.ids.class, found.ids.revision), (0x00ff00, 0x10));
        assert_eq!((found.ids.subsystem_vendor, found.ids.subsystem), (0x1af4, 0x1100));
        assert_eq!(found.pin, Some(Pin::B));
        assert!(matches!(found.messages, Some(Messages::Msi(_))));
    }
}
