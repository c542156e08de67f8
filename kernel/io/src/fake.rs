//! A configuration space made of arrays, for tests: bits that cannot be written stay as they are.

use crate::{
    Error, Location,
    config::{Command, ConfigSpace, Registers, offset},
};
use std::collections::BTreeMap;

/// Where tests put their one device.
pub const LOCATION: Location = Location::new(0, 0, 4, 0);

#[derive(Default)]
pub struct FakeSpace {
    devices: BTreeMap<Location, FakeDevice>,
    absent: FakeDevice,
}

impl FakeSpace {
    pub fn with(mut self, location: Location, device: FakeDevice) -> Self {
        self.devices.insert(location, device);
        self
    }

    pub fn device(&self, location: Location) -> &FakeDevice {
        &self.devices[&location]
    }

    pub fn unplug(&mut self, location: Location) {
        self.devices.remove(&location);
    }
}

impl ConfigSpace for FakeSpace {
    type Registers<'a> = &'a mut FakeDevice;

    fn registers(&mut self, location: Location) -> Result<&mut FakeDevice, Error> {
        Ok(self.devices.get_mut(&location).unwrap_or(&mut self.absent))
    }
}

/// A page of registers; the default one is what answers where nothing is.
#[derive(Default, Clone)]
pub struct FakeDevice {
    words: Vec<u32>,
    writable: Vec<u32>,
    decoded_while_sized: bool,
    pub writes: Vec<(usize, u32)>,
}

impl FakeDevice {
    pub fn new(vendor: u16, device: u16) -> Self {
        let mut fake = FakeDevice { words: vec![0; 1024], writable: vec![0; 1024], ..Default::default() };
        fake.words[offset::ID / 4] = u32::from(device) << 16 | u32::from(vendor);
        fake.writable[offset::COMMAND / 4] = 0x0407;
        fake
    }

    /// A table of `words` writable words.
    pub fn table(words: usize) -> Self {
        FakeDevice { words: vec![0; words], writable: vec![u32::MAX; words], ..Default::default() }
    }

    pub fn with_word(mut self, offset: usize, value: u32, writable: u32) -> Self {
        self.words[offset / 4] = value;
        self.writable[offset / 4] = writable;
        self
    }

    pub fn with_class(self, class: u32) -> Self {
        self.with_word(offset::CLASS, class << 8, 0)
    }

    pub fn multi_function(self) -> Self {
        let word = self.word(0x0c);
        self.with_word(0x0c, word | 0x80_0000, 0)
    }

    /// A bridge from `primary` to `secondary`, with one 32-bit window.
    pub fn bridge(primary: u8, secondary: u8, subordinate: u8, window: core::ops::Range<u32>) -> Self {
        let numbers = u32::from_le_bytes([primary, secondary, subordinate, 0]);
        let window = (window.end - 1) & 0xfff0_0000 | window.start >> 16;
        FakeDevice::new(0x1b36, 0x000c)
            .with_class(0x06_04_00)
            .with_word(0x0c, 0x01_0000, 0)
            .with_word(offset::BUS_NUMBERS, numbers, 0)
            .with_word(offset::MEMORY_WINDOW, window, 0)
            .with_word(offset::PREFETCH_WINDOW, 0x0000_fff0, 0)
    }

    pub fn with_command(mut self, command: Command) -> Self {
        self.words[offset::COMMAND / 4] |= u32::from(command.bits());
        self
    }

    pub fn with_command_mask(mut self, mask: Command) -> Self {
        self.writable[offset::COMMAND / 4] = u32::from(mask.bits());
        self
    }

    pub fn with_bar(self, index: usize, base: u64, len: u64, flags: u32) -> Self {
        let flag_mask = if flags & 1 != 0 { 0b11 } else { 0b1111 };
        let low = self.with_raw_bar(index, base as u32 & !flag_mask | flags, !(len - 1) as u32 & !flag_mask);
        if flags & 0b111 != 0b100 {
            return low;
        }
        low.with_raw_bar(index + 1, (base >> 32) as u32, (!(len - 1) >> 32) as u32)
    }

    pub fn with_raw_bar(self, index: usize, value: u32, writable: u32) -> Self {
        self.with_word(offset::BAR0 + 4 * index, value, writable)
    }

    /// Puts a capability at `at` in front of the list; `first` is its word 0 but for the link.
    pub fn with_capability(mut self, at: usize, id: u8, control: u16) -> Self {
        let next = self.word(offset::CAPABILITIES) & 0xff;
        self.words[offset::COMMAND / 4] |= 0x0010_0000;
        self.words[offset::CAPABILITIES / 4] = at as u32;
        self.with_word(at, u32::from(control) << 16 | next << 8 | u32::from(id), 0xc000_0000 | 0x71_0000)
    }

    pub fn word(&self, offset: usize) -> u32 {
        self.words.get(offset / 4).copied().unwrap_or(u32::MAX)
    }

    pub fn command(&self) -> Command {
        Command::from_bits_retain(self.word(offset::COMMAND) as u16)
    }

    /// Whether a BAR was changed while the function decoded memory.
    pub fn decoded_while_sized(&self) -> bool {
        self.decoded_while_sized
    }
}

impl Registers for &mut FakeDevice {
    fn read16(&mut self, offset: usize) -> u16 {
        (self.word(offset) >> (8 * (offset & 2))) as u16
    }

    fn read32(&mut self, offset: usize) -> u32 {
        self.word(offset)
    }

    fn write16(&mut self, offset: usize, value: u16) {
        let shift = 8 * (offset & 2);
        let kept = self.word(offset) & !(0xffff << shift);
        self.write32(offset & !3, kept | u32::from(value) << shift);
    }

    fn write32(&mut self, offset: usize, value: u32) {
        let decoding = self.command().intersects(Command::MEMORY | Command::IO);
        let bars = offset::BAR0..offset::BAR0 + 24;
        self.decoded_while_sized |= bars.contains(&offset) && decoding;
        self.writes.push((offset, value));
        if let Some(word) = self.words.get_mut(offset / 4) {
            let writable = self.writable[offset / 4];
            *word = *word & !writable | value & writable;
        }
    }
}
