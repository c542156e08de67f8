//! The clock's periodic interrupt, counted.

/// Register A: its low half says how often it ticks.
pub const RATE: u8 = 0x0a;
/// Register B: what interrupts.
pub const ENABLE: u8 = 0x0b;
/// Register C: what has interrupted; reading it takes that back.
pub const CAUSE: u8 = 0x0c;
/// Registers B and C: the periodic interrupt.
pub const PERIODIC: u8 = 0x40;

/// Register A: a tick each 1/1024 s.
const PER_SECOND_1024: u8 = 6;
/// What a clock that is not there answers.
const ALL_ONES: u8 = 0xff;

/// The clock's registers. A trait, so that the ISR can be tested without them.
pub trait Chip {
    /// Reads `register`.
    fn read(&mut self, register: u8) -> u8;
    /// Writes `register`.
    fn write(&mut self, register: u8, value: u8);
}

/// Behind the interrupt's lock.
#[derive(Debug, Default)]
pub struct Ticks {
    count: u32,
    first: u64,
    last: u64,
}

impl Ticks {
    /// In the ISR, at nanosecond `now`: counts a tick. `false`: there was none.
    pub fn serve(&mut self, chip: &mut impl Chip, now: u64) -> bool {
        let cause = chip.read(CAUSE);
        if cause == ALL_ONES || cause & PERIODIC == 0 {
            return false;
        }
        if self.count == 0 {
            self.first = now;
        }
        self.last = now;
        self.count += 1;
        true
    }

    /// Starts to count from 0.
    pub fn start(&mut self, chip: &mut impl Chip) {
        *self = Ticks::default();
        let rate = chip.read(RATE);
        chip.write(RATE, rate & 0xf0 | PER_SECOND_1024);
        let enabled = chip.read(ENABLE);
        chip.write(ENABLE, enabled | PERIODIC);
    }

    /// No more ticks; one that has come and was not served is forgotten.
    pub fn stop(&mut self, chip: &mut impl Chip) {
        let enabled = chip.read(ENABLE);
        chip.write(ENABLE, enabled & !PERIODIC);
        let _old = chip.read(CAUSE);
    }

    /// Ticks since the start.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Periods between the first tick and the last, and the nanoseconds that they took.
    pub fn measured(&self) -> (u32, u64) {
        (self.count.saturating_sub(1), self.last - self.first)
    }
}
