//! Base address registers: what memory a function decodes, and where.
//!
//! A BAR's size is what stays zero after all ones are written to it. Until the old value is back the function would
//! answer at the top of the address space.
//!
//! **Invariant:** while a BAR holds anything but an address of its own, the function's decoding is off.

use crate::{
    Error,
    config::{Command, Function, Registers, offset},
};
use alloc::vec::Vec;
use core::ops::Range;

/// Which address space and width a BAR has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere; takes two registers.
    Memory64,
}

/// One base address register that a function implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// The (first) register's number, 0 to 5.
    pub index: u8,
    /// Address space and width.
    pub kind: BarKind,
    /// Reads have no side effects.
    pub prefetchable: bool,
    /// Where it is; `None` when nobody has placed it.
    pub base: Option<u64>,
    /// Bytes, a power of two; the base is a multiple of it.
    pub len: u64,
}

impl Bar {
    /// The addresses it decodes.
    pub fn range(&self) -> Option<Range<u64>> {
        self.base.map(|base| base..base + self.len)
    }

    fn register(&self) -> usize {
        offset::BAR0 + 4 * usize::from(self.index)
    }

    /// Where the registers say that it is, now.
    pub(crate) fn read_back<R: Registers>(&self, function: &mut Function<R>) -> Result<u64, Error> {
        let low = function.registers.read32(self.register());
        let high = if self.kind == BarKind::Memory64 { function.registers.read32(self.register() + 4) } else { 0 };
        function.check_present()?;
        Ok(u64::from(high) << 32 | u64::from(low & !flag_bits(self.kind)))
    }

    /// Writes `base` with decoding off, and reads it back.
    pub(crate) fn place<R: Registers>(&mut self, function: &mut Function<R>, base: u64) -> Result<(), Error> {
        let register = self.register();
        let read = with_decoding_off(function, |function| {
            function.registers.write32(register, base as u32);
            let low = u64::from(function.registers.read32(register) & !flag_bits(self.kind));
            if self.kind != BarKind::Memory64 {
                return Ok(low);
            }
            function.registers.write32(register + 4, (base >> 32) as u32);
            Ok(u64::from(function.registers.read32(register + 4)) << 32 | low)
        })?;
        if read != base {
            return Err(Error::BarNotTaken { location: function.location, bar: self.index, wanted: base, read });
        }
        self.base = Some(base);
        Ok(())
    }
}

/// Sizes the first `count` BARs of `function` (6 for a device, 2 for a bridge).
pub(crate) fn size_all<R: Registers>(function: &mut Function<R>, count: u8) -> Result<Vec<Bar>, Error> {
    with_decoding_off(function, |function| {
        let mut bars = Vec::new();
        let mut index = 0;
        while index < count {
            let bar = size(function, index, count)?;
            index += if bar.is_some_and(|bar| bar.kind == BarKind::Memory64) { 2 } else { 1 };
            bars.extend(bar);
        }
        Ok(bars)
    })
}

fn size<R: Registers>(function: &mut Function<R>, index: u8, count: u8) -> Result<Option<Bar>, Error> {
    let register = offset::BAR0 + 4 * usize::from(index);
    let (raw, mask) = probe(function, register);
    if raw == u32::MAX {
        return Err(Error::Gone(function.location));
    }
    if mask == 0 {
        return Ok(None);
    }
    let bad = Error::BadBar { location: function.location, bar: index, raw };
    let kind = match raw & 0b111 {
        _ if raw & 1 != 0 => BarKind::Io,
        0b000 => BarKind::Memory32,
        0b100 if index + 1 < count => BarKind::Memory64,
        _ => return Err(bad),
    };
    let flags = flag_bits(kind);
    let (base, sizes) = match kind {
        // The upper half of an I/O BAR may be hard-wired to zero.
        BarKind::Io => (u64::from(raw & !flags), u64::from(mask & !flags) | !0xffff),
        BarKind::Memory32 => (u64::from(raw & !flags), u64::from(mask & !flags) | !0xffff_ffff),
        BarKind::Memory64 => {
            let (high, high_mask) = probe(function, register + 4);
            let join = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low & !flags);
            (join(raw, high), join(mask, high_mask))
        }
    };
    let len = (!sizes).wrapping_add(1);
    if !len.is_power_of_two() {
        return Err(bad);
    }
    let prefetchable = kind != BarKind::Io && raw & 0b1000 != 0;
    Ok(Some(Bar { index, kind, prefetchable, base: (base != 0).then_some(base), len }))
}

