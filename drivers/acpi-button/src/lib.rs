//! The power button of a PC: one of ACPI's fixed events, told by the machine's one ACPI interrupt, a shared level line.
//!
//! ```text
//! DIRQL    (the core)             masks the line and wakes the interrupt's thread
//! PASSIVE  evt_isr                asks the registers whether it was the button, takes the press back, sets the event
//! PASSIVE  AcpiButton::wait       goes on
//! ```
//!
//! The ISR runs at PASSIVE because those of the line's other users run AML, which may wait. So it may set an event itself, and
//! needs neither DPC nor work item. The line stays masked until it has returned.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod events;

use core::iter;
use events::{Button, Registers};
use framework::{
    acpi::{FIXED_HARDWARE_ID, FixedBlock},
    prelude::*,
};

registers! {
    /// One block of fixed events, as long as every PC's.
    struct Block in ports {
        0 status: Rw<u16>,
        2 enable: Rw<u16>,
    }
}

/// The started power button.
pub struct AcpiButton {
    first: Block,
    /// Some machines spread the events over two blocks, whose bits count together.
    second: Option<Block>,
    button: Interrupt<PowerButton>,
    pressed: Event,
}

impl Device for AcpiButton {
    const NAME: &'static str = "acpi-button";
    const HIDS: &'static [&'static str] = &[FIXED_HARDWARE_ID];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
        if !hw.fixed_hardware().is_some_and(|fixed| fixed.power_button) {
            return Err(Status::Failed("the power button of this machine is not among the fixed events"));
        }
        Ok(AcpiButton {
            first: hw.map_ports(FixedBlock::Pm1aEvents as u16)?,
            // Where there is none it has no ports.
            second: hw.map_ports(FixedBlock::Pm1bEvents as u16).ok(),
            button: hw.interrupt(PowerButton, Button::default()).create()?,
            pressed: Event::new(),
        })
    }
}

/// The interrupt for ACPI's events.
pub struct PowerButton;

impl EvtIsr for PowerButton {
    type Device = AcpiButton;
    type State = Button;
    type Level = Passive;
    type Deferred = Nothing;

    fn evt_isr(&self, dev: &AcpiButton, button: &mut Button, irq: &mut IsrCx<'_, Self>) -> Claim {
        if !button.serve(&mut Wired { dev, at: irq }) {
            return Claim::NotMine;
        }
        dev.pressed.set(irq);
        Claim::Mine
    }

    fn evt_enable(&self, dev: &AcpiButton, button: &mut Button, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        button.switch_on(&mut Wired { dev, at: irq });
        Ok(())
    }

    fn evt_disable(&self, dev: &AcpiButton, button: &mut Button, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        button.switch_off(&mut Wired { dev, at: irq });
        Ok(())
    }
}

impl AcpiButton {
    /// How often the button was pressed since the device started. PASSIVE.
    pub fn presses(&self, at: &mut At<'_, Passive>) -> u64 {
        self.button.synchronize(at, |button, _| button.presses())
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
}

/// The registers of all blocks as one, with the token that reaches them.
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
