//! One PCI function's configuration space: 256 bytes and which of their bits software can write.

use crate::model::Identity;
use ke::hal::MsiMessage;

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const REVISION: usize = 0x08;
const BAR0: usize = 0x10;
const CAPABILITIES: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;
const INTERRUPT_PIN: usize = 0x3d;

const COMMAND_MEMORY: u64 = 1 << 1;
const COMMAND_BUS_MASTER: u64 = 1 << 2;
const COMMAND_INTERRUPT_DISABLE: u64 = 1 << 10;
const STATUS_CAPABILITIES: u64 = 1 << 4;
const BAR_64_BIT: u64 = 0x4;

/// The MSI capability: 64-bit address, no mask bits, like most devices'.
const MSI: usize = 0x40;
const MSI_CONTROL: usize = MSI + 2;
const MSI_ADDRESS: usize = MSI + 4;
const MSI_DATA: usize = MSI + 12;
const MSI_ID: u64 = 0x05;
const MSI_ENABLE: u64 = 1;
const MSI_ENABLED_COUNT: u64 = 7 << 4;
const MSI_64_BIT: u64 = 1 << 7;

#[derive(Debug)]
pub(super) struct Function {
    bytes: [u8; 256],
    /// Bits that software can change.
    writable: [u8; 256],
    /// Where each BAR's register is, and its size.
    bars: Vec<BarSlot>,
    has_msi: bool,
}

#[derive(Debug)]
struct BarSlot {
    register: usize,
    size: u64,
    wide: bool,
}

impl Function {
    pub(super) fn new(identity: &Identity) -> Self {
        let mut function = Function { bytes: [0; 256], writable: [0; 256], bars: Vec::new(), has_msi: false };
        function.set(0, 4, u64::from(identity.device) << 16 | u64::from(identity.vendor));
        function.set(REVISION, 4, u64::from(identity.class) << 8 | u64::from(identity.revision));
        function.allow(COMMAND, 2, COMMAND_MEMORY | COMMAND_BUS_MASTER | COMMAND_INTERRUPT_DISABLE);
        function.allow(INTERRUPT_LINE, 1, 0xff);
        let mut register = BAR0;
        for bar in &identity.bars {
            let width = if bar.wide { 8 } else { 4 };
            assert!(bar.size.is_power_of_two() && bar.size >= 16, "a BAR's size is a power of two from 16 up");
            assert!(register + width <= BAR0 + 24, "a function has six BAR registers");
            function.allow(register, width, !(bar.size - 1));
            function.bars.push(BarSlot { register, size: bar.size, wide: bar.wide });
            register += width;
        }
        if identity.msi_messages > 0 {
            assert!(
                identity.msi_messages.is_power_of_two() && identity.msi_messages <= 32,
                "MSI has 1, 2, 4, 8, 16 or 32 messages"
            );
            function.has_msi = true;
            function.set(STATUS, 2, STATUS_CAPABILITIES);
            function.set(CAPABILITIES, 1, MSI as u64);
            function.set(INTERRUPT_PIN, 1, 1);
            let capable = u64::from(identity.msi_messages.ilog2()) << 1;
            function.set(MSI, 4, MSI_ID | (MSI_64_BIT | capable) << 16);
            function.allow(MSI_CONTROL, 2, MSI_ENABLE | MSI_ENABLED_COUNT);
            function.allow(MSI_ADDRESS, 8, !3);
            function.allow(MSI_DATA, 2, 0xffff);
        }
        function
    }

    /// What firmware does: gives BAR `n` an address.
    pub(super) fn place_bar(&mut self, n: usize, base: u64) {
        let BarSlot { register, wide, .. } = self.bars[n];
        let (width, flags) = if wide { (8, BAR_64_BIT) } else { (4, 0) };
        self.set(register, width, base | flags);
    }

    /// It has an interrupt pin, INTA#.
    pub(super) fn give_pin(&mut self) {
        self.set(INTERRUPT_PIN, 1, 1);
    }

    pub(super) fn read(&self, offset: usize, width: usize) -> u64 {
        // Beyond the first 256 bytes lie the extended capabilities, of which there are none.
        let byte = |n: usize| u64::from(self.bytes.get(offset + n).copied().unwrap_or(0));
        (0..width).fold(0, |value, n| value | byte(n) << (8 * n))
    }

    pub(super) fn write(&mut self, offset: usize, width: usize, value: u64) {
        for n in 0..width {
            if let (Some(byte), Some(mask)) = (self.bytes.get_mut(offset + n), self.writable.get(offset + n)) {
                *byte = *byte & !mask | (value >> (8 * n)) as u8 & mask;
            }
        }
    }

    /// The BAR that answers at `physical`, and the offset in it.
    pub(super) fn decode(&self, physical: u64) -> Option<(usize, u64)> {
        if self.read(COMMAND, 2) & COMMAND_MEMORY == 0 {
            return None;
        }
        self.bars.iter().enumerate().find_map(|(n, bar)| {
            let base = self.read(bar.register, if bar.wide { 8 } else { 4 }) & !0xf;
            physical.checked_sub(base).filter(|offset| *offset < bar.size).map(|offset| (n, offset))
        })
    }

    pub(super) fn interrupt_disabled(&self) -> bool {
        self.read(COMMAND, 2) & COMMAND_INTERRUPT_DISABLE != 0
    }

    pub(super) fn bus_master(&self) -> bool {
        self.read(COMMAND, 2) & COMMAND_BUS_MASTER != 0
    }

    /// The message as programmed, if MSI is enabled.
    pub(super) fn msi(&self) -> Option<MsiMessage> {
        let enabled = self.has_msi && self.read(MSI_CONTROL, 2) & MSI_ENABLE != 0;
        let message = || MsiMessage { address: self.read(MSI_ADDRESS, 8), data: self.read(MSI_DATA, 2) as u32 };
        enabled.then(message)
    }

    /// How many messages software has enabled.
    pub(super) fn msi_vectors(&self) -> u8 {
        1 << ((self.read(MSI_CONTROL, 2) & MSI_ENABLED_COUNT) >> 4).min(5)
    }

    fn set(&mut self, offset: usize, width: usize, value: u64) {
        self.bytes[offset..offset + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }

    fn allow(&mut self, offset: usize, width: usize, mask: u64) {
        self.writable[offset..offset + width].copy_from_slice(&mask.to_le_bytes()[..width]);
    }
}
