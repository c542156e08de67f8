//! Resource descriptors: what `_CRS` says that a device uses, `_PRS` that it could, and what `_SRS` is told.
//!
//! Decoded here from the bytes, because the `acpi` crate gives the bit mask of a small interrupt descriptor as if it were
//! a number. Descriptors that describe no interrupts, ports or memory of a device (bus windows, DMA channels) are skipped.

use alloc::vec::Vec;
use core::{fmt, ops::Range};
use io::{Polarity, Trigger};

/// An interrupt as a descriptor names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupt {
    /// What the number counts.
    pub number: Number,
    /// Level or edge.
    pub trigger: Trigger,
    /// Active high or low.
    pub polarity: Polarity,
}

/// What an interrupt's number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// ISA interrupts, which the MADT may wire elsewhere.
    Isa(u8),
    /// Lines of the I/O APICs (global system interrupts).
    Gsi(u32),
}

/// What a list of descriptors names, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    /// Interrupts; of one descriptor with several, each.
    pub interrupts: Vec<Interrupt>,
    /// The first port and the number of ports of each range.
    pub ports: Vec<(u16, u16)>,
    /// Memory.
    pub memory: Vec<Range<u64>>,
}

/// The descriptor at `offset` is cut off, or the list has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadDescriptor {
    /// Where it begins.
    pub offset: usize,
}

impl fmt::Display for BadDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the resource descriptor at offset {} is cut off", self.offset)
    }
}

impl core::error::Error for BadDescriptor {}

mod tag {
    // Small: the type in bits 6-3; the length in bits 2-0.
    pub const IRQ: u8 = 0x04;
    pub const PORTS: u8 = 0x08;
    pub const FIXED_PORTS: u8 = 0x09;
    pub const END: u8 = 0x0f;
    // Large: the whole byte; a 16-bit length follows.
    pub const MEMORY32: u8 = 0x85;
    pub const FIXED_MEMORY32: u8 = 0x86;
    pub const EXTENDED_INTERRUPT: u8 = 0x89;
    pub const IRQ_WITH_FLAGS: u8 = 0x23;
    pub const END_WITH_CHECKSUM: u8 = 0x79;
}

/// Decodes a list of descriptors.
pub fn decode(bytes: &[u8]) -> Result<Resources, BadDescriptor> {
    let mut found = Resources::default();
    let mut offset = 0;
    loop {
        let (kind, body) = descriptor(bytes, offset).ok_or(BadDescriptor { offset })?;
        if kind == tag::END {
            return Ok(found);
        }
        add(&mut found, kind, body).ok_or(BadDescriptor { offset })?;
        offset += header_len(bytes[offset]) + body.len();
    }
}

const fn header_len(first: u8) -> usize {
    if first & 0x80 == 0 { 1 } else { 3 }
}

/// The kind and the body of the descriptor at `offset`.
fn descriptor(bytes: &[u8], offset: usize) -> Option<(u8, &[u8])> {
    let rest = bytes.get(offset..)?;
    let first = *rest.first()?;
    let (kind, len) = if first & 0x80 == 0 {
        (first >> 3, usize::from(first & 7))
    } else {
        (first, usize::from(word(rest.get(1..)?)?))
    };
    let header = header_len(first);
    Some((kind, rest.get(header..header + len)?))
}

fn add(found: &mut Resources, kind: u8, body: &[u8]) -> Option<()> {
    match kind {
        tag::IRQ => {
            let mask = word(body)?;
            // Without flags: as on the ISA bus.
            let flags = body.get(2).copied().unwrap_or(1);
            let trigger = if flags & 1 != 0 { Trigger::Edge } else { Trigger::Level };
            let polarity = polarity(flags & 1 << 3 != 0);
            let numbers = (0..16).filter(|n| mask & 1 << n != 0);
            found.interrupts.extend(numbers.map(|n| Interrupt { number: Number::Isa(n), trigger, polarity }));
        }
        tag::EXTENDED_INTERRUPT => {
            let (&flags, &count) = (body.first()?, body.get(1)?);
            let trigger = if flags & 1 << 1 != 0 { Trigger::Edge } else { Trigger::Level };
            let polarity = polarity(flags & 1 << 2 != 0);
            let numbers = body.get(2..2 + 4 * usize::from(count))?.as_chunks().0;
            found.interrupts.extend(numbers.iter().map(|&bytes| Interrupt {
                number: Number::Gsi(u32::from_le_bytes(bytes)),
                trigger,
                polarity,
            }));
        }
        tag::PORTS => add_ports(found, word(body.get(1..)?)?, *body.get(6)?),
        // Ten bits are decoded.
        tag::FIXED_PORTS => add_ports(found, word(body)? & 0x3ff, *body.get(2)?),
        tag::FIXED_MEMORY32 => add_memory(found, double_word(body.get(1..)?)?, double_word(body.get(5..)?)?),
        tag::MEMORY32 => add_memory(found, double_word(body.get(1..)?)?, double_word(body.get(13..)?)?),
        _ => {}
    }
    Some(())
}

