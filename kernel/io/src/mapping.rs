//! Where bus addresses become mapped memory: configuration space, BARs, MSI-X tables. The only `unsafe` of this crate.
//!
//! **Invariant:** what is mapped is device memory: ECAM regions and windows are what firmware says (the promise made to
//! [`crate::Platform::new`]), and a BAR's address came from firmware or from such a window.

use crate::{Bar, Error, Location, config::Registers};
use ke::{At, Level, Mmio, Passive};

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
