//! The power button's two bits among ACPI's fixed events.
//!
//! A status and an enable register hold a bit for each event. The interrupt is asserted while some event has both, so it
//! may be another event's, or another device's on the line.

/// Both registers: the power button.
pub const POWER_BUTTON: u16 = 0x100;
/// What registers that are not there answer.
const ALL_ONES: u16 = u16::MAX;

/// The two registers. A trait, so that the ISR can be tested without them.
pub trait Registers {
    /// The events that have happened.
    fn status(&mut self) -> u16;
    /// Forgets that the events of `bits` have happened; the others stay.
    fn clear(&mut self, bits: u16);
    /// The events that interrupt.
    fn enabled(&mut self) -> u16;
    /// Says which events interrupt.
    fn enable(&mut self, bits: u16);
}

/// Behind the interrupt's lock.
#[derive(Debug, Default)]
pub struct Button {
    presses: u64,
}

impl Button {
    /// In the ISR: counts a press and takes it back from the registers. `false`: the interrupt was not the button's. An
    /// event that happened but may not interrupt asserts nothing, so it is somebody else's interrupt that is looked at.
    pub fn serve(&mut self, registers: &mut impl Registers) -> bool {
        let status = registers.status();
        if status == ALL_ONES || status & registers.enabled() & POWER_BUTTON == 0 {
            return false;
        }
        registers.clear(POWER_BUTTON);
        self.presses += 1;
        true
    }

    /// From here on the button interrupts; what it did before does not count.
    pub fn switch_on(&mut self, registers: &mut impl Registers) {
        registers.clear(POWER_BUTTON);
        let enabled = registers.enabled();
        registers.enable(enabled | POWER_BUTTON);
    }

    /// From here on it does not.
    pub fn switch_off(&mut self, registers: &mut impl Registers) {
        let enabled = registers.enabled();
        registers.enable(enabled & !POWER_BUTTON);
    }

    /// How often it was pressed.
    pub fn presses(&self) -> u64 {
        self.presses
    }
}