/// The value of a register and what of it can be written; the value is put back.
fn probe<R: Registers>(function: &mut Function<R>, register: usize) -> (u32, u32) {
    let value = function.registers.read32(register);
    function.registers.write32(register, u32::MAX);
    let mask = function.registers.read32(register);
    function.registers.write32(register, value);
    (value, mask)
}

/// The low bits of a BAR that say what it is.
fn flag_bits(kind: BarKind) -> u32 {
    if kind == BarKind::Io { 0b11 } else { 0b1111 }
}

/// Runs `f` while `function` decodes neither memory nor ports.
fn with_decoding_off<R: Registers, T>(
    function: &mut Function<R>,
    f: impl FnOnce(&mut Function<R>) -> Result<T, Error>,
) -> Result<T, Error> {
    let decoding = Command::MEMORY | Command::IO;
    let before = function.command()? & decoding;
    function.change_command(Command::empty(), decoding)?;
    let result = f(function);
    function.change_command(before, Command::empty())?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::ConfigSpace,
        fake::{FakeDevice, FakeSpace, LOCATION},
    };

    fn sized(device: FakeDevice) -> (Result<Vec<Bar>, Error>, FakeSpace) {
        let mut space = FakeSpace::default().with(LOCATION, device);
        let bars = size_all(&mut space.function(LOCATION).unwrap().unwrap(), 6);
        (bars, space)
    }

    #[test]
    fn sizes_32_and_64_bit_and_io_bars_and_puts_them_back() {
        let device = FakeDevice::new(0x1234, 0x11e8)
            .with_bar(0, 0xfe00_0000, 0x10_0000, 0)
            .with_bar(1, 0xc041, 0x20, 1)
            .with_bar(2, 0x8_0000_0000, 0x2_0000_0000, 0b1100)
            .with_bar(4, 0, 0x1000, 0b1000);
        let (bars, space) = sized(device);
        let bars = bars.unwrap();
        let bar = |index, kind, prefetchable, base, len| Bar { index, kind, prefetchable, base, len };
        assert_eq!(
            bars,
            [
                bar(0, BarKind::Memory32, false, Some(0xfe00_0000), 0x10_0000),
                bar(1, BarKind::Io, false, Some(0xc040), 0x20),
                bar(2, BarKind::Memory64, true, Some(0x8_0000_0000), 0x2_0000_0000),
                bar(4, BarKind::Memory32, true, None, 0x1000),
            ]
        );
        let device = space.device(LOCATION);
        assert_eq!(device.word(offset::BAR0), 0xfe00_0000);
        assert_eq!(device.word(offset::BAR0 + 12), 8);
    }

    #[test]
    fn decodes_nothing_while_sizing_and_again_afterwards() {
        let device = FakeDevice::new(0x1234, 0x11e8).with_bar(0, 0xfe00_0000, 0x1000, 0).with_command(Command::MEMORY);
        let (bars, space) = sized(device);
        assert_eq!(bars.unwrap().len(), 1);
        assert!(!space.device(LOCATION).decoded_while_sized());
        assert_eq!(space.device(LOCATION).command() & Command::MEMORY, Command::MEMORY);
    }

    #[test]
    fn a_64_bit_bar_in_the_last_register_is_refused() {
        let (bars, _) = sized(FakeDevice::new(0x1234, 0x11e8).with_raw_bar(5, 0b0100, !0xfff));
        assert_eq!(bars, Err(Error::BadBar { location: LOCATION, bar: 5, raw: 0b0100 }));
    }

    #[test]
    fn places_a_64_bit_bar_above_4_gib_and_reads_it_back() {
        let (bars, mut space) = sized(FakeDevice::new(0x1234, 0x11e8).with_bar(2, 0, 0x1_0000, 0b1100));
        let mut bar = bars.unwrap()[0];
        bar.place(&mut space.function(LOCATION).unwrap().unwrap(), 0x40_1234_0000).unwrap();
        assert_eq!(bar.range(), Some(0x40_1234_0000..0x40_1235_0000));
        assert_eq!(space.device(LOCATION).word(offset::BAR0 + 12), 0x40);
    }

    #[test]
    fn a_bar_that_does_not_take_the_address_is_reported() {
        let (bars, mut space) = sized(FakeDevice::new(0x1234, 0x11e8).with_bar(0, 0, 0x10_0000, 0));
        let mut bar = bars.unwrap()[0];
        let error = bar.place(&mut space.function(LOCATION).unwrap().unwrap(), 0xfe00_1000).unwrap_err();
        assert_eq!(error, Error::BarNotTaken { location: LOCATION, bar: 0, wanted: 0xfe00_1000, read: 0xfe00_0000 });
    }
}
