//! ACPI's general purpose events: a status and an enable bit for each, and a method of firmware for those that mean something
//! on this machine.
//!
//! **Invariant:** only events with a method interrupt, and one whose method fails does so no more: nobody could take it back.

use alloc::vec::Vec;
use framework::acpi::GpeMethod;

/// The events' registers and methods. A trait, so that the ISR can be tested without them.
pub trait Firmware {
    /// Whether the event has happened.
    fn status(&mut self, event: u8) -> bool;
    /// Forgets that it has happened.
    fn clear(&mut self, event: u8);
    /// Whether it interrupts.
    fn enabled(&mut self, event: u8) -> bool;
    /// Says whether it interrupts.
    fn enable(&mut self, event: u8, on: bool);
    /// Runs the method at `path`. `false`: it failed.
    fn run(&mut self, path: &str) -> bool;
}

/// Behind the interrupt's lock.
#[derive(Debug, Default)]
pub struct General {
    methods: Vec<GpeMethod>,
    counters: Counters,
}

/// What has come of the events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events whose method was run.
    pub served: u64,
    /// Those whose method failed.
    pub failed: u64,
}

impl General {
    /// The events of these methods.
    pub fn new(methods: Vec<GpeMethod>) -> Self {
        General { methods, counters: Counters::default() }
    }

    /// In the ISR: serves every event that interrupts. `false`: none did.
    pub fn serve(&mut self, firmware: &mut impl Firmware) -> bool {
        let before = self.counters.served;
        for GpeMethod { event, edge, path } in &self.methods {
            if !(firmware.status(*event) && firmware.enabled(*event)) {
                continue;
            }
            // An edge that comes while the method runs counts; what asserts a level is gone only after the method.
            if *edge {
                firmware.clear(*event);
            }
            let ran = firmware.run(path);
            if !*edge {
                firmware.clear(*event);
            }
            self.counters.served += 1;
            if !ran {
                firmware.enable(*event, false);
                self.counters.failed += 1;
            }
        }
        self.counters.served != before
    }

    /// From here on the events interrupt. What happened before is served now.
    pub fn switch_on(&self, firmware: &mut impl Firmware) {
        self.methods.iter().for_each(|method| firmware.enable(method.event, true));
    }

    /// From here on they do not.
    pub fn switch_off(&self, firmware: &mut impl Firmware) {
        self.methods.iter().for_each(|method| firmware.enable(method.event, false));
    }

    /// What has come of the events.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

/// Where an event's bits are in a block of `ports` ports, whose first event is `first`: the ports of status and enable, and
/// the bit in them. `None`: in another block.
pub fn place(first: u8, ports: u16, event: u8) -> Option<(u16, u16, u8)> {
    let half = ports / 2;
    let number = u16::from(event.checked_sub(first)?);
    (number / 8 < half).then_some((number / 8, half + number / 8, 1 << (number % 8)))
}
