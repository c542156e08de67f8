//! Where ISA interrupts arrive among the I/O APICs' lines: one to one, rising edge, unless the MADT says otherwise.

use crate::resource::{Interrupt, Number};
use io::{Line, Polarity, Trigger};

/// An ISA interrupt that is wired otherwise: a MADT interrupt source override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IsaOverride {
    /// The ISA interrupt.
    pub isa: u8,
    /// Where and how it arrives.
    pub line: Line,
}

impl IsaOverride {
    /// The override of `isa` to line `gsi` with the MPS INTI `flags` of the MADT.
    pub fn new(isa: u8, gsi: u32, flags: u16) -> Self {
        // "As the bus has it" is rising edge for ISA.
        let polarity = if is_active_low(flags) { Polarity::ActiveLow } else { Polarity::ActiveHigh };
        let trigger = if flags >> 2 & 0b11 == 0b11 { Trigger::Level } else { Trigger::Edge };
        IsaOverride { isa, line: Line { gsi, trigger, polarity } }
    }
}

/// The polarity of MPS INTI flags; "as the bus has it" is active high for ISA.
pub fn is_active_low(flags: u16) -> bool {
    flags & 0b11 == 0b11
}

/// The line of an interrupt that a descriptor names. What the MADT says about an ISA interrupt wins.
pub fn line(interrupt: Interrupt, overrides: &[IsaOverride]) -> Line {
    let Interrupt { number, trigger, polarity } = interrupt;
    match number {
        Number::Gsi(gsi) => Line { gsi, trigger, polarity },
        Number::Isa(isa) => overridden(isa, overrides).unwrap_or(Line { gsi: isa.into(), trigger, polarity }),
    }
}

/// Line `gsi`, which a PCI pin is wired to: level and active low, unless the MADT says how that line signals.
pub fn hard_wired(gsi: u32, overrides: &[IsaOverride]) -> Line {
    let plain = Line { gsi, trigger: Trigger::Level, polarity: Polarity::ActiveLow };
    overrides.iter().map(|o| o.line).find(|line| line.gsi == gsi).unwrap_or(plain)
}

/// The line of the SCI, which the FADT gives as an ISA interrupt: level and active low, unless the MADT says otherwise.
pub fn sci(number: u16, overrides: &[IsaOverride]) -> Line {
    let plain = Line { gsi: number.into(), trigger: Trigger::Level, polarity: Polarity::ActiveLow };
    u8::try_from(number).ok().and_then(|isa| overridden(isa, overrides)).unwrap_or(plain)
}

fn overridden(isa: u8, overrides: &[IsaOverride]) -> Option<Line> {
    overrides.iter().find(|o| o.isa == isa).map(|o| o.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What QEMU's q35 has: the timer on line 2; 5, 9, 10, 11 level and active high.
    fn q35() -> [IsaOverride; 5] {
        [(0, 2, 0), (5, 5, 0xd), (9, 9, 0xd), (10, 10, 0xd), (11, 11, 0xd)]
            .map(|(isa, gsi, f)| IsaOverride::new(isa, gsi, f))
    }

    fn of_isa(isa: u8) -> Interrupt {
        Interrupt { number: Number::Isa(isa), trigger: Trigger::Edge, polarity: Polarity::ActiveHigh }
    }

    #[test]
    fn flags_say_level_and_low_and_else_it_is_a_rising_edge() {
        let of = |flags| {
            let line = IsaOverride::new(9, 9, flags).line;
            (line.trigger, line.polarity)
        };
        assert_eq!(of(0), (Trigger::Edge, Polarity::ActiveHigh));
        assert_eq!(of(0x5), (Trigger::Edge, Polarity::ActiveHigh));
        assert_eq!(of(0xd), (Trigger::Level, Polarity::ActiveHigh));
        assert_eq!(of(0xf), (Trigger::Level, Polarity::ActiveLow));
        assert_eq!(of(0x7), (Trigger::Edge, Polarity::ActiveLow));
    }

    #[test]
    fn isa_interrupts_arrive_one_to_one_unless_overridden() {
        let rising = |gsi| Line { gsi, trigger: Trigger::Edge, polarity: Polarity::ActiveHigh };
        for plain in [1, 4, 12] {
            assert_eq!(line(of_isa(plain), &q35()), rising(plain.into()));
        }
        assert_eq!(line(of_isa(0), &q35()), rising(2));
        assert_eq!(line(of_isa(10), &q35()), Line { gsi: 10, trigger: Trigger::Level, polarity: Polarity::ActiveHigh });
    }

    #[test]
    fn a_global_interrupt_is_never_overridden() {
        let gsi = Interrupt { number: Number::Gsi(9), trigger: Trigger::Edge, polarity: Polarity::ActiveLow };
        assert_eq!(line(gsi, &q35()), Line { gsi: 9, trigger: Trigger::Edge, polarity: Polarity::ActiveLow });
    }

    #[test]
    fn a_pin_without_a_link_is_level_and_low_as_pci_has_it() {
        assert_eq!(hard_wired(16, &q35()), Line { gsi: 16, trigger: Trigger::Level, polarity: Polarity::ActiveLow });
        assert_eq!(hard_wired(11, &q35()).polarity, Polarity::ActiveHigh);
    }

    #[test]
    fn the_sci_is_level_and_low_unless_overridden() {
        assert_eq!(sci(9, &q35()), Line { gsi: 9, trigger: Trigger::Level, polarity: Polarity::ActiveHigh });
        assert_eq!(sci(9, &[]), Line { gsi: 9, trigger: Trigger::Level, polarity: Polarity::ActiveLow });
        assert_eq!(sci(300, &[]).gsi, 300);
    }
}
