//! Four-level page tables, as data: what an entry says, and mapping a range with the largest pages that fit.
//!
//! The tables live wherever a [`TableMemory`] keeps them: physical frames in the kernel, a vector in the tests.
//!
//! **Invariant:** no page is both writable and executable: [`Access`] has no such value.

use crate::layout::{LARGE_PAGE, PAGE};
use bitflags::bitflags;

bitflags! {
    /// The bits of an entry.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Bits: u64 {
        /// The entry maps something.
        const PRESENT = 1 << 0;
        /// Stores are allowed.
        const WRITE = 1 << 1;
        /// With `UNCACHED`: accesses go to the device, each one, in order.
        const WRITE_THROUGH = 1 << 3;
        /// Not cached.
        const UNCACHED = 1 << 4;
        /// A page directory entry that maps 2 MiB.
        const LARGE = 1 << 7;
        /// Survives a load of CR3.
        const GLOBAL = 1 << 8;
        /// Fetching instructions is not allowed.
        const NO_EXECUTE = 1 << 63;
    }
}

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What may be done with mapped memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read and execute.
    Text,
    /// Read.
    ReadOnly,
    /// Read and write.
    Data,
    /// Read and write device registers: uncached.
    Device,
}

impl Access {
    fn bits(self) -> Bits {
        let common = Bits::PRESENT | Bits::GLOBAL;
        match self {
            Access::Text => common,
            Access::ReadOnly => common | Bits::NO_EXECUTE,
            Access::Data => common | Bits::NO_EXECUTE | Bits::WRITE,
            Access::Device => common | Bits::NO_EXECUTE | Bits::WRITE | Bits::UNCACHED | Bits::WRITE_THROUGH,
        }
    }
}

/// A page table: 512 entries in one frame.
pub type Table = [u64; 512];

/// Where tables live.
pub trait TableMemory {
    /// The physical address of a new table of zeros.
    fn new_table(&mut self) -> Option<u64>;
    /// The table at a physical address that `new_table` gave.
    fn table(&mut self, physical: u64) -> &mut Table;
}

/// The frames ran out while a table was needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfFrames;

/// Which entry of its table maps `address`, at `level` 3 (the top) to 0.
pub const fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level)) as usize & 511
}

/// Maps `len` bytes at `address` to `physical`, all three multiples of [`PAGE`], with large pages where they fit.
///
/// # Panics
/// If a page of the range is mapped already.
pub fn map<M: TableMemory>(
    memory: &mut M,
    root: u64,
    address: u64,
    physical: u64,
    len: u64,
    access: Access,
) -> Result<(), OutOfFrames> {
    let mut done = 0;
    while done < len {
        let (at, to) = (address + done, physical + done);
        let large = (at | to).is_multiple_of(LARGE_PAGE) && len - done >= LARGE_PAGE;
        let table = descend(memory, root, at, if large { 1 } else { 0 })?;
        let slot = &mut memory.table(table)[index(at, if large { 1 } else { 0 })];
        assert!(*slot == 0, "{at:#x} is mapped already");
        *slot = to | access.bits().bits() | if large { Bits::LARGE.bits() } else { 0 };
        done += if large { LARGE_PAGE } else { PAGE };
    }
    Ok(())
}

/// Removes the mapping of one small page and returns the frame it had, if any. The caller flushes it.
pub fn unmap<M: TableMemory>(memory: &mut M, root: u64, address: u64) -> Option<u64> {
    let (table, 0) = walk(memory, root, address)? else { return None };
    let entry = core::mem::take(&mut memory.table(table)[index(address, 0)]);
    Some(entry & ADDRESS)
}

/// The physical address that `address` is mapped to, if it is.
pub fn translate<M: TableMemory>(memory: &mut M, root: u64, address: u64) -> Option<u64> {
    let (table, level) = walk(memory, root, address)?;
    let entry = memory.table(table)[index(address, level)];
    let mask = (PAGE << (9 * level)) - 1;
    Some(entry & ADDRESS & !mask | address & mask)
}

/// Makes sure that the top entry of `address` has a table, so that all later mappings below it are seen by whoever
/// copied the entry.
pub fn prepare_window<M: TableMemory>(memory: &mut M, root: u64, address: u64) -> Result<(), OutOfFrames> {
    descend(memory, root, address, 2).map(drop)
}

/// The table at `level` that maps `address`, made where it is missing.
fn descend<M: TableMemory>(memory: &mut M, root: u64, address: u64, level: u32) -> Result<u64, OutOfFrames> {
    let mut table = root;
    for above in (level + 1..4).rev() {
        let slot = index(address, above);
        let entry = memory.table(table)[slot];
        assert!(entry & Bits::LARGE.bits() == 0, "{address:#x} is mapped already by a large page");
        table = if entry != 0 {
            entry & ADDRESS
        } else {
            let new = memory.new_table().ok_or(OutOfFrames)?;
            memory.table(table)[slot] = new | (Bits::PRESENT | Bits::WRITE).bits();
            new
        };
    }
    Ok(table)
}

