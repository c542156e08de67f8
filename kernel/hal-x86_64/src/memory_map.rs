//! What the firmware says is where in physical memory, copied out of the loader's memory before that is reused.

use core::ops::Range;

/// What a region is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RAM that the kernel may use.
    Ram,
    /// RAM that holds ACPI tables or what the firmware keeps.
    Acpi,
    /// Anything else, known or not.
    Reserved,
}

impl Kind {
    /// From the type number of an E820 entry, which PVH uses too.
    pub fn from_e820(number: u32) -> Self {
        match number {
            1 => Kind::Ram,
            3 | 4 => Kind::Acpi,
            _ => Kind::Reserved,
        }
    }
}

/// A range of physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// The first address.
    pub start: u64,
    /// The address behind the last.
    pub end: u64,
    /// What it is.
    pub kind: Kind,
}

/// The firmware's map: at most [`MemoryMap::CAPACITY`] regions, because it is copied before there is a heap.
#[derive(Debug, Clone)]
pub struct MemoryMap {
    regions: [Region; Self::CAPACITY],
    len: usize,
}

impl MemoryMap {
    /// As many entries as the largest E820 map of a PC.
    pub const CAPACITY: usize = 128;

    /// No regions.
    pub const fn new() -> Self {
        MemoryMap { regions: [Region { start: 0, end: 0, kind: Kind::Reserved }; Self::CAPACITY], len: 0 }
    }

    /// Adds a region; `false` if the map is full.
    #[must_use]
    pub fn push(&mut self, region: Region) -> bool {
        let Some(slot) = self.regions.get_mut(self.len) else { return false };
        *slot = region;
        self.len += 1;
        true
    }

    /// The regions in the firmware's order.
    pub fn regions(&self) -> &[Region] {
        &self.regions[..self.len]
    }

    /// The RAM that the kernel may use, in whole `page`s.
    pub fn ram(&self, page: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        self.regions()
            .iter()
            .filter(|r| r.kind == Kind::Ram)
            .map(move |r| r.start.next_multiple_of(page)..r.end / page * page)
            .filter(|r| r.start < r.end)
    }

    /// The address behind the last byte of usable RAM.
    pub fn ram_end(&self) -> u64 {
        self.ram(1).map(|r| r.end).max().unwrap_or(0)
    }

    /// `len` bytes of usable RAM within `within`, aligned to `align`, that do not touch `avoid`.
    pub fn find(&self, len: u64, align: u64, within: Range<u64>, avoid: Range<u64>) -> Option<u64> {
        self.ram(align).find_map(|ram| {
            let (start, end) = (ram.start.max(within.start), ram.end.min(within.end));
            [start..end.min(avoid.start), start.max(avoid.end)..end].into_iter().find_map(|gap| {
                let start = gap.start.next_multiple_of(align);
                (start.checked_add(len)? <= gap.end).then_some(start)
            })
        })
    }
}

impl Default for MemoryMap {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pc() -> MemoryMap {
        let mut map = MemoryMap::new();
        for (start, end, kind) in
            [(0, 0x9fc00, 1), (0xf0000, 0x100000, 2), (0x100000, 0x7ffe0000, 1), (0x1_0000_0000, 0x2_0000_0000, 1)]
        {
            assert!(map.push(Region { start, end, kind: Kind::from_e820(kind) }));
        }
        map
    }

    #[test]
    fn ram_is_in_whole_pages() {
        let ram: std::vec::Vec<_> = pc().ram(4096).collect();
        assert_eq!(ram, [0..0x9f000, 0x100000..0x7ffe0000, 0x1_0000_0000..0x2_0000_0000]);
        assert_eq!(pc().ram_end(), 0x2_0000_0000);
    }

    #[test]
    fn find_steps_around_what_is_to_be_avoided() {
        assert_eq!(pc().find(0x1000, 4096, 0x100000..u64::MAX, 0x100000..0x300000), Some(0x300000));
        assert_eq!(pc().find(0x1000, 4096, 0x100000..u64::MAX, 0x200000..0x300000), Some(0x100000));
        assert_eq!(pc().find(0x7fff_0000, 4096, 0x100000..0x1_0000_0000, 0..0), None);
        assert_eq!(pc().find(0x7fff_0000, 4096, 0x100000..u64::MAX, 0..0), Some(0x1_0000_0000));
    }

    #[test]
    fn a_full_map_says_so() {
        let mut map = MemoryMap::new();
        let region = Region { start: 0, end: 1, kind: Kind::Ram };
        for _ in 0..MemoryMap::CAPACITY {
            assert!(map.push(region));
        }
        assert!(!map.push(region));
    }
}
