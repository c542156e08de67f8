//! The real-time clock of a PC, which ticks 1024 times a second while somebody counts: a second opinion on the time that the
//! machine's own clock tells.
//!
//! The ISR does all there is to do: it notes the tick and the time. The driver has neither DPC nor work item, so nobody is
//! woken; who wants to know looks now and then.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod ticks;

use framework::prelude::*;
use ticks::{Chip, Ticks};

registers! {
    /// The window to the clock's registers.
    struct Window in ports {
        0 index: Wo,
        1 data: Rw,
    }
}

/// Nanoseconds between two looks.
const PAUSE: u64 = 5_000_000;
/// Nanoseconds that a tick may take, a hundred times what it does.
const TIME_OUT: u64 = 100_000_000;

/// A started clock.
pub struct Tick {
    window: Window,
    clock: Interrupt<Clock>,
    /// Held by who counts.
    turn: WaitLock<()>,
    /// Nobody sets it: for pauses.
    pause: Event,
}

impl Device for Tick {
    const NAME: &'static str = "tick";
    const HIDS: &'static [&'static str] = &["PNP0B00"];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
        Ok(Tick {
            window: hw.map_ports(0)?,
            clock: hw.interrupt(Clock, Ticks::default()).create()?,
            turn: WaitLock::new(()),
            pause: Event::new(),
        })
    }
}

/// The clock's interrupt.
pub struct Clock;

impl EvtIsr for Clock {
    type Device = Tick;
    type State = Ticks;
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_isr(&self, tick: &Tick, ticks: &mut Ticks, irq: &mut IsrCx<'_, Self>) -> Claim {
        let now = irq.now();
        match ticks.serve(&mut Wired { window: &tick.window, at: irq }, now) {
            true => Claim::Mine,
            false => Claim::NotMine,
        }
    }

    fn evt_enable(&self, tick: &Tick, ticks: &mut Ticks, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        ticks.stop(&mut Wired { window: &tick.window, at: irq });
        Ok(())
    }

    fn evt_disable(&self, tick: &Tick, ticks: &mut Ticks, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        ticks.stop(&mut Wired { window: &tick.window, at: irq });
        Ok(())
    }
}

impl Tick {
    /// Lets the clock tick until `wanted` periods are over, and returns how many it measured and their nanoseconds by the
    /// machine's clock. Ticks that nobody served in time are missing. PASSIVE.
    pub fn measure(&self, at: &mut At<'_, Passive>, wanted: u32) -> Result<(u32, u64)> {
        let _turn = self.turn.acquire(at);
        self.clock.synchronize(at, |ticks, at| ticks.start(&mut Wired { window: &self.window, at }));
        let counted = self.count_to(at, wanted);
        let measured = self.clock.synchronize(at, |ticks, at| {
            ticks.stop(&mut Wired { window: &self.window, at });
            ticks.measured()
        });
        counted.map(|()| measured)
    }

    fn count_to(&self, at: &mut At<'_, Passive>, wanted: u32) -> Result<()> {
        let give_up = at.now() + TIME_OUT * (u64::from(wanted) + 1);
        while self.clock.synchronize(at, |ticks, _| ticks.count()) <= wanted {
            if at.now() >= give_up {
                return Err(Status::TimedOut);
            }
            match self.pause.wait_timeout(at, PAUSE) {
                Err(WaitError::TimedOut) | Ok(()) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }
}

/// The clock, with the token that reaches it.
struct Wired<'a, 'c> {
    window: &'a Window,
    at: &'a mut At<'c, Dirql>,
}

impl Chip for Wired<'_, '_> {
    fn read(&mut self, register: u8) -> u8 {
        self.window.index.write(self.at, register);
        self.window.data.read(self.at)
    }

    fn write(&mut self, register: u8, value: u8) {
        self.window.index.write(self.at, register);
        self.window.data.write(self.at, value);
    }
}
