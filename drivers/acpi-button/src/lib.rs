//! What a PC's ACPI hardware has to tell: that the power button was pressed, and the general purpose events that firmware has
//! methods for, as when somebody wants to pull a device out. The machine's one ACPI interrupt (SCI), a shared level line,
//! tells of all.
//!
//! ```text
//! DIRQL    (the core)          masks the line and wakes the interrupt's thread
//! PASSIVE  evt_isr             the button: takes the press back, sets the event
//!                              other events: runs their methods, which may wait, and passes on what these tell of devices
//! PASSIVE  AcpiButton::wait    goes on
//! ```
//!
//! The ISR runs at PASSIVE because AML does. So it may set an event itself, and needs neither DPC nor work item. The line
//! stays masked until it has returned: whoever shares the line and interrupts at DIRQL has been asked before.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;

pub mod events;
pub mod general;

use alloc::{sync::Arc, vec::Vec};
use core::iter;
use events::{Button, Registers};
use framework::{
    BusChanges, PortRegister,
    acpi::{AcpiMethods, FIXED_HARDWARE_ID, FixedBlock},
    prelude::*,
};
use general::{Firmware, General};

registers! {
    /// One block of fixed events, as long as every PC's.
    struct Block in ports {
        0 status: Rw<u16>,
        2 enable: Rw<u16>,
    }
}

/// The bits of one general purpose event.
struct Place {
    event: u8,
    status: PortRegister<u8>,
    enable: PortRegister<u8>,
    bit: u8,
}

/// ACPI's hardware, started.
pub struct AcpiButton {
    first: Block,
    /// Some machines spread the events over two blocks, whose bits count together.
    second: Option<Block>,
    /// The general purpose events that have methods.
    places: Vec<Place>,
    methods: Option<Arc<dyn AcpiMethods>>,
    changes: BusChanges,
    sci: Interrupt<Sci>,
    pressed: Event,
}

/// Behind the interrupt's lock.
pub struct Events {
    button: Button,
    general: General,
}

impl Device for AcpiButton {
    const NAME: &'static str = "acpi-button";
    const HIDS: &'static [&'static str] = &[FIXED_HARDWARE_ID];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        if !hw.fixed_hardware().is_some_and(|fixed| fixed.power_button) {
            return Err(Status::Failed("the power button of this machine is not among the fixed events"));
        }
        let methods = hw.acpi_methods();
        let mut known = methods.as_ref().map_or(Vec::new(), |methods| methods.gpe_methods(at));
        let mut places = Vec::new();
        for method in &known {
            places.extend(place(hw, method.event)?);
        }
        known.retain(|method| places.iter().any(|place| place.event == method.event));
        let events = Events { button: Button::default(), general: General::new(known) };
        Ok(AcpiButton {
            first: hw.map_ports(FixedBlock::Pm1aEvents as u16)?,
            // Where there is none it has no ports.
            second: hw.map_ports(FixedBlock::Pm1bEvents as u16).ok(),
            places,
            methods,
            changes: hw.bus_changes(),
            sci: hw.interrupt(Sci, events).create()?,
            pressed: Event::new(),
        })
    }
}

/// Where the bits of general purpose event `event` are; `None` if the machine has no such event.
fn place(hw: &mut Resources<'_, AcpiButton>, event: u8) -> Result<Option<Place>> {
    let second = hw.fixed_hardware().map_or(0, |fixed| fixed.gpe1_base);
    for (block, first) in [(FixedBlock::Gpe0, 0), (FixedBlock::Gpe1, second)] {
        let ports = hw.open_ports(block as u16)?;
        if let Some((status, enable, bit)) = general::place(first, ports.len(), event) {
            let (status, enable) = (ports.register(status)?, ports.register(enable)?);
            return Ok(Some(Place { event, status, enable, bit }));
        }
    }
    Ok(None)
}

/// The interrupt for ACPI's events.
pub struct Sci;

impl EvtIsr for Sci {
    type Device = AcpiButton;
    type State = Events;
    type Level = Passive;
    type Deferred = Nothing;

