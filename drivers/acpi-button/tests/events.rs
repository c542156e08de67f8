//! What the ISR does with the registers, on registers of the test's own.

use acpi_button::events::{Button, POWER_BUTTON, Registers};

const TIMER: u16 = 0x001;
const SLEEP_BUTTON: u16 = 0x200;

#[derive(Default)]
struct Fake {
    status: u16,
    enabled: u16,
}

impl Fake {
    fn asserts(&self) -> bool {
        self.status & self.enabled != 0
    }
}

impl Registers for Fake {
    fn status(&mut self) -> u16 {
        self.status
    }
    fn clear(&mut self, bits: u16) {
        self.status &= !bits;
    }
    fn enabled(&mut self) -> u16 {
        self.enabled
    }
    fn enable(&mut self, bits: u16) {
        self.enabled = bits;
    }
}

#[test]
fn a_press_is_counted_once_and_taken_back() {
    let (mut button, mut registers) = (Button::default(), Fake::default());
    button.switch_on(&mut registers);
    registers.status |= POWER_BUTTON;
    assert!(registers.asserts());
    assert!(button.serve(&mut registers));
    assert!(!registers.asserts());
    assert!(!button.serve(&mut registers), "nothing is left of it");
    assert_eq!(button.presses(), 1);
}

#[test]
fn other_events_are_neither_claimed_nor_cleared_nor_switched_off() {
    let (mut button, mut registers) = (Button::default(), Fake { status: TIMER, enabled: SLEEP_BUTTON });
    button.switch_on(&mut registers);
    assert!(!button.serve(&mut registers));
    registers.status |= POWER_BUTTON;
    assert!(button.serve(&mut registers));
    button.switch_off(&mut registers);
    assert_eq!((registers.status, registers.enabled), (TIMER, SLEEP_BUTTON));
}

#[test]
fn a_press_from_before_does_not_count() {
    let (mut button, mut registers) = (Button::default(), Fake { status: POWER_BUTTON, enabled: 0 });
    button.switch_on(&mut registers);
    assert!(!registers.asserts());
    assert!(!button.serve(&mut registers));
    assert_eq!(button.presses(), 0);
}

#[test]
fn a_press_that_does_not_interrupt_is_not_claimed() {
    let (mut button, mut registers) = (Button::default(), Fake { status: POWER_BUTTON, enabled: SLEEP_BUTTON });
    assert!(!button.serve(&mut registers), "another event or device asserts the line");
    assert_eq!((registers.status, button.presses()), (POWER_BUTTON, 0));
}

#[test]
fn registers_that_are_gone_were_not_pressed() {
    let (mut button, mut registers) = (Button::default(), Fake { status: u16::MAX, enabled: u16::MAX });
    assert!(!button.serve(&mut registers));
}
