//! MSI-X: a table in the function's memory, with an address, a data value and a mask bit for each message.
//!
//! **Invariant:** an entry changes only while it is masked.

use crate::{
    Error, capability,
    config::{Command, Function, Registers},
};
use core::ops::Range;
use ke::hal::MsiMessage;

const ENABLE: u16 = 1 << 15;
const FUNCTION_MASK: u16 = 1 << 14;

const ENTRY_LEN: usize = 16;
const VECTOR_CONTROL: usize = 12;
const MASKED: u32 = 1;

/// A function's MSI-X capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsiX {
    offset: usize,
    messages: u16,
    bar: u8,
    table: u32,
}

impl MsiX {
    /// The MSI-X capability of `function`, if it has one.
    pub(crate) fn find<R: Registers>(function: &mut Function<R>) -> Result<Option<Self>, Error> {
        let Some(offset) = capability::find(function, capability::MSI_X)? else { return Ok(None) };
        let messages = (function.registers.read16(offset + 2) & 0x7ff) + 1;
        let table = function.registers.read32(offset + 4);
        function.check_present()?;
        Ok(Some(MsiX { offset, messages, bar: table as u8 & 0b111, table: table & !0b111 }))
    }

    /// How many entries the table has: 1 to 2048.
    pub fn messages(&self) -> u16 {
        self.messages
    }

    /// The BAR that holds the table.
    pub fn bar(&self) -> u8 {
        self.bar
    }

    /// Where the table lies in that BAR, in bytes.
    pub fn table(&self) -> Range<u64> {
        let start = u64::from(self.table);
        start..start + u64::from(self.messages) * ENTRY_LEN as u64
    }

    /// Switches MSI-X on with the line disabled and the function masked as a whole, which no entry can undo.
    pub(crate) fn enable_masked<R: Registers>(&self, function: &mut Function<R>) -> Result<(), Error> {
        function.change_command(Command::INTERRUPT_DISABLE, Command::empty())?;
        self.set_control(function, ENABLE | FUNCTION_MASK)
    }

    /// Masks every entry. `Err`: the number of the first one that did not take it.
    pub(crate) fn mask_all(&self, table: &mut impl Registers) -> Result<(), u16> {
        (0..self.messages).find(|&message| !self.set_masked(table, message, true)).map_or(Ok(()), Err)
    }

    /// Leaves the masking to the entries.
    pub(crate) fn unmask_function<R: Registers>(&self, function: &mut Function<R>) -> Result<(), Error> {
        self.set_control(function, ENABLE)
    }

    /// Switches MSI-X off.
    pub(crate) fn disable<R: Registers>(&self, function: &mut Function<R>) -> Result<(), Error> {
        self.set_control(function, 0)
    }

    /// Writes entry `message`, which is masked and stays so.
    pub(crate) fn program(&self, table: &mut impl Registers, message: u16, content: MsiMessage) {
        let entry = usize::from(message) * ENTRY_LEN;
        table.write32(entry, content.address as u32);
        table.write32(entry + 4, (content.address >> 32) as u32);
        table.write32(entry + 8, content.data);
    }

    /// Masks or unmasks entry `message`; the read-back pushes out a message already on its way. `false`: not taken.
    pub(crate) fn set_masked(&self, table: &mut impl Registers, message: u16, masked: bool) -> bool {
        let control = usize::from(message) * ENTRY_LEN + VECTOR_CONTROL;
        // The other bits are reserved or belong to steering tags: keep them.
        let before = table.read32(control);
        table.write32(control, if masked { before | MASKED } else { before & !MASKED });
        (table.read32(control) & MASKED != 0) == masked
    }

    fn set_control<R: Registers>(&self, function: &mut Function<R>, bits: u16) -> Result<(), Error> {
        let control = function.registers.read16(self.offset + 2) & !(ENABLE | FUNCTION_MASK);
        function.registers.write16(self.offset + 2, control | bits);
        let taken = function.registers.read16(self.offset + 2) & (ENABLE | FUNCTION_MASK);
        function.check_present()?;
        if taken != bits {
            let masked = bits != ENABLE;
            return Err(Error::MaskNotTaken { location: function.location, message: 0, masked });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::ConfigSpace,
        fake::{FakeDevice, FakeSpace, LOCATION},
    };

    const AT: usize = 0x40;

    fn enable(msix: &MsiX, function: &mut Function<&mut FakeDevice>, table: &mut FakeDevice) {
        msix.enable_masked(function).unwrap();
        assert_eq!(msix.mask_all(&mut &mut *table), Ok(()));
        msix.unmask_function(function).unwrap();
    }

    fn with_msix(messages: u16) -> FakeSpace {
        let device = FakeDevice::new(0x8086, 0x10d3)
            .with_capability(AT, capability::MSI_X, messages - 1)
            .with_word(AT + 4, 0x2003, 0)
            .with_word(AT + 8, 0x3003, 0);
        FakeSpace::default().with(LOCATION, device)
    }

    #[test]
    fn reads_where_the_table_is() {
        let mut space = with_msix(5);
        let msix = MsiX::find(&mut space.function(LOCATION).unwrap().unwrap()).unwrap().unwrap();
        assert_eq!((msix.messages(), msix.bar(), msix.table()), (5, 3, 0x2000..0x2050));
    }

    #[test]
    fn enabling_masks_every_entry_under_the_function_mask() {
        let mut space = with_msix(3);
        let mut table = FakeDevice::table(12);
        let mut function = space.function(LOCATION).unwrap().unwrap();
        let msix = MsiX::find(&mut function).unwrap().unwrap();
        enable(&msix, &mut function, &mut table);
        for entry in 0..3 {
            assert_eq!(table.word(entry * ENTRY_LEN + VECTOR_CONTROL), MASKED);
        }
        let device = space.device(LOCATION);
        assert!(device.command().contains(Command::INTERRUPT_DISABLE));
        assert_eq!(device.word(AT) >> 16, u32::from(ENABLE | 2));
        let controls: Vec<u32> = device.writes.iter().filter(|w| w.0 == AT).map(|w| w.1 >> 16 & 0xc000).collect();
        assert_eq!(controls, [0xc000, 0x8000], "masked as a whole first, then let go");
    }

    #[test]
    fn programs_one_entry_and_unmasks_it_alone() {
        let mut space = with_msix(2);
        let mut table = FakeDevice::table(8);
        let mut function = space.function(LOCATION).unwrap().unwrap();
        let msix = MsiX::find(&mut function).unwrap().unwrap();
        enable(&msix, &mut function, &mut table);
        msix.program(&mut &mut table, 1, MsiMessage { address: 0x1_fee0_0000, data: 0x73 });
        assert!(msix.set_masked(&mut &mut table, 1, false));
        assert_eq!([16, 20, 24, 28].map(|at| table.word(at)), [0xfee0_0000, 1, 0x73, 0]);
        assert_eq!(table.word(VECTOR_CONTROL), MASKED);
    }

    #[test]
    fn a_function_that_does_not_answer_is_reported() {
        let mut space = with_msix(1);
        let mut gone = FakeDevice::default();
        let mut function = space.function(LOCATION).unwrap().unwrap();
        let msix = MsiX::find(&mut function).unwrap().unwrap();
        assert!(!msix.set_masked(&mut &mut gone, 0, false));
        space.unplug(LOCATION);
        let mut function = Function { location: LOCATION, registers: space.registers(LOCATION).unwrap() };
        assert_eq!(msix.enable_masked(&mut function), Err(Error::Gone(LOCATION)));
    }
}