fn polarity(low: bool) -> Polarity {
    if low { Polarity::ActiveLow } else { Polarity::ActiveHigh }
}

fn add_ports(found: &mut Resources, first: u16, len: u8) {
    if len != 0 {
        found.ports.push((first, len.into()));
    }
}

fn add_memory(found: &mut Resources, base: u32, len: u32) {
    if len != 0 {
        found.memory.push(u64::from(base)..u64::from(base) + u64::from(len));
    }
}

fn word(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().copied().map(u16::from_le_bytes)
}

fn double_word(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_le_bytes)
}

/// The list with `interrupt` alone, as a link device's `_SRS` wants it.
pub fn encode(interrupt: Interrupt) -> Vec<u8> {
    let edge = interrupt.trigger == Trigger::Edge;
    let low = interrupt.polarity == Polarity::ActiveLow;
    // Shareable: what links carry are PCI pins.
    let mut bytes = match interrupt.number {
        Number::Isa(n) => {
            let [first, second] = (1u16 << n).to_le_bytes();
            [tag::IRQ_WITH_FLAGS, first, second, u8::from(edge) | u8::from(low) << 3 | 1 << 4].to_vec()
        }
        Number::Gsi(n) => {
            let mut bytes = [tag::EXTENDED_INTERRUPT, 6, 0].to_vec();
            // The device consumes it.
            bytes.extend([1 | u8::from(edge) << 1 | u8::from(low) << 2 | 1 << 3, 1]);
            bytes.extend(n.to_le_bytes());
            bytes
        }
    };
    // A checksum of 0 is none.
    bytes.extend([tag::END_WITH_CHECKSUM, 0]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn isa(n: u8) -> Interrupt {
        Interrupt { number: Number::Isa(n), trigger: Trigger::Edge, polarity: Polarity::ActiveHigh }
    }

    #[test]
    fn com1_of_q35_has_eight_ports_and_isa_interrupt_4() {
        let bytes = [0x47, 1, 0xf8, 3, 0xf8, 3, 0, 8, 0x22, 0x10, 0, 0x79, 0];
        let found = decode(&bytes).unwrap();
        assert_eq!(found.ports, [(0x3f8, 8)]);
        assert_eq!(found.interrupts, [isa(4)]);
    }

    #[test]
    fn the_keyboard_of_q35_has_two_single_ports_and_isa_interrupt_1() {
        let bytes = [0x47, 1, 0x60, 0, 0x60, 0, 1, 1, 0x47, 1, 0x64, 0, 0x64, 0, 1, 1, 0x22, 0x02, 0, 0x79, 0];
        let found = decode(&bytes).unwrap();
        assert_eq!(found.ports, [(0x60, 1), (0x64, 1)]);
        assert_eq!(found.interrupts, [isa(1)]);
    }

    #[test]
    fn the_gsi_links_of_q35_are_level_and_active_high() {
        let bytes = [0x89, 6, 0, 0x09, 1, 20, 0, 0, 0, 0x79, 0];
        let line = Interrupt { number: Number::Gsi(20), trigger: Trigger::Level, polarity: Polarity::ActiveHigh };
        assert_eq!(decode(&bytes).unwrap().interrupts, [line]);
    }

    #[test]
    fn flags_of_small_and_extended_descriptors_mean_what_they_say() {
        let small = decode(&[0x23, 0x00, 0x02, 0x18, 0x79, 0]).unwrap();
        let level_low = |number| Interrupt { number, trigger: Trigger::Level, polarity: Polarity::ActiveLow };
        assert_eq!(small.interrupts, [level_low(Number::Isa(9))]);
        let extended = decode(&[0x89, 6, 0, 0x0d, 1, 9, 0, 0, 0, 0x79, 0]).unwrap();
        assert_eq!(extended.interrupts, [level_low(Number::Gsi(9))]);
        let edge = decode(&[0x89, 6, 0, 0x03, 1, 3, 0, 0, 0, 0x79, 0]).unwrap();
        assert_eq!((edge.interrupts[0].trigger, edge.interrupts[0].polarity), (Trigger::Edge, Polarity::ActiveHigh));
    }

    #[test]
    fn all_choices_of_a_link_are_named() {
        let mut bytes = vec![0x89, 14, 0, 0x09, 3];
        bytes.extend([5u32, 10, 11].iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend([0x79, 0]);
        let numbers: Vec<Number> = decode(&bytes).unwrap().interrupts.iter().map(|i| i.number).collect();
        assert_eq!(numbers, [Number::Gsi(5), Number::Gsi(10), Number::Gsi(11)]);
        let small = decode(&[0x22, 0x20, 0x0c, 0x79, 0]).unwrap().interrupts;
        assert_eq!(small, [isa(5), isa(10), isa(11)]);
    }

    #[test]
    fn memory_and_fixed_ports_are_ranges() {
        // The HPET's memory, the two ports of a fixed descriptor, and a 32-bit range.
        let mut bytes = vec![0x86, 9, 0, 0, 0, 0, 0xd0, 0xfe, 0, 4, 0, 0];
        bytes.extend([0x4b, 0x70, 0, 2]);
        bytes.extend([0x85, 17, 0, 1, 0, 0, 0, 0xe0, 0, 0, 0, 0xe0, 0, 0, 0, 0, 0, 0x10, 0, 0]);
        bytes.extend([0x79, 0]);
        let found = decode(&bytes).unwrap();
        assert_eq!(found.memory, [0xfed0_0000..0xfed0_0400, 0xe000_0000..0xe000_1000]);
        assert_eq!(found.ports, [(0x70, 2)]);
    }

    #[test]
    fn what_is_of_no_interest_is_skipped() {
        // A DMA channel, a dependent function's start and end, a word address space.
        let mut bytes = vec![0x2a, 0x04, 0, 0x31, 0, 0x38, 0x88, 3, 0, 2, 0xc, 0];
        bytes.extend([0x22, 0x10, 0, 0x79, 0]);
        assert_eq!(decode(&bytes).unwrap(), Resources { interrupts: vec![isa(4)], ..Resources::default() });
    }

    #[test]
    fn a_list_that_is_cut_off_is_no_list() {
        assert_eq!(decode(&[]), Err(BadDescriptor { offset: 0 }));
        assert_eq!(decode(&[0x22, 0x10, 0]), Err(BadDescriptor { offset: 3 }));
        assert_eq!(decode(&[0x22, 0x10, 0, 0x89, 6, 0, 0x09, 1, 20]), Err(BadDescriptor { offset: 3 }));
        // Two interrupts announced, one there.
        assert_eq!(decode(&[0x89, 6, 0, 0x09, 2, 20, 0, 0, 0, 0x79, 0]), Err(BadDescriptor { offset: 0 }));
        assert_eq!(decode(&[0x22, 0x10]), Err(BadDescriptor { offset: 0 }));
    }

    #[test]
    fn what_a_link_is_told_is_what_it_would_say() {
        let interrupts = [
            Interrupt { number: Number::Gsi(11), trigger: Trigger::Level, polarity: Polarity::ActiveLow },
            Interrupt { number: Number::Gsi(300), trigger: Trigger::Edge, polarity: Polarity::ActiveHigh },
            Interrupt { number: Number::Isa(10), trigger: Trigger::Level, polarity: Polarity::ActiveLow },
            isa(15),
        ];
        for interrupt in interrupts {
            assert_eq!(decode(&encode(interrupt)).unwrap().interrupts, [interrupt]);
        }
    }
}
