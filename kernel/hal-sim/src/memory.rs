//! RAM that devices reach: DMA blocks, and what happens to a transfer that misses them.
//!
//! Addresses are never reused within a run, so a device that still writes a block after it was freed is caught instead of
//! hitting the block's next owner.

use ke::hal::DmaBlock;
use std::fmt;

/// Where the first block lies for a device: above the first MiB, as on a PC.
const FIRST_PHYSICAL: u64 = 0x10_0000;
/// Added to a block's physical address to make the address that the core sees: not a pointer to anything.
const VIRTUAL_BASE: usize = 0x2000_0000_0000;
const PAGE: u64 = 0x1000;

/// A device's transfer that reached memory it must not touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmaFault {
    /// The block has been freed.
    Freed {
        /// The transfer's address.
        physical: u64,
        /// Its bytes.
        len: usize,
    },
    /// The transfer is not inside one block that was ever allocated.
    Nowhere {
        /// The transfer's address.
        physical: u64,
        /// Its bytes.
        len: usize,
    },
}

impl fmt::Display for DmaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Freed { physical, len } => write!(f, "{len} bytes at {physical:#x}, which is freed memory"),
            Self::Nowhere { physical, len } => write!(f, "{len} bytes at {physical:#x}, where nothing was allocated"),
        }
    }
}

impl std::error::Error for DmaFault {}

#[derive(Debug)]
pub(crate) struct Memory {
    blocks: Vec<Block>,
    next: u64,
}

#[derive(Debug)]
struct Block {
    physical: u64,
    bytes: Vec<u8>,
    freed: bool,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Memory { blocks: Vec::new(), next: FIRST_PHYSICAL }
    }

    /// `len` zeroed bytes that end at or below `limit`.
    pub(crate) fn allocate(&mut self, len: usize, limit: u64) -> Option<DmaBlock> {
        let physical = self.next;
        let end = physical.checked_add(len as u64)?;
        if len == 0 || end - 1 > limit {
            return None;
        }
        // A page between blocks belongs to nobody, so that an overrun is caught.
        self.next = end.checked_next_multiple_of(PAGE)? + PAGE;
        self.blocks.push(Block { physical, bytes: vec![0; len], freed: false });
        Some(DmaBlock { address: VIRTUAL_BASE + physical as usize, physical, len })
    }

    /// `false`: no such block, or freed before.
    pub(crate) fn free(&mut self, block: DmaBlock) -> bool {
        let found = self.blocks.iter_mut().find(|known| known.physical == block.physical && !known.freed);
        found.map(|known| known.freed = true).is_some()
    }

    /// Blocks not freed, and their bytes.
    pub(crate) fn in_use(&self) -> (usize, usize) {
        let live = self.blocks.iter().filter(|block| !block.freed);
        live.fold((0, 0), |(blocks, bytes), block| (blocks + 1, bytes + block.bytes.len()))
    }

    /// The bytes at the core's address `address`.
    pub(crate) fn at_virtual(&mut self, address: usize, len: usize) -> Result<&mut [u8], DmaFault> {
        self.at(address.wrapping_sub(VIRTUAL_BASE) as u64, len)
    }

    /// The bytes at a device's address.
    pub(crate) fn at(&mut self, physical: u64, len: usize) -> Result<&mut [u8], DmaFault> {
        let nowhere = DmaFault::Nowhere { physical, len };
        let holds =
            |block: &&mut Block| physical >= block.physical && physical - block.physical < block.bytes.len() as u64;
        let block = self.blocks.iter_mut().find(holds).ok_or(nowhere)?;
        let start = (physical - block.physical) as usize;
        let end = start.checked_add(len).filter(|end| *end <= block.bytes.len()).ok_or(nowhere)?;
        if block.freed {
            return Err(DmaFault::Freed { physical, len });
        }
        Ok(&mut block.bytes[start..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_at_its_limit_or_is_refused() {
        let mut memory = Memory::new();
        let block = memory.allocate(0x1000, 0x10_0fff).unwrap();
        assert_eq!((block.physical, block.len), (0x10_0000, 0x1000));
        assert_eq!(memory.allocate(0x1000, 0x10_2ffe), None);
        assert!(memory.allocate(0x1000, 0x10_2fff).is_some());
    }

    #[test]
    fn freed_memory_and_memory_of_nobody_are_told_apart() {
        let mut memory = Memory::new();
        let block = memory.allocate(16, u64::MAX).unwrap();
        memory.at_virtual(block.address, 16).unwrap().fill(7);
        assert_eq!(memory.at(block.physical + 8, 8).unwrap(), [7; 8]);
        let overrun = DmaFault::Nowhere { physical: block.physical + 8, len: 9 };
        assert_eq!(memory.at(block.physical + 8, 9).unwrap_err(), overrun);
        assert!(memory.free(block));
        assert!(!memory.free(block));
        assert_eq!(memory.at(block.physical, 4).unwrap_err(), DmaFault::Freed { physical: block.physical, len: 4 });
        assert_eq!(memory.in_use(), (0, 0));
    }
}
