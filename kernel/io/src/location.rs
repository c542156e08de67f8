//! Where a PCI function sits.

use core::fmt;

/// Segment, bus, device and function: the name of a PCI function while the system runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The PCI segment group, one per ECAM region of the MCFG table.
    pub segment: u16,
    /// The bus within the segment.
    pub bus: u8,
    /// The device on the bus, 0 to 31.
    pub device: u8,
    /// The function of the device, 0 to 7.
    pub function: u8,
}

impl Location {
    /// Function `function` of device `device` on `bus` of segment `segment`.
    pub const fn new(segment: u16, bus: u8, device: u8, function: u8) -> Self {
        assert!(device < 32 && function < 8, "a bus has 32 devices of 8 functions");
        Location { segment, bus, device, function }
    }

    /// Where the function's 4 KiB of configuration space start in its bus's 1 MiB of ECAM.
    pub(crate) const fn offset_in_bus(self) -> usize {
        (self.device as usize) << 15 | (self.function as usize) << 12
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.segment, self.bus, self.device, self.function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_the_field_writes_it() {
        assert_eq!(Location::new(0, 0, 4, 0).to_string(), "0000:00:04.0");
        assert_eq!(Location::new(1, 0xab, 31, 7).to_string(), "0001:ab:1f.7");
    }

    #[test]
    fn every_function_of_a_bus_has_its_own_page() {
        assert_eq!(Location::new(0, 9, 0, 1).offset_in_bus(), 0x1000);
        assert_eq!(Location::new(0, 9, 31, 7).offset_in_bus(), 0xf_f000);
    }
}
