//! I/O ports: the registers of devices that have no memory.
//!
//! **Invariant:** a [`PortRegister`] lies inside a [`Ports`], which a bus made of what firmware or hardware assigned to a
//! device: reading or writing it changes that device and no memory of ours.

use crate::{
    at::At,
    hal::{HalRef, Point},
    level::Level,
};
use core::{fmt, marker::PhantomData, panic::Location};

mod sealed {
    pub trait Sealed {}
}

/// A width that a port can have: `u8`, `u16` or `u32`.
pub trait PortWidth: sealed::Sealed + Copy + Send + Sync + 'static {
    #[doc(hidden)]
    fn read(hal: HalRef<'_>, port: u16) -> Self;
    #[doc(hidden)]
    fn write(self, hal: HalRef<'_>, port: u16);
}

macro_rules! widths {
    ($($width:ty: $read:ident, $write:ident;)*) => {$(
        impl sealed::Sealed for $width {}
        impl PortWidth for $width {
            #[inline(always)]
            fn read(hal: HalRef<'_>, port: u16) -> Self {
                hal.$read(port)
            }
            #[inline(always)]
            fn write(self, hal: HalRef<'_>, port: u16) {
                hal.$write(port, self);
            }
        }
    )*};
}
widths! {
    u8: port_read8, port_write8;
    u16: port_read16, port_write16;
    u32: port_read32, port_write32;
}

/// A range of I/O ports (CmResourceTypePort). Not `Clone`.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    len: u16,
}

/// A port that is not inside its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortOutOfRange {
    /// The port's offset.
    pub offset: u16,
    /// Its width in bytes.
    pub width: u16,
    /// The range's length.
    pub len: u16,
}

impl fmt::Display for PortOutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, width, len } = self;
        write!(f, "a {width}-byte port at offset {offset} does not fit a range of {len} ports")
    }
}

impl core::error::Error for PortOutOfRange {}

impl Ports {
    /// The `len` ports from `first`.
    ///
    /// # Safety
    /// Firmware, the bus or the platform assigned them to a device; none of them controls memory or the interrupt
    /// hardware under the core.
    pub unsafe fn new(first: u16, len: u16) -> Self {
        Ports { first, len }
    }

    /// How many ports.
    pub fn len(&self) -> u16 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The register at `offset`, checked once so that accesses need no check.
    pub fn register<W: PortWidth>(&self, offset: u16) -> Result<PortRegister<W>, PortOutOfRange> {
        let width = size_of::<W>() as u16;
        match offset.checked_add(width) {
            Some(end) if end <= self.len && self.first.checked_add(offset).is_some() => {
                Ok(PortRegister { port: self.first + offset, _width: PhantomData })
            }
            _ => Err(PortOutOfRange { offset, width, len: self.len }),
        }
    }
}

/// One register at an I/O port. Any IRQL. Not `Clone`: a register exists once.
#[derive(Debug)]
pub struct PortRegister<W: PortWidth> {
    port: u16,
    _width: PhantomData<fn() -> W>,
}

impl<W: PortWidth> PortRegister<W> {
    /// READ_PORT_*: one access of the register's width.
    #[inline]
    #[track_caller]
    pub fn read<L: Level>(&self, at: &mut At<'_, L>) -> W {
        at.point(Point::PortRead, self.port.into(), Location::caller());
        W::read(at.hal, self.port)
    }

    /// WRITE_PORT_*: one access of the register's width.
    #[inline]
    #[track_caller]
    pub fn write<L: Level>(&self, at: &mut At<'_, L>, value: W) {
        at.point(Point::PortWrite, self.port.into(), Location::caller());
        value.write(at.hal, self.port);
    }
}
