//! Interrupt lines: the pins of functions, and the trait behind which ACPI says where a pin leads.

use crate::Location;
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

/// Where the pins of PCI functions lead: what ACPI's `_PRT` and `_CRS` know.
pub trait LineRouting: Send + Sync {
    /// The line of `pin` of the function at `location`; `None` where firmware names none. PASSIVE: this may run AML.
    fn route(&self, at: &mut At<'_, Passive>, location: Location, pin: Pin) -> Option<Line>;
}
