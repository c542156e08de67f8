//! Memory that a device writes: common buffers.
//!
//! The framework keeps every buffer of a device until the device cannot write it any more. A driver holds handles, and
//! what it drops or forgets changes nothing about that.
//!
//! **Invariant:** a buffer is freed only after the device was seen to take "bus master off". The buffers of a device
//! that no longer answers stay allocated, in quarantine, until somebody says that it left the bus.

use alloc::{sync::Arc, vec::Vec};
use io::Location;
use ke::{At, DmaError, Level, Passive, SpinLock};

/// Physically contiguous memory for a device (WDFCOMMONBUFFER), made by
/// [`Resources::dma_buffer`](crate::Resources::dma_buffer). Never a slice: what the device writes late is wrong data,
/// never undefined behaviour.
#[derive(Debug)]
pub struct DmaBuffer(Arc<ke::DmaBuffer>);

impl DmaBuffer {
    /// The buffer's bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the buffer has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The address that the device is told (WdfCommonBufferGetAlignedLogicalAddress).
    pub fn device_address(&self) -> u64 {
        self.0.device_address()
    }

    /// Copies `into.len()` bytes from `offset` out of the buffer. Any IRQL.
    #[track_caller]
    pub fn copy_to<L: Level>(&self, at: &mut At<'_, L>, offset: usize, into: &mut [u8]) -> Result<(), DmaError> {
        self.0.copy_to(at, offset, into)
    }

    /// Copies `from` into the buffer at `offset`. Any IRQL.
    #[track_caller]
    pub fn copy_from<L: Level>(&self, at: &mut At<'_, L>, offset: usize, from: &[u8]) -> Result<(), DmaError> {
        self.0.copy_from(at, offset, from)
    }

    /// The `N` bytes at `offset`. Any IRQL.
    #[track_caller]
    pub fn read_at<const N: usize, L: Level>(&self, at: &mut At<'_, L>, offset: usize) -> Result<[u8; N], DmaError> {
        self.0.read_at(at, offset)
    }

    /// Writes `bytes` at `offset`. Any IRQL.
    #[track_caller]
    pub fn write_at<const N: usize, L: Level>(
        &self,
        at: &mut At<'_, L>,
        offset: usize,
        bytes: [u8; N],
    ) -> Result<(), DmaError> {
        self.0.write_at(at, offset, bytes)
    }
}

/// The framework's side of a device's buffers.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Vec<Arc<ke::DmaBuffer>>);

impl Buffers {
    /// Allocates a buffer that lives until [`Self::free`] or [`Self::quarantine`].
    pub fn allocate(&mut self, at: &mut At<'_, Passive>, len: usize, limit: u64) -> Result<DmaBuffer, DmaError> {
        let buffer = Arc::new(ke::DmaBuffer::new(at, len, limit)?);
        self.0.push(buffer.clone());
        Ok(DmaBuffer(buffer))
    }

    /// How many there are, and their bytes.
    pub fn totals(&self) -> (usize, usize) {
        (self.0.len(), self.0.iter().map(|buffer| buffer.len()).sum())
    }

    /// Frees all: the device has stopped writing. A buffer whose handle the driver has put outside its device goes
    /// into quarantine instead.
    pub fn free(&mut self, at: &mut At<'_, Passive>, location: Option<Location>, quarantine: &Quarantine) {
        for buffer in self.0.drain(..) {
            match Arc::try_unwrap(buffer) {
                Ok(buffer) => buffer.free(at),
                Err(held) => quarantine.add(at, location, held),
            }
        }
    }

    /// Sets all aside: the device may still write.
    pub fn quarantine(&mut self, at: &mut At<'_, Passive>, location: Option<Location>, quarantine: &Quarantine) {
        for buffer in self.0.drain(..) {
            quarantine.add(at, location, buffer);
        }
    }
}

/// Buffers of devices that could not be told to stop.
#[derive(Debug, Default)]
pub(crate) struct Quarantine(SpinLock<Vec<(Option<Location>, Arc<ke::DmaBuffer>)>>);

impl Quarantine {
    fn add(&self, at: &mut At<'_, Passive>, location: Option<Location>, buffer: Arc<ke::DmaBuffer>) {
        self.0.acquire(at).push((location, buffer));
    }

    /// How many buffers there are, and their bytes.
    pub fn totals(&self, at: &mut At<'_, Passive>) -> (usize, usize) {
        self.0.with(at, |all, _| (all.len(), all.iter().map(|(_, buffer)| buffer.len()).sum()))
    }

    /// Frees what belongs to the function at `location`, which has left the bus, and is not held by its driver.
    pub fn release(&self, at: &mut At<'_, Passive>, location: Location) {
        let freed: Vec<_> = self.0.with(at, |all, _| {
            all.extract_if(.., |(owner, buffer)| *owner == Some(location) && Arc::strong_count(buffer) == 1).collect()
        });
        for buffer in freed.into_iter().filter_map(|(_, buffer)| Arc::into_inner(buffer)) {
            buffer.free(at);
        }
    }
}
