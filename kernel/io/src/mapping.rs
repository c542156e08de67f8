//! Where bus addresses become registers: configuration space, BARs, MSI-X tables, ports. The only `unsafe` of this crate.
//!
//! **Invariant:** what is mapped is device memory: ECAM regions and windows are what firmware says (the promise made to
//! [`crate::Platform::new`]), and a BAR's address came from firmware or from such a window. A [`PortRange`] is what
//! firmware assigned to a device.

use crate::{Bar, Error, Location, config::Registers};
use core::fmt;
use ke::{At, Level, Mmio, Passive, Ports};

/// Configuration space of one bus: 32 devices of 8 functions of 4 KiB.
const BUS_LEN: usize = 1 << 20;
/// Configuration space of one function.
pub(crate) const FUNCTION_LEN: usize = 1 << 12;

/// A region of an ECAM: one segment's configuration space for a range of buses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EcamRegion {
    /// The PCI segment group.
    pub segment: u16,
    /// The first bus it covers.
    pub first_bus: u8,
    /// The last bus it covers.
    pub last_bus: u8,
    /// Where the space of `first_bus` begins.
    pub physical: u64,
}

impl EcamRegion {
    /// Maps the configuration space of the bus of `location`, which this region covers.
    pub(crate) fn map_bus(&self, at: &mut At<'_, Passive>, location: Location) -> Result<Mmio, Error> {
        let physical = self.physical + (u64::from(location.bus - self.first_bus) << 20);
        // SAFETY: the invariant above: the region is the firmware's ECAM, and the bus lies in it.
        unsafe { Mmio::map(at, physical, BUS_LEN) }.map_err(|error| Error::NotMapped(location, error))
    }
}

/// Maps all of `bar` of the function at `location`.
pub(crate) fn map_bar(at: &mut At<'_, Passive>, location: Location, bar: &Bar) -> Result<Mmio, Error> {
    let base = bar.base.ok_or(Error::BarNotPlaced { location, bar: bar.index })?;
    let too_long = Error::NotMapped(location, ke::MapError { physical: base, len: usize::MAX });
    let len = usize::try_from(bar.len).map_err(|_| too_long)?;
    // SAFETY: the invariant above: firmware or a window of the host gave this BAR its address.
    unsafe { Mmio::map(at, base, len) }.map_err(|error| Error::NotMapped(location, error))
}

/// Some consecutive I/O ports of a device (CM_RESOURCE_PORT). Where there is one, firmware assigned it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortRange {
    first: u16,
    len: u16,
}

impl PortRange {
    /// `len` ports from `first`.
    ///
    /// # Safety
    /// As for [`Ports::new`]: they are a device's, and none of them controls memory or the interrupt hardware.
    pub const unsafe fn new(first: u16, len: u16) -> Self {
        PortRange { first, len }
    }

    /// The first port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// How many.
    pub const fn len(self) -> u16 {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The ports as registers.
    pub fn open(self) -> Ports {
        // SAFETY: whoever made the range promised it.
        unsafe { Ports::new(self.first, self.len) }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = u32::from(self.first) + u32::from(self.len.max(1)) - 1;
        write!(f, "{:#x}-{last:#x}", self.first)
    }
}

/// Mapped registers, with the token that reaches them.
pub struct Mapped<'a, 'c, L: Level> {
    mmio: &'a Mmio,
    base: usize,
    at: &'a mut At<'c, L>,
}

impl<'a, 'c, L: Level> Mapped<'a, 'c, L> {
    /// The registers from `base` of `mmio`.
    pub(crate) fn new(mmio: &'a Mmio, base: usize, at: &'a mut At<'c, L>) -> Self {
        Mapped { mmio, base, at }
    }
}

macro_rules! accesses {
    ($($read:ident, $write:ident: $width:ty;)*) => {$(
        fn $read(&mut self, offset: usize) -> $width {
            self.mmio.register(self.base + offset).expect(INSIDE).read(self.at)
        }
        fn $write(&mut self, offset: usize, value: $width) {
            self.mmio.register(self.base + offset).expect(INSIDE).write(self.at, value);
        }
    )*};
}
const INSIDE: &str = "header and capability offsets lie in a function's 4 KiB, a table's entries in its length";

impl<L: Level> Registers for Mapped<'_, '_, L> {
    accesses! {
        read16, write16: u16;
        read32, write32: u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_first_to_last() {
        // SAFETY: never opened.
        let (uart, last) = unsafe { (PortRange::new(0x3f8, 8), PortRange::new(0xffff, 1)) };
        assert_eq!((uart.to_string(), last.to_string()), ("0x3f8-0x3ff".into(), "0xffff-0xffff".into()));
    }
}