/// The table and level of the entry that maps `address`.
fn walk<M: TableMemory>(memory: &mut M, root: u64, address: u64) -> Option<(u64, u32)> {
    let mut table = root;
    for level in (0..4).rev() {
        let entry = memory.table(table)[index(address, level)];
        if entry & Bits::PRESENT.bits() == 0 {
            return None;
        }
        if level == 0 || entry & Bits::LARGE.bits() != 0 {
            return Some((table, level));
        }
        table = entry & ADDRESS;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{boxed::Box, vec::Vec};

    /// Table `n` is at physical address `n * PAGE`; at most `limit` of them.
    struct Tables {
        tables: Vec<Box<Table>>,
        limit: usize,
    }

    impl TableMemory for Tables {
        fn new_table(&mut self) -> Option<u64> {
            (self.tables.len() < self.limit).then(|| {
                self.tables.push(Box::new([0; 512]));
                (self.tables.len() as u64 - 1) * PAGE
            })
        }
        fn table(&mut self, physical: u64) -> &mut Table {
            &mut self.tables[(physical / PAGE) as usize]
        }
    }

    fn empty(limit: usize) -> Tables {
        let mut memory = Tables { tables: Vec::new(), limit };
        assert_eq!(memory.new_table(), Some(0));
        memory
    }

    const HIGH: u64 = 0xffff_8000_0000_0000;

    #[test]
    fn indices_are_nine_bits_each() {
        assert_eq!([3, 2, 1, 0].map(|level| index(0xffff_ffff_8020_1000, level)), [511, 510, 1, 1]);
        assert_eq!([3, 2, 1, 0].map(|level| index(HIGH, level)), [256, 0, 0, 0]);
    }

    #[test]
    fn large_pages_are_used_where_they_fit() {
        let mut memory = empty(16);
        let (physical, len) = (LARGE_PAGE - PAGE, LARGE_PAGE + 2 * PAGE);
        map(&mut memory, 0, HIGH + physical, physical, len, Access::Data).unwrap();
        // Root, one table a level on the way, and one small-page table at each ragged end.
        assert_eq!(memory.tables.len(), 5);
        for offset in [physical, LARGE_PAGE, LARGE_PAGE + 0x1234, 2 * LARGE_PAGE] {
            assert_eq!(translate(&mut memory, 0, HIGH + offset), Some(offset));
        }
        assert_eq!(translate(&mut memory, 0, HIGH + physical - 1), None);
        assert_eq!(translate(&mut memory, 0, HIGH + physical + len), None);
    }

    #[test]
    fn memory_above_4_gib_maps() {
        let mut memory = empty(16);
        map(&mut memory, 0, HIGH + (6 << 30), 6 << 30, 4 * LARGE_PAGE, Access::Data).unwrap();
        assert_eq!(translate(&mut memory, 0, HIGH + (6 << 30) + 5), Some((6 << 30) + 5));
    }

    #[test]
    fn nothing_is_writable_and_executable() {
        for access in [Access::Text, Access::ReadOnly, Access::Data, Access::Device] {
            let bits = access.bits();
            assert!(bits.contains(Bits::NO_EXECUTE) || !bits.contains(Bits::WRITE), "{access:?}");
        }
    }

    #[test]
    fn unmapping_gives_the_frame_back() {
        let mut memory = empty(16);
        map(&mut memory, 0, HIGH, 0x5000, 2 * PAGE, Access::Data).unwrap();
        assert_eq!(unmap(&mut memory, 0, HIGH + PAGE), Some(0x6000));
        assert_eq!(translate(&mut memory, 0, HIGH + PAGE), None);
        assert_eq!(translate(&mut memory, 0, HIGH), Some(0x5000));
        assert_eq!(unmap(&mut memory, 0, HIGH + PAGE), None);
    }

    #[test]
    fn running_out_of_frames_is_an_error() {
        let mut memory = empty(3);
        assert_eq!(map(&mut memory, 0, HIGH, 0, PAGE, Access::Data), Err(OutOfFrames));
    }

    #[test]
    #[should_panic(expected = "mapped already")]
    fn mapping_twice_is_noticed() {
        let mut memory = empty(16);
        map(&mut memory, 0, HIGH, 0, PAGE, Access::Data).unwrap();
        let _ = map(&mut memory, 0, HIGH, 0, PAGE, Access::Data);
    }
}