    fn evt_isr(&self, dev: &AcpiButton, events: &mut Events, irq: &mut IsrCx<'_, Self>) -> Claim {
        let pressed = events.button.serve(&mut Wired { dev, at: irq });
        if pressed {
            dev.pressed.set(irq);
        }
        let served = events.general.serve(&mut Wired { dev, at: irq });
        if served && let Some(methods) = &dev.methods {
            for notification in methods.notifications(irq) {
                dev.changes.notified(irq, &notification);
            }
        }
        if pressed || served { Claim::Mine } else { Claim::NotMine }
    }

    fn evt_enable(&self, dev: &AcpiButton, events: &mut Events, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        events.button.switch_on(&mut Wired { dev, at: irq });
        events.general.switch_on(&mut Wired { dev, at: irq });
        Ok(())
    }

    fn evt_disable(&self, dev: &AcpiButton, events: &mut Events, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        events.general.switch_off(&mut Wired { dev, at: irq });
        events.button.switch_off(&mut Wired { dev, at: irq });
        Ok(())
    }
}

impl AcpiButton {
    /// How often the button was pressed since the device started. PASSIVE.
    pub fn presses(&self, at: &mut At<'_, Passive>) -> u64 {
        self.sci.synchronize(at, |events, _| events.button.presses())
    }

    /// What has come of the general purpose events. PASSIVE.
    pub fn counters(&self, at: &mut At<'_, Passive>) -> general::Counters {
        self.sci.synchronize(at, |events, _| events.general.counters())
    }

    /// Waits until the button was pressed more than `seen` times, and returns how often it was. PASSIVE.
    pub fn wait(&self, at: &mut At<'_, Passive>, seen: u64) -> Result<u64, Gone> {
        loop {
            self.pressed.clear(at);
            let presses = self.presses(at);
            if presses > seen {
                // Another waiter's event may have been cleared here.
                self.pressed.set(at);
                return Ok(presses);
            }
            self.pressed.wait(at)?;
        }
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        iter::once(&self.first).chain(&self.second)
    }

    fn place(&self, event: u8) -> Option<&Place> {
        self.places.iter().find(|place| place.event == event)
    }
}

/// The registers of all blocks as one, and firmware, with the token that reaches them.
struct Wired<'a, 'c> {
    dev: &'a AcpiButton,
    at: &'a mut At<'c, Passive>,
}

impl Registers for Wired<'_, '_> {
    fn status(&mut self) -> u16 {
        self.dev.blocks().fold(0, |bits, block| bits | block.status.read(self.at))
    }

    fn clear(&mut self, bits: u16) {
        self.dev.blocks().for_each(|block| block.status.write(self.at, bits));
    }

    fn enabled(&mut self) -> u16 {
        self.dev.blocks().fold(0, |bits, block| bits | block.enable.read(self.at))
    }

    fn enable(&mut self, bits: u16) {
        self.dev.blocks().for_each(|block| block.enable.write(self.at, bits));
    }
}

impl Firmware for Wired<'_, '_> {
    fn status(&mut self, event: u8) -> bool {
        self.dev.place(event).is_some_and(|place| place.status.read(self.at) & place.bit != 0)
    }

    fn clear(&mut self, event: u8) {
        if let Some(place) = self.dev.place(event) {
            // Of the status bits those written as 1 are cleared.
            place.status.write(self.at, place.bit);
        }
    }

    fn enabled(&mut self, event: u8) -> bool {
        self.dev.place(event).is_some_and(|place| place.enable.read(self.at) & place.bit != 0)
    }

    fn enable(&mut self, event: u8, on: bool) {
        if let Some(place) = self.dev.place(event) {
            let others = place.enable.read(self.at) & !place.bit;
            place.enable.write(self.at, if on { others | place.bit } else { others });
        }
    }

    fn run(&mut self, path: &str) -> bool {
        self.dev.methods.as_ref().is_some_and(|methods| methods.evaluate(self.at, path).is_ok())
    }
}
