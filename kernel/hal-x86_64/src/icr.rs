//! The interrupt command register: what to send, and how each APIC mode writes down to whom.

use core::fmt;

/// What one CPU sends to another. The value is the low half of the register: physical destination, assert.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Command(u32);

const ASSERT: u32 = 1 << 14;

impl Command {
    /// An interrupt at `vector`.
    pub const fn fixed(vector: u8) -> Self {
        Command(ASSERT | vector as u32)
    }
    /// A non-maskable interrupt.
    pub const NMI: Self = Command(ASSERT | 0b100 << 8);
    /// INIT: back to waiting for [`Command::startup`].
    pub const INIT: Self = Command(ASSERT | 0b101 << 8);
    /// Start in real mode at the beginning of `page`, which is below 1 MiB.
    pub const fn startup(page: u64) -> Self {
        assert!(page < 1 << 20 && page.is_multiple_of(4096));
        Command(ASSERT | 0b110 << 8 | (page >> 12) as u32)
    }

    /// The two registers of xAPIC mode, the destination first: writing the command sends. `None` if the destination
    /// does not fit its 8 bits.
    pub const fn xapic(self, destination: u32) -> Option<(u32, u32)> {
        if destination < 0xff { Some((destination << 24, self.0)) } else { None }
    }

    /// The one register of x2APIC mode.
    pub const fn x2apic(self, destination: u32) -> u64 {
        (destination as u64) << 32 | self.0 as u64
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({:#x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xapic_destination_is_in_the_top_byte() {
        assert_eq!(Command::fixed(0x71).xapic(1), Some((0x0100_0000, 0x4071)));
        assert_eq!(Command::fixed(0x71).xapic(256), None);
        assert_eq!(Command::fixed(0x71).xapic(255), None, "255 is everybody");
    }

    #[test]
    fn x2apic_destination_is_the_high_half() {
        assert_eq!(Command::fixed(0x2f).x2apic(0x1_0003), 0x0001_0003_0000_402f);
        assert_eq!(Command::NMI.x2apic(2), 0x2_0000_4400);
        assert_eq!(Command::INIT.x2apic(2), 0x2_0000_4500);
    }

    #[test]
    fn startup_carries_a_page_number() {
        assert_eq!(Command::startup(0x8000).x2apic(0), 0x4608);
    }
}
