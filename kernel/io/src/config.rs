//! Configuration space: the registers that every PCI function has.

use crate::{Error, Location};
use bitflags::bitflags;

/// A block of registers: one function's configuration space, or its MSI-X table. Offsets are in bytes and aligned to
/// the access. A device that is gone reads all ones and swallows writes.
pub trait Registers {
    /// Reads 16 bits.
    fn read16(&mut self, offset: usize) -> u16;
    /// Reads 32 bits.
    fn read32(&mut self, offset: usize) -> u32;
    /// Writes 16 bits.
    fn write16(&mut self, offset: usize, value: u16);
    /// Writes 32 bits.
    fn write32(&mut self, offset: usize, value: u32);
}

/// A way to the configuration space of many functions: ECAM, or arrays in a test.
pub trait ConfigSpace {
    /// One function's registers.
    type Registers<'a>: Registers
    where
        Self: 'a;

    /// The registers at `location`, whether or not a function answers there.
    fn registers(&mut self, location: Location) -> Result<Self::Registers<'_>, Error>;

    /// The function at `location`, or `None` where nothing answers.
    fn function(&mut self, location: Location) -> Result<Option<Function<Self::Registers<'_>>>, Error> {
        let mut function = Function { location, registers: self.registers(location)? };
        Ok(function.is_present().then_some(function))
    }
}

pub(crate) mod offset {
    pub const ID: usize = 0x00;
    pub const COMMAND: usize = 0x04;
    pub const STATUS: usize = 0x06;
    pub const CLASS: usize = 0x08;
    pub const HEADER_TYPE: usize = 0x0e;
    pub const BAR0: usize = 0x10;
    pub const BUS_NUMBERS: usize = 0x18;
    pub const MEMORY_WINDOW: usize = 0x20;
    pub const PREFETCH_WINDOW: usize = 0x24;
    pub const PREFETCH_BASE_HIGH: usize = 0x28;
    pub const PREFETCH_LIMIT_HIGH: usize = 0x2c;
    pub const SUBSYSTEM: usize = 0x2c;
    pub const CAPABILITIES: usize = 0x34;
    pub const INTERRUPT: usize = 0x3c;
}

bitflags! {
    /// The command register's bits that the bus sets.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Command: u16 {
        /// Answers in I/O space.
        const IO = 1 << 0;
        /// Answers in memory space.
        const MEMORY = 1 << 1;
        /// May start transfers of its own: DMA, and messages.
        const BUS_MASTER = 1 << 2;
        /// Never asserts its interrupt line.
        const INTERRUPT_DISABLE = 1 << 10;
    }
}

/// One function's configuration space, with its name for messages.
#[derive(Debug)]
pub struct Function<R> {
    /// Where the function sits.
    pub location: Location,
    /// Its registers.
    pub registers: R,
}

impl<R: Registers> Function<R> {
    /// Whether anything answers: no vendor has the number 0xffff.
    pub fn is_present(&mut self) -> bool {
        self.registers.read16(offset::ID) != u16::MAX
    }

    /// [`Error::Gone`] unless the function answers.
    pub(crate) fn check_present(&mut self) -> Result<(), Error> {
        if self.is_present() { Ok(()) } else { Err(Error::Gone(self.location)) }
    }

    /// The command register as it reads now.
    pub fn command(&mut self) -> Result<Command, Error> {
        // A command of all ones cannot be told from an absent function, but nothing sets its reserved bits.
        match self.registers.read16(offset::COMMAND) {
            u16::MAX => Err(Error::Gone(self.location)),
            raw => Ok(Command::from_bits_retain(raw)),
        }
    }

    /// Sets and clears bits of the command register and reads it back. The read also pushes every earlier write of
    /// the CPU to the device, and every earlier write of the device to memory.
    pub fn change_command(&mut self, set: Command, clear: Command) -> Result<(), Error> {
        let wanted = (self.command()? - clear) | set;
        self.registers.write16(offset::COMMAND, wanted.bits());
        let read = self.command()?;
        if read & (set | clear) != wanted & (set | clear) {
            let (wanted, read) = (wanted.bits(), read.bits());
            return Err(Error::CommandNotTaken { location: self.location, wanted, read });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeDevice, FakeSpace, LOCATION};

    #[test]
    fn nothing_answers_where_no_function_is() {
        let mut space = FakeSpace::default();
        assert!(space.function(LOCATION).unwrap().is_none());
    }

    #[test]
    fn bus_master_goes_on_and_off_and_leaves_the_rest_alone() {
        let mut space = FakeSpace::default().with(LOCATION, FakeDevice::new(0x1234, 0x11e8));
        let mut function = space.function(LOCATION).unwrap().unwrap();
        function.change_command(Command::MEMORY | Command::INTERRUPT_DISABLE, Command::empty()).unwrap();
        function.change_command(Command::BUS_MASTER, Command::empty()).unwrap();
        assert!(function.command().unwrap().contains(Command::BUS_MASTER | Command::MEMORY));
        function.change_command(Command::empty(), Command::BUS_MASTER).unwrap();
        assert_eq!(function.command().unwrap(), Command::MEMORY | Command::INTERRUPT_DISABLE);
    }

    #[test]
    fn a_command_register_that_does_not_take_is_reported() {
        let device = FakeDevice::new(0x1234, 0x11e8).with_command_mask(Command::MEMORY);
        let mut space = FakeSpace::default().with(LOCATION, device);
        let mut function = space.function(LOCATION).unwrap().unwrap();
        let error = function.change_command(Command::BUS_MASTER, Command::empty()).unwrap_err();
        assert_eq!(error, Error::CommandNotTaken { location: LOCATION, wanted: 4, read: 0 });
    }

    #[test]
    fn a_function_that_went_away_is_gone_and_not_misread() {
        let mut space = FakeSpace::default().with(LOCATION, FakeDevice::new(0x1234, 0x11e8));
        space.unplug(LOCATION);
        assert!(space.function(LOCATION).unwrap().is_none());
        let registers = space.registers(LOCATION).unwrap();
        let mut function = Function { location: LOCATION, registers };
        assert_eq!(function.change_command(Command::MEMORY, Command::empty()), Err(Error::Gone(LOCATION)));
    }
}
