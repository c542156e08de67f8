//! Interrupt lines: the pins of functions, and the trait behind which ACPI says where a pin leads.

use crate::Location;
use core::fmt;
use ke::{At, Passive};

/// The interrupt pin of a PCI function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pin {
    /// INTA#.
    A,
    /// INTB#.
    B,
    /// INTC#.
    C,
    /// INTD#.
    D,
}

impl Pin {
    /// The pin that a function's interrupt pin register names; `None` for a function without one.
    pub(crate) fn from_register(value: u8) -> Option<Self> {
        match value {
            1 => Some(Pin::A),
            2 => Some(Pin::B),
            3 => Some(Pin::C),
            4 => Some(Pin::D),
            _ => None,
        }
    }

    /// The pin of the bridge's own bus on which this pin of `device` behind it arrives.
    pub fn swizzled(self, device: u8) -> Pin {
        [Pin::A, Pin::B, Pin::C, Pin::D][(self as usize + usize::from(device)) % 4]
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "INT{self:?}")
    }
}

/// What makes a line interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A level: as long as the device asserts it. Shareable.
    Level,
    /// An edge: once.
    Edge,
}

/// Which state of a line is the asserted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polarity {
    /// High.
    ActiveHigh,
    /// Low.
    ActiveLow,
}

/// An input of an interrupt controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The global system interrupt.
    pub gsi: u32,
    /// Level or edge.
    pub trigger: Trigger,
    /// Active high or low.
    pub polarity: Polarity,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trigger = match self.trigger {
            Trigger::Level => "level",
            Trigger::Edge => "edge",
        };
        let polarity = match self.polarity {
            Polarity::ActiveHigh => "active high",
            Polarity::ActiveLow => "active low",
        };
        write!(f, "GSI {}, {trigger}, {polarity}", self.gsi)
    }
}

/// Where the pins of PCI functions lead: what ACPI's `_PRT` and `_CRS` know.
pub trait LineRouting: Send + Sync {
    /// The line of `pin` of the function at `location`, which is behind `bridges`, from the root bus down; `None` where
    /// firmware names none. A bridge for whose bus firmware has no table passes its pins on, see [`Pin::swizzled`].
    /// PASSIVE: this may run AML.
    fn route(&self, at: &mut At<'_, Passive>, location: Location, bridges: &[Location], pin: Pin) -> Option<Line>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_turns_the_pins_of_its_devices() {
        assert_eq!(Pin::A.swizzled(0), Pin::A);
        assert_eq!(Pin::A.swizzled(1), Pin::B);
        assert_eq!(Pin::D.swizzled(1), Pin::A);
        assert_eq!(Pin::C.swizzled(31), Pin::B);
    }

    #[test]
    fn a_line_says_how_it_signals() {
        let line = Line { gsi: 20, trigger: Trigger::Level, polarity: Polarity::ActiveHigh };
        assert_eq!(line.to_string(), "GSI 20, level, active high");
    }
}
