//! MSI: up to 32 messages that differ in the low bits of one data value.
//!
//! All messages go to one CPU and to consecutive vectors. Some functions have a mask bit for each message; the others
//! can only have MSI switched off, which loses what arrives meanwhile, so whoever must mask them latches instead.
//!
//! **Invariant:** the message registers change only while MSI is off, and a function with MSI never uses its line: it
//! would fall back to that whenever MSI is off.

use crate::{
    Error, capability,
    config::{Command, Function, Registers},
};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use ke::hal::MsiMessage;

const ENABLE: u16 = 1 << 0;
const COUNT_SHIFT: u16 = 4;
const WIDE: u16 = 1 << 7;
const MASKABLE: u16 = 1 << 8;

/// A function's MSI capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Msi {
    offset: usize,
    messages: u16,
    wide: bool,
    maskable: bool,
}

impl Msi {
    /// The MSI capability of `function`, if it has one.
    pub(crate) fn find<R: Registers>(function: &mut Function<R>) -> Result<Option<Self>, Error> {
        let Some(offset) = capability::find(function, capability::MSI)? else { return Ok(None) };
        let control = function.registers.read16(offset + 2);
        // 6 and 7 are reserved; 32 messages are the most there can be.
        let messages = 1 << (control >> 1 & 0b111).min(5);
        Ok(Some(Msi { offset, messages, wide: control & WIDE != 0, maskable: control & MASKABLE != 0 }))
    }

    /// How many messages the function can tell apart: 1 to 32, a power of two.
    pub fn messages(&self) -> u16 {
        self.messages
    }

    /// Whether each message has a mask bit.
    pub fn is_maskable(&self) -> bool {
        self.maskable
    }

    /// Writes the first of `count` messages, with MSI off and every message masked where that is possible. `count` is
    /// a power of two and at most [`Self::messages`]; message n carries `message.data + n`.
    pub(crate) fn program<R: Registers>(
        &self,
        function: &mut Function<R>,
        message: MsiMessage,
        count: u16,
    ) -> Result<(), Error> {
        assert!(count.is_power_of_two() && count <= self.messages, "{count} of {} messages", self.messages);
        let too_wide = (!self.wide && message.address >> 32 != 0) || message.data >> 16 != 0;
        if too_wide {
            let MsiMessage { address, data } = message;
            return Err(Error::MessageTooWide { location: function.location, address, data });
        }
        function.change_command(Command::INTERRUPT_DISABLE, Command::empty())?;
        self.set_enabled(function, false)?;
        if self.maskable {
            function.registers.write32(self.mask_register(), u32::MAX);
        }
        function.registers.write32(self.offset + 4, message.address as u32);
        if self.wide {
            function.registers.write32(self.offset + 8, (message.address >> 32) as u32);
        }
        function.registers.write16(self.data_register(), message.data as u16);
        let control = function.registers.read16(self.offset + 2) & !(0b111 << COUNT_SHIFT);
        let count = count.trailing_zeros() as u16;
        function.registers.write16(self.offset + 2, control | count << COUNT_SHIFT);
        function.check_present()
    }

    /// Switches MSI on or off and reads that back.
    pub(crate) fn set_enabled<R: Registers>(&self, function: &mut Function<R>, on: bool) -> Result<(), Error> {
        let control = function.registers.read16(self.offset + 2) & !ENABLE;
        function.registers.write16(self.offset + 2, control | if on { ENABLE } else { 0 });
        let taken = function.registers.read16(self.offset + 2) & ENABLE != 0;
        function.check_present()?;
        if taken != on {
            return Err(Error::MaskNotTaken { location: function.location, message: 0, masked: !on });
        }
        Ok(())
    }

    /// Masks or unmasks one message and reads that back, which pushes out a message already on its way. `wanted` is
    /// what the mask register should hold, shared by all messages of the function. `None` when the function has no
    /// mask bits, `Some(false)` when the bit did not take. Any IRQL, on any number of CPUs at once.
    pub(crate) fn set_masked(
        &self,
        registers: &mut impl Registers,
        wanted: &AtomicU32,
        message: u16,
        masked: bool,
    ) -> Option<bool> {
        if !self.maskable {
            return None;
        }
        let bit = 1 << message;
        let change = |word: &AtomicU32| if masked { word.fetch_or(bit, SeqCst) } else { word.fetch_and(!bit, SeqCst) };
        change(wanted);
        // Two CPUs may write in either order: whoever finds that `wanted` has changed since writes again, so the last
        // write carries every change.
        loop {
            let word = wanted.load(SeqCst);
            registers.write32(self.mask_register(), word);
            let read = registers.read32(self.mask_register());
            if wanted.load(SeqCst) == word {
                return Some((read & bit != 0) == masked);
            }
        }
    }

    fn data_register(&self) -> usize {
        self.offset + if self.wide { 12 } else { 8 }
    }

