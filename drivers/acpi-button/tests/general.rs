//! What the ISR does with the general purpose events, on registers and methods of the test's own.

use acpi_button::general::{Counters, Firmware, General, place};
use framework::acpi::GpeMethod;

/// One event whose method takes its cause away, if it does not fail.
#[derive(Default)]
struct Fake {
    /// What the device wants.
    cause: bool,
    status: bool,
    enabled: bool,
    fails: bool,
    log: Vec<&'static str>,
}

impl Fake {
    /// A level's status is set again for as long as its cause lasts.
    fn settle(&mut self) {
        self.status |= self.cause;
    }
}

impl Firmware for Fake {
    fn status(&mut self, _: u8) -> bool {
        self.status
    }
    fn clear(&mut self, _: u8) {
        self.log.push("clear");
        self.status = false;
        self.settle();
    }
    fn enabled(&mut self, _: u8) -> bool {
        self.enabled
    }
    fn enable(&mut self, _: u8, on: bool) {
        self.enabled = on;
    }
    fn run(&mut self, path: &str) -> bool {
        assert_eq!(path, "\\_GPE._X01");
        self.log.push("run");
        self.cause = self.fails;
        !self.fails
    }
}

fn event(edge: bool) -> General {
    General::new(vec![GpeMethod { event: 1, edge, path: "\\_GPE._X01".into() }])
}

#[test]
fn an_edge_is_taken_back_before_its_method_runs_and_a_level_after() {
    for (edge, order) in [(true, ["clear", "run"]), (false, ["run", "clear"])] {
        let (mut general, mut fake) = (event(edge), Fake { status: true, cause: !edge, ..Fake::default() });
        general.switch_on(&mut fake);
        assert!(general.serve(&mut fake));
        assert_eq!(fake.log, order);
        assert!(!fake.status);
        assert!(!general.serve(&mut fake), "nothing is left of it");
        assert_eq!(general.counters(), Counters { served: 1, failed: 0 });
        general.switch_off(&mut fake);
        assert!(!fake.enabled);
    }
}

#[test]
fn an_event_that_does_not_interrupt_is_left_alone() {
    let (mut general, mut fake) = (event(true), Fake { status: true, ..Fake::default() });
    assert!(!general.serve(&mut fake));
    assert!(fake.log.is_empty() && fake.status);
}

#[test]
fn an_event_whose_method_fails_interrupts_once() {
    let mut fake = Fake { status: true, cause: true, fails: true, ..Fake::default() };
    let mut general = event(false);
    general.switch_on(&mut fake);
    assert!(general.serve(&mut fake));
    assert!(fake.status && !fake.enabled, "it would interrupt for ever");
    assert!(!general.serve(&mut fake));
    assert_eq!(general.counters(), Counters { served: 1, failed: 1 });
}

#[test]
fn events_are_numbered_through_both_blocks() {
    // q35 has one block of 16 ports; others have a second one, from event 16 or 32 on.
    assert_eq!(place(0, 16, 1), Some((0, 8, 1 << 1)));
    assert_eq!(place(0, 16, 63), Some((7, 15, 1 << 7)));
    assert_eq!(place(0, 16, 64), None);
    assert_eq!(place(32, 8, 31), None);
    assert_eq!(place(32, 8, 41), Some((1, 5, 1 << 1)));
    assert_eq!(place(0, 0, 0), None, "a block that is not there");
}
