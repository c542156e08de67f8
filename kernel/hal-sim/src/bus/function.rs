//! One PCI function's configuration space: 256 bytes and which of their bits software can write.

use super::msix::{Part, Table};
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

/// The MSI-X capability: its control word, where the table is, where the pending bits are.
const MSI_X: usize = 0x60;
const MSI_X_CONTROL: usize = MSI_X + 2;
const MSI_X_TABLE: usize = MSI_X + 4;
const MSI_X_PENDING: usize = MSI_X + 8;
const MSI_X_ID: u64 = 0x11;
const MSI_X_ENABLE: u64 = 1 << 15;
const MSI_X_FUNCTION_MASK: u64 = 1 << 14;

#[derive(Debug)]
pub(crate) struct Function {
    bytes: [u8; 256],
    /// Bits that software can change.
    writable: [u8; 256],
    /// Where each BAR's register is, and its size.
    bars: Vec<BarSlot>,
    has_msi: bool,
    msix: Option<Table>,
}

#[derive(Debug)]
struct BarSlot {
    register: usize,
    size: u64,
    wide: bool,
}

impl Function {
    pub(crate) fn new(identity: &Identity) -> Self {
        let mut function =
            Function { bytes: [0; 256], writable: [0; 256], bars: Vec::new(), has_msi: false, msix: None };
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
            function.add_capability(MSI, MSI_ID);
            function.give_pin();
            let capable = u64::from(identity.msi_messages.ilog2()) << 1;
            function.set(MSI_CONTROL, 2, MSI_64_BIT | capable);
            function.allow(MSI_CONTROL, 2, MSI_ENABLE | MSI_ENABLED_COUNT);
            function.allow(MSI_ADDRESS, 8, !3);
            function.allow(MSI_DATA, 2, 0xffff);
        }
        if let Some(msix) = &identity.msix {
            let bar = &function.bars[msix.bar];
            let table = Table::new(msix, bar.size);
            let indicator = ((bar.register - BAR0) / 4) as u64;
            function.add_capability(MSI_X, MSI_X_ID);
            function.give_pin();
            function.set(MSI_X_CONTROL, 2, u64::from(msix.messages) - 1);
            function.allow(MSI_X_CONTROL, 2, MSI_X_ENABLE | MSI_X_FUNCTION_MASK);
            function.set(MSI_X_TABLE, 4, msix.table | indicator);
            function.set(MSI_X_PENDING, 4, msix.pending | indicator);
            function.msix = Some(table);
        }
        function
    }

    /// Puts the capability `id` at `offset` in front of the list.
    fn add_capability(&mut self, offset: usize, id: u64) {
        let next = self.read(CAPABILITIES, 1);
        self.set(offset, 2, next << 8 | id);
        self.set(CAPABILITIES, 1, offset as u64);
        self.set(STATUS, 2, STATUS_CAPABILITIES);
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

    /// Returns the messages that were pending and leave now.
    pub(crate) fn write(&mut self, offset: usize, width: usize, value: u64) -> Vec<MsiMessage> {
        for n in 0..width {
            if let (Some(byte), Some(mask)) = (self.bytes.get_mut(offset + n), self.writable.get(offset + n)) {
                *byte = *byte & !mask | (value >> (8 * n)) as u8 & mask;
            }
        }
        self.pending_messages()
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

    pub(crate) fn bus_master(&self) -> bool {
        self.read(COMMAND, 2) & COMMAND_BUS_MASTER != 0
    }

    /// The device has something to say: the message of it, unless it is off, masked or may not leave.
    pub(crate) fn raise(&mut self, number: u8) -> Option<MsiMessage> {
        if let Some(msi) = self.msi() {
            let message = MsiMessage { data: msi.data | u32::from(number % self.msi_vectors()), ..msi };
            return self.bus_master().then_some(message);
        }
        let (enabled, masked) = self.msix_control();
        let message = self.msix.as_mut().filter(|_| enabled)?.raise(number, masked)?;
        self.bus_master().then_some(message)
    }

    /// Whether something that the device says now would leave it. Of MSI-X, whether anything would and nothing waits.
    pub(super) fn can_send(&self) -> bool {
        let (enabled, masked) = self.msix_control();
        let by_table = || enabled && !masked && self.msix.as_ref().is_some_and(Table::is_open);
        self.bus_master() && (self.msi().is_some() || by_table())
    }

    /// The message as programmed, if MSI is enabled.
    fn msi(&self) -> Option<MsiMessage> {
        let enabled = self.has_msi && self.read(MSI_CONTROL, 2) & MSI_ENABLE != 0;
        let message = || MsiMessage { address: self.read(MSI_ADDRESS, 8), data: self.read(MSI_DATA, 2) as u32 };
        enabled.then(message)
    }

    /// How many messages software has enabled.
    fn msi_vectors(&self) -> u8 {
        1 << ((self.read(MSI_CONTROL, 2) & MSI_ENABLED_COUNT) >> 4).min(5)
    }

    /// Whether MSI-X is on, and whether the function is masked as a whole.
    fn msix_control(&self) -> (bool, bool) {
        let control = if self.msix.is_some() { self.read(MSI_X_CONTROL, 2) } else { 0 };
        (control & MSI_X_ENABLE != 0, control & MSI_X_FUNCTION_MASK != 0)
    }

    /// The part of the MSI-X structures that lies at `offset` of BAR `bar`, and the offset in it.
    pub(super) fn msix_at(&self, bar: usize, offset: u64) -> Option<(Part, u64)> {
        self.msix.as_ref()?.at(bar, offset)
    }

    pub(super) fn msix_read(&self, part: Part, offset: u64, width: usize) -> u64 {
        self.msix.as_ref().map_or(u64::MAX, |table| table.read(part, offset, width))
    }

    /// Returns the messages that were pending and leave now; `Err` says what no driver may do.
    pub(super) fn msix_write(
        &mut self,
        part: Part,
        offset: u64,
        width: usize,
        value: u64,
    ) -> Result<Vec<MsiMessage>, String> {
        let in_use = self.msix_control() == (true, false);
        if let Some(table) = &mut self.msix {
            table.write(part, offset, width, value, in_use)?;
        }
        Ok(self.pending_messages())
    }

    fn pending_messages(&mut self) -> Vec<MsiMessage> {
        let leaves = self.msix_control() == (true, false);
        let messages = self.msix.as_mut().filter(|_| leaves).map_or(Vec::new(), Table::take_pending);
        if self.bus_master() { messages } else { Vec::new() }
    }

    fn set(&mut self, offset: usize, width: usize, value: u64) {
        self.bytes[offset..offset + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }

    fn allow(&mut self, offset: usize, width: usize, mask: u64) {
        self.writable[offset..offset + width].copy_from_slice(&mask.to_le_bytes()[..width]);
    }
}
