//! Device memory: mapped regions and the registers in them.
//!
//! **Invariant:** a mapping is for good (`Hal::map_mmio`), and a [`Register`] lies inside one, so a handle never
//! dangles: after its device is gone a read gives all ones and a write goes nowhere.

use crate::{
    at::At,
    hal::{HalRef, Point},
    level::{Level, Passive},
};
use core::{fmt, marker::PhantomData, panic::Location};

mod sealed {
    pub trait Sealed {}
}

/// A width that a register can have: `u8`, `u16`, `u32` or `u64`.
pub trait RegisterWidth: sealed::Sealed + Copy + Send + Sync + 'static {
    #[doc(hidden)]
    fn read(hal: HalRef<'_>, address: usize) -> Self;
    #[doc(hidden)]
    fn write(self, hal: HalRef<'_>, address: usize);
    /// All ones: what a device that is gone answers.
    const ALL_ONES: Self;
}

macro_rules! widths {
    ($($width:ty: $read:ident, $write:ident;)*) => {$(
        impl sealed::Sealed for $width {}
        impl RegisterWidth for $width {
            #[inline(always)]
            fn read(hal: HalRef<'_>, address: usize) -> Self {
                hal.$read(address)
            }
            #[inline(always)]
            fn write(self, hal: HalRef<'_>, address: usize) {
                hal.$write(address, self);
            }
            const ALL_ONES: Self = <$width>::MAX;
        }
    )*};
}
widths! {
    u8: mmio_read8, mmio_write8;
    u16: mmio_read16, mmio_write16;
    u32: mmio_read32, mmio_write32;
    u64: mmio_read64, mmio_write64;
}

/// A mapped region of device memory (a BAR, a configuration space). Not `Clone`.
#[derive(Debug)]
pub struct Mmio {
    address: usize,
    len: usize,
}

/// No address space or memory left to map `len` bytes at `physical`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapError {
    /// Where the region begins.
    pub physical: u64,
    /// Its length in bytes.
    pub len: usize,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot map {} bytes of device memory at {:#x}", self.len, self.physical)
    }
}

impl core::error::Error for MapError {}

/// A register that is not inside its region, or not aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRange {
    /// The register's offset.
    pub offset: usize,
    /// Its width in bytes.
    pub width: usize,
    /// The region's length.
    pub len: usize,
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, width, len } = self;
        write!(f, "a {width}-byte register at offset {offset:#x} does not fit a region of {len:#x} bytes")
    }
}

impl core::error::Error for OutOfRange {}

impl Mmio {
    /// MmMapIoSpace: `len` bytes at `physical`, uncached, for good.
    ///
    /// # Safety
    /// The range is device memory that this machine's firmware or bus assigned, not RAM.
    pub unsafe fn map(at: &mut At<'_, Passive>, physical: u64, len: usize) -> Result<Self, MapError> {
        match at.hal.map_mmio(physical, len) {
            0 => Err(MapError { physical, len }),
            address => Ok(Mmio { address, len }),
        }
    }

    /// The region's length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the region has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The register at `offset`, checked once so that accesses need no check.
    pub fn register<W: RegisterWidth>(&self, offset: usize) -> Result<Register<W>, OutOfRange> {
        let width = size_of::<W>();
        match offset.checked_add(width) {
            Some(end) if end <= self.len && (self.address + offset).is_multiple_of(width) => {
                Ok(Register { address: self.address + offset, _width: PhantomData })
            }
            _ => Err(OutOfRange { offset, width, len: self.len }),
        }
    }

    /// A part of the region, as a region of its own.
    pub fn part(&self, offset: usize, len: usize) -> Result<Mmio, OutOfRange> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(Mmio { address: self.address + offset, len }),
            _ => Err(OutOfRange { offset, width: len, len: self.len }),
        }
    }
}

/// One register. Any IRQL. Not `Clone`: a register exists once.
#[derive(Debug)]
pub struct Register<W: RegisterWidth> {
    address: usize,
    _width: PhantomData<fn() -> W>,
}

impl<W: RegisterWidth> Register<W> {
    /// READ_REGISTER_*: one access of the register's width.
    #[inline]
    #[track_caller]
    pub fn read<L: Level>(&self, at: &mut At<'_, L>) -> W {
        at.point(Point::MmioRead, self.address, Location::caller());
        W::read(at.hal, self.address)
    }

    /// WRITE_REGISTER_*: one access of the register's width.
    #[inline]
    #[track_caller]
    pub fn write<L: Level>(&self, at: &mut At<'_, L>, value: W) {
        at.point(Point::MmioWrite, self.address, Location::caller());
        value.write(at.hal, self.address);
    }
}
