//! The list of capabilities in a function's configuration space.

use crate::{
    Error,
    config::{Function, Registers, offset},
};

/// Message-signaled interrupts.
pub(crate) const MSI: u8 = 0x05;
/// Message-signaled interrupts by a table.
pub(crate) const MSI_X: u8 = 0x11;

const HAS_CAPABILITIES: u16 = 1 << 4;
const HEADER_END: usize = 0x40;
/// As many four-byte entries as fit between the header and the end of the list's 256 bytes.
const MOST: usize = (256 - HEADER_END) / 4;

/// Where the capability `id` starts, if `function` has it.
pub(crate) fn find<R: Registers>(function: &mut Function<R>, id: u8) -> Result<Option<usize>, Error> {
    let status = function.registers.read16(offset::STATUS);
    if status == u16::MAX {
        return Err(Error::Gone(function.location));
    }
    if status & HAS_CAPABILITIES == 0 {
        return Ok(None);
    }
    let mut at = usize::from(function.registers.read16(offset::CAPABILITIES) & 0xfc);
    for _ in 0..MOST {
        if at == 0 {
            return Ok(None);
        }
        if at < HEADER_END {
            break;
        }
        let header = function.registers.read16(at);
        if header == u16::MAX {
            return Err(Error::Gone(function.location));
        }
        if header as u8 == id {
            return Ok(Some(at));
        }
        at = usize::from(header >> 8 & 0xfc);
    }
    Err(Error::BadCapabilityList(function.location))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::ConfigSpace,
        fake::{FakeDevice, FakeSpace, LOCATION},
    };

    fn find_in(device: FakeDevice, id: u8) -> Result<Option<usize>, Error> {
        let mut space = FakeSpace::default().with(LOCATION, device);
        find(&mut space.function(LOCATION).unwrap().unwrap(), id)
    }

    #[test]
    fn finds_the_second_of_two_and_misses_a_third() {
        let device = FakeDevice::new(1, 2).with_capability(0x60, MSI, 0).with_capability(0x40, 0x01, 0);
        assert_eq!(find_in(device.clone(), MSI), Ok(Some(0x60)));
        assert_eq!(find_in(device, MSI_X), Ok(None));
    }

    #[test]
    fn a_device_without_a_list_has_no_capability() {
        assert_eq!(find_in(FakeDevice::new(1, 2), MSI), Ok(None));
    }

    #[test]
    fn a_list_that_loops_is_an_error() {
        let device = FakeDevice::new(1, 2).with_capability(0x40, 0x01, 0).with_word(0x40, 0x4001, 0);
        assert_eq!(find_in(device, MSI), Err(Error::BadCapabilityList(LOCATION)));
    }

    #[test]
    fn a_list_that_points_into_the_header_is_an_error() {
        let device = FakeDevice::new(1, 2).with_capability(0x40, 0x01, 0).with_word(0x40, 0x1001, 0);
        assert_eq!(find_in(device, MSI), Err(Error::BadCapabilityList(LOCATION)));
    }
}
