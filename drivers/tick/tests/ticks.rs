//! What the ISR does with the clock, on a clock of the test's own.

use tick::ticks::{CAUSE, Chip, ENABLE, PERIODIC, RATE, Ticks};

const ALARM: u8 = 0x20;

#[derive(Default)]
struct Fake {
    rate: u8,
    enabled: u8,
    cause: u8,
}

impl Chip for Fake {
    fn read(&mut self, register: u8) -> u8 {
        match register {
            RATE => self.rate,
            ENABLE => self.enabled,
            CAUSE => std::mem::take(&mut self.cause),
            other => panic!("register {other:#x} is not the driver's"),
        }
    }
    fn write(&mut self, register: u8, value: u8) {
        match register {
            RATE => self.rate = value,
            ENABLE => self.enabled = value,
            other => panic!("register {other:#x} is not to be written"),
        }
    }
}

#[test]
fn ticks_are_counted_and_their_time_is_that_of_the_periods_between() {
    let (mut ticks, mut chip) = (Ticks::default(), Fake::default());
    ticks.start(&mut chip);
    for now in [5_000, 6_000, 7_500] {
        chip.cause = PERIODIC;
        assert!(ticks.serve(&mut chip, now));
    }
    assert_eq!((ticks.count(), ticks.measured()), (3, (2, 2_500)));
    ticks.start(&mut chip);
    assert_eq!((ticks.count(), ticks.measured()), (0, (0, 0)));
}

#[test]
fn what_is_no_tick_is_not_claimed() {
    let (mut ticks, mut chip) = (Ticks::default(), Fake::default());
    ticks.start(&mut chip);
    assert!(!ticks.serve(&mut chip, 1));
    chip.cause = ALARM;
    assert!(!ticks.serve(&mut chip, 2));
    chip.cause = 0xff;
    assert!(!ticks.serve(&mut chip, 3));
    assert_eq!(ticks.count(), 0);
}

#[test]
fn only_the_rate_and_the_periodic_interrupt_are_changed() {
    let (mut ticks, mut chip) = (Ticks::default(), Fake { rate: 0x2f, enabled: 0x02, cause: 0 });
    ticks.start(&mut chip);
    assert_eq!((chip.rate, chip.enabled), (0x26, 0x02 | PERIODIC));
    chip.cause = PERIODIC;
    ticks.stop(&mut chip);
    assert_eq!((chip.enabled, chip.cause), (0x02, 0));
}