    fn mask_register(&self) -> usize {
        self.offset + if self.wide { 16 } else { 12 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{ConfigSpace, offset},
        fake::{FakeDevice, FakeSpace, LOCATION},
    };

    const AT: usize = 0x40;
    const MESSAGE: MsiMessage = MsiMessage { address: 0xfee0_1000, data: 0x61 };

    /// A function with MSI: `control` says how many messages, wide, maskable.
    fn with_msi(control: u16) -> FakeSpace {
        let mut device = FakeDevice::new(0x1234, 0x11e8).with_capability(AT, capability::MSI, control);
        for register in 1..5 {
            device = device.with_word(AT + 4 * register, 0, u32::MAX);
        }
        FakeSpace::default().with(LOCATION, device)
    }

    fn control(space: &FakeSpace) -> u16 {
        (space.device(LOCATION).word(AT) >> 16) as u16
    }

    #[test]
    fn reads_count_width_and_mask_bits() {
        let mut space = with_msi(WIDE | MASKABLE | 3 << 1);
        let msi = Msi::find(&mut space.function(LOCATION).unwrap().unwrap()).unwrap().unwrap();
        assert_eq!((msi.messages(), msi.wide, msi.is_maskable()), (8, true, true));
    }

    #[test]
    fn programs_masked_and_off_with_the_line_disabled_and_then_unmasks() {
        let mut space = with_msi(WIDE | MASKABLE | 2 << 1);
        let mut function = space.function(LOCATION).unwrap().unwrap();
        let msi = Msi::find(&mut function).unwrap().unwrap();
        msi.program(&mut function, MESSAGE, 4).unwrap();
        msi.set_enabled(&mut function, true).unwrap();
        let wanted = AtomicU32::new(u32::MAX);
        assert_eq!(msi.set_masked(&mut function.registers, &wanted, 2, false), Some(true));
        let device = space.device(LOCATION);
        assert!(device.command().contains(Command::INTERRUPT_DISABLE));
        assert_eq!(device.word(AT + 4), 0xfee0_1000);
        assert_eq!(device.word(AT + 12) & 0xffff, 0x61);
        assert_eq!(device.word(AT + 16), !0b100);
        assert_eq!(control(&space) & (ENABLE | 0b111 << COUNT_SHIFT), ENABLE | 2 << COUNT_SHIFT);
        let mask = device.writes.iter().position(|&(offset, _)| offset == AT + 16);
        let address = device.writes.iter().position(|&(offset, _)| offset == AT + 4);
        assert!(mask < address, "the messages are masked before they are written");
    }

    #[test]
    fn a_narrow_function_without_mask_bits_uses_its_own_layout() {
        let mut space = with_msi(0);
        let mut function = space.function(LOCATION).unwrap().unwrap();
        let msi = Msi::find(&mut function).unwrap().unwrap();
        msi.program(&mut function, MESSAGE, 1).unwrap();
        assert_eq!(msi.set_masked(&mut function.registers, &AtomicU32::new(0), 0, true), None);
        assert_eq!(space.device(LOCATION).word(AT + 8) & 0xffff, 0x61);
    }

    #[test]
    fn a_narrow_function_cannot_send_to_an_address_above_4_gib() {
        let mut space = with_msi(0);
        let mut function = space.function(LOCATION).unwrap().unwrap();
        let msi = Msi::find(&mut function).unwrap().unwrap();
        let message = MsiMessage { address: 1 << 32, data: 1 };
        let error = msi.program(&mut function, message, 1).unwrap_err();
        assert_eq!(error, Error::MessageTooWide { location: LOCATION, address: 1 << 32, data: 1 });
    }

    #[test]
    fn a_change_made_by_another_cpu_between_write_and_check_is_written_too() {
        struct Racing<'a>(&'a mut FakeDevice, &'a AtomicU32);
        impl Registers for Racing<'_> {
            fn read16(&mut self, offset: usize) -> u16 {
                (&mut *self.0).read16(offset)
            }
            fn read32(&mut self, offset: usize) -> u32 {
                (&mut *self.0).read32(offset)
            }
            fn write16(&mut self, offset: usize, value: u16) {
                (&mut *self.0).write16(offset, value);
            }
            fn write32(&mut self, offset: usize, value: u32) {
                (&mut *self.0).write32(offset, value);
                self.1.fetch_and(!0b1000, SeqCst);
            }
        }
        let mut space = with_msi(WIDE | MASKABLE | 3 << 1);
        let mut function = space.function(LOCATION).unwrap().unwrap();
        let msi = Msi::find(&mut function).unwrap().unwrap();
        let wanted = AtomicU32::new(u32::MAX);
        assert_eq!(msi.set_masked(&mut Racing(function.registers, &wanted), &wanted, 1, false), Some(true));
        assert_eq!(space.device(LOCATION).word(AT + 16), !0b1010);
    }

    #[test]
    fn an_enable_bit_that_does_not_take_is_reported() {
        let mut space = with_msi(0);
        let mut function = space.function(LOCATION).unwrap().unwrap();
        let msi = Msi::find(&mut function).unwrap().unwrap();
        *function.registers = function.registers.clone().with_word(AT, u32::from(capability::MSI), 0);
        let error = msi.set_enabled(&mut function, true).unwrap_err();
        assert_eq!(error, Error::MaskNotTaken { location: LOCATION, message: 0, masked: false });
    }

    #[test]
    fn interrupt_disable_is_in_the_command_register_and_not_elsewhere() {
        let mut space = with_msi(0);
        let mut function = space.function(LOCATION).unwrap().unwrap();
        Msi::find(&mut function).unwrap().unwrap().program(&mut function, MESSAGE, 1).unwrap();
        assert_eq!(space.device(LOCATION).word(offset::COMMAND) & 0xffff, 0x0400);
    }
}
