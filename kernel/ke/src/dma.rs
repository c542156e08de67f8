//! Memory that a device writes behind the compiler's back.
//!
//! **Invariant:** DMA memory is never a slice: every access is a volatile copy by the HAL, so a late write of the device
//! is wrong data, never undefined behaviour.

use crate::{
    at::At,
    hal::{DmaBlock, Point},
    level::{Level, Passive},
};
use core::{fmt, panic::Location};

/// Physically contiguous memory for a device (WDFCOMMONBUFFER). It is freed by [`DmaBuffer::free`] alone, at PASSIVE,
/// when the device can no longer write: dropping it instead leaves it allocated, which is safe and counted as a leak.
#[derive(Debug)]
pub struct DmaBuffer {
    block: DmaBlock,
}

/// Why there is no buffer, or no such part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmaError {
    /// No `len` bytes below the device's address limit.
    OutOfMemory {
        /// Bytes asked for.
        len: usize,
        /// The highest address the device reaches.
        limit: u64,
    },
    /// `offset..offset + len` is not inside the buffer.
    OutOfRange {
        /// Where the access begins.
        offset: usize,
        /// Its bytes.
        len: usize,
        /// The buffer's bytes.
        capacity: usize,
    },
}

impl fmt::Display for DmaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory { len, limit } => write!(f, "no {len} bytes of DMA memory at or below {limit:#x}"),
            Self::OutOfRange { offset, len, capacity } => {
                write!(f, "{len} bytes at offset {offset} do not fit a DMA buffer of {capacity} bytes")
            }
        }
    }
}

impl core::error::Error for DmaError {}

impl DmaBuffer {
    /// WdfCommonBufferCreate: `len` zeroed bytes that end at or below physical address `limit`.
    pub fn new(at: &mut At<'_, Passive>, len: usize, limit: u64) -> Result<Self, DmaError> {
        let block = at.hal.dma_alloc(len, limit).ok_or(DmaError::OutOfMemory { len, limit })?;
        Ok(DmaBuffer { block })
    }

    /// The buffer's bytes.
    pub fn len(&self) -> usize {
        self.block.len
    }

    /// Whether the buffer has no bytes.
    pub fn is_empty(&self) -> bool {
        self.block.len == 0
    }

    /// The address that the device is told (WdfCommonBufferGetAlignedLogicalAddress).
    pub fn device_address(&self) -> u64 {
        self.block.physical
    }

    /// Copies `into.len()` bytes from `offset` out of the buffer. Any IRQL.
    #[track_caller]
    pub fn copy_to<L: Level>(&self, at: &mut At<'_, L>, offset: usize, into: &mut [u8]) -> Result<(), DmaError> {
        self.check(offset, into.len())?;
        at.point(Point::DmaRead, self.block.address + offset, Location::caller());
        at.hal.dma_read(self.block.address + offset, into);
        Ok(())
    }

    /// Copies `from` into the buffer at `offset`. Any IRQL.
    #[track_caller]
    pub fn copy_from<L: Level>(&self, at: &mut At<'_, L>, offset: usize, from: &[u8]) -> Result<(), DmaError> {
        self.check(offset, from.len())?;
        at.point(Point::DmaWrite, self.block.address + offset, Location::caller());
        at.hal.dma_write(self.block.address + offset, from);
        Ok(())
    }

    /// The `N` bytes at `offset`. Any IRQL.
    #[track_caller]
    pub fn read_at<const N: usize, L: Level>(&self, at: &mut At<'_, L>, offset: usize) -> Result<[u8; N], DmaError> {
        let mut bytes = [0; N];
        self.copy_to(at, offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes `bytes` at `offset`. Any IRQL.
    #[track_caller]
    pub fn write_at<const N: usize, L: Level>(
        &self,
        at: &mut At<'_, L>,
        offset: usize,
        bytes: [u8; N],
    ) -> Result<(), DmaError> {
        self.copy_from(at, offset, &bytes)
    }

    /// Gives the memory back. The caller has made sure that the device no longer writes it.
    pub fn free(self, at: &mut At<'_, Passive>) {
        at.hal.dma_free(self.block);
    }

    fn check(&self, offset: usize, len: usize) -> Result<(), DmaError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.block.len => Ok(()),
            _ => Err(DmaError::OutOfRange { offset, len, capacity: self.block.len }),
        }
    }
}
