//! Places for the BARs that firmware left without one.
//!
//! What firmware placed stays. The rest goes into the gaps: of the host's windows for functions on a root bus, of the
//! bridge's windows for those behind one; a 64-bit BAR above 4 GiB if there is room, because the space below is scarce.

use crate::{
    BarKind, Error,
    config::ConfigSpace,
    walk::{Found, Walk},
};
use alloc::vec::Vec;
use core::ops::Range;

const FOUR_GIB: u64 = 1 << 32;

/// Places every memory BAR of `walk` that has no address; what finds no room is reported in its problems. I/O BARs
/// stay unplaced: no driver of this system uses ports of PCI functions.
pub(crate) fn place_all(space: &mut impl ConfigSpace, walk: &mut Walk, host_windows: &[Range<u64>]) {
    for function in 0..walk.found.len() {
        for bar in 0..walk.found[function].bars.len() {
            let result = place(space, &mut walk.found, function, bar, host_windows);
            walk.problems.extend(result.err());
        }
    }
}

fn place(
    space: &mut impl ConfigSpace,
    found: &mut [Found],
    index: usize,
    bar: usize,
    host_windows: &[Range<u64>],
) -> Result<(), Error> {
    let location = found[index].location;
    let mut wanted = found[index].bars[bar];
    if wanted.base.is_some() || wanted.kind == BarKind::Io {
        return Ok(());
    }
    let bridge = found.iter().find_map(|f| f.bridge.as_ref().filter(|bridge| bridge.secondary == location.bus));
    let windows: Vec<Range<u64>> = match bridge {
        // Only what is prefetchable may lie in the second window of a bridge.
        Some(bridge) if !wanted.prefetchable => bridge.windows[..1].to_vec(),
        Some(bridge) => bridge.windows.to_vec(),
        None => host_windows.to_vec(),
    };
    let mut obstacles: Vec<Range<u64>> =
        found.iter().flat_map(|f| f.bars.iter().filter_map(|bar| bar.range())).collect();
    let same_bus = found.iter().filter(|f| f.location.bus == location.bus && f.location.segment == location.segment);
    obstacles.extend(same_bus.filter_map(|f| f.bridge.as_ref()).flat_map(|bridge| bridge.windows.clone()));

    let high = windows.iter().map(|window| window.start.max(FOUR_GIB)..window.end);
    let low = windows.iter().map(|window| window.start..window.end.min(FOUR_GIB));
    let candidates: Vec<Range<u64>> = match wanted.kind {
        BarKind::Memory64 => high.chain(low).collect(),
        _ => low.collect(),
    };
    let base = candidates.iter().find_map(|window| gap(window, &obstacles, wanted.len));
    let base = base.ok_or(Error::NoWindow { location, bar: wanted.index, len: wanted.len })?;
    let mut function = space.function(location)?.ok_or(Error::Gone(location))?;
    wanted.place(&mut function, base)?;
    found[index].bars[bar] = wanted;
    Ok(())
}

/// The lowest multiple of `len` in `window` from which `len` bytes hit no obstacle. 0 is no address for a BAR.
fn gap(window: &Range<u64>, obstacles: &[Range<u64>], len: u64) -> Option<u64> {
    let mut base = window.start.max(1).checked_next_multiple_of(len)?;
    loop {
        let end = base.checked_add(len).filter(|&end| end <= window.end)?;
        let hit = obstacles.iter().find(|obstacle| obstacle.start < end && base < obstacle.end);
        match hit {
            None => return Some(base),
            Some(obstacle) => base = obstacle.end.checked_next_multiple_of(len)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Location,
        fake::{FakeDevice, FakeSpace},
    };

    const LOW: Range<u64> = 0xc000_0000..0xd000_0000;
    const HIGH: Range<u64> = 0x80_0000_0000..0x81_0000_0000;

    fn at(bus: u8, device: u8) -> Location {
        Location::new(0, bus, device, 0)
    }

    fn placed(mut space: FakeSpace) -> Walk {
        let mut walk = Walk::segment(&mut space, 0, 0..256);
        place_all(&mut space, &mut walk, &[LOW, HIGH]);
        walk
    }

    fn base(walk: &Walk, location: Location, bar: usize) -> Option<u64> {
        walk.found.iter().find(|found| found.location == location).unwrap().bars[bar].base
    }

    #[test]
    fn fills_the_gap_beside_what_firmware_placed() {
        let walk = placed(
            FakeSpace::default()
                .with(at(0, 1), FakeDevice::new(1, 2).with_bar(0, 0xc000_0000, 0x1000, 0))
                .with(at(0, 2), FakeDevice::new(1, 3).with_bar(0, 0, 0x10_0000, 0)),
        );
        assert_eq!(base(&walk, at(0, 1), 0), Some(0xc000_0000));
        assert_eq!(base(&walk, at(0, 2), 0), Some(0xc010_0000));
        assert!(walk.problems.is_empty());
    }

    #[test]
    fn a_64_bit_bar_goes_above_4_gib_and_a_32_bit_one_does_not() {
        let device = FakeDevice::new(1, 2).with_bar(0, 0, 0x4000, 0b1100).with_bar(2, 0, 0x4000, 0);
        let walk = placed(FakeSpace::default().with(at(0, 1), device));
        assert_eq!(base(&walk, at(0, 1), 0), Some(HIGH.start));
        assert_eq!(base(&walk, at(0, 1), 1), Some(LOW.start));
    }

    #[test]
    fn behind_a_bridge_only_its_window_will_do_and_on_its_bus_the_window_is_in_the_way() {
        let walk = placed(
            FakeSpace::default()
                .with(at(0, 1), FakeDevice::bridge(0, 1, 1, 0xc000_0000..0xc020_0000))
                .with(at(0, 2), FakeDevice::new(1, 3).with_bar(0, 0, 0x1000, 0))
                .with(at(1, 0), FakeDevice::new(1, 2).with_bar(0, 0, 0x1000, 0)),
        );
        assert_eq!(base(&walk, at(1, 0), 0), Some(0xc000_0000));
        assert_eq!(base(&walk, at(0, 2), 0), Some(0xc020_0000));
    }

    #[test]
    fn no_room_is_reported_and_the_bar_stays_unplaced() {
        let walk = placed(FakeSpace::default().with(at(0, 1), FakeDevice::new(1, 2).with_bar(1, 0, 0x4000_0000, 0)));
        assert_eq!(base(&walk, at(0, 1), 0), None);
        assert_eq!(walk.problems, [Error::NoWindow { location: at(0, 1), bar: 1, len: 0x4000_0000 }]);
    }
}
