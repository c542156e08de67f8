//! A device for tests: it rings when told to, writes down what it is told, and says where its driver should fail.

use framework::{Driver, Pnp, prelude::*};
use hal_sim::model::{Bar, BusAccess, Identity, Model, PciModel, Step};

pub const ID: PciId = PciId(0x1de5, 0x0be1);
/// How many messages it has.
pub const MESSAGES: u8 = 4;

/// What a device that is gone answers.
const GONE: u32 = u32::MAX;

#[derive(Default)]
pub struct Bells {
    status: u64,
    log: Vec<u32>,
    /// The step, as logged, that the driver fails.
    pub fail_at: u32,
    /// It may leave the bus by itself, whenever the explorer likes.
    pub may_leave: bool,
}

impl Bells {
    /// Bells whose driver fails at `step`.
    pub fn failing_at(step: u32) -> Self {
        Bells { fail_at: step, ..Bells::default() }
    }

    /// Rings the bells of `bits`.
    pub fn ring(&mut self, bits: u64, bus: &mut BusAccess<'_>) {
        self.status |= bits;
        (0..MESSAGES).filter(|n| bits >> n & 1 != 0).for_each(|n| bus.interrupt(n));
        bus.set_line(self.status != 0);
    }

    /// Takes back all rings, behind the driver's back.
    pub fn quiet(&mut self, bus: &mut BusAccess<'_>) {
        self.status = 0;
        bus.set_line(false);
    }

    /// What was written down since the last call.
    pub fn take_log(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.log)
    }
}

impl PciModel for Bells {
    fn identity(&self) -> Identity {
        Identity { bars: vec![Bar::memory64(0x1000)], msi_messages: MESSAGES, ..Identity::new(ID.0, ID.1) }
    }
}

impl Model for Bells {
    fn read(&mut self, _: usize, offset: u64, _: usize, _: &mut BusAccess<'_>) -> u64 {
        match offset {
            0x04 => self.status,
            0x10 => self.fail_at.into(),
            _ => u64::MAX,
        }
    }

    fn write(&mut self, _: usize, offset: u64, _: usize, value: u64, bus: &mut BusAccess<'_>) {
        match offset {
            0x00 => self.ring(value, bus),
            0x08 => {
                self.status &= !value;
                bus.set_line(self.status != 0);
            }
            0x0c => self.log.push(value as u32),
            _ => {}
        }
    }

    fn steps(&self, steps: &mut Vec<Step>) {
        if self.may_leave {
            steps.push(Step::perhaps(0, "leaves the bus"));
        }
    }

    fn step(&mut self, _: u32, bus: &mut BusAccess<'_>) {
        self.may_leave = false;
        bus.leave();
    }
}

registers! {
    /// Its registers.
    pub struct Regs {
        0x00 ring: Wo,
        0x04 status: Ro,
        0x08 ack: Wo,
        0x0c log: Wo,
        0x10 fail_at: Ro,
    }
}

impl Regs {
    /// Writes `step` down, and fails if it is the one that should fail.
    pub fn step<L: Level>(&self, at: &mut At<'_, L>, step: u32) -> Result<()> {
        self.log.write(at, step);
        if self.fail_at.read(at) == step { Err(Status::Failed("planted")) } else { Ok(()) }
    }

    /// Takes back ring `n`, if that is what rings.
    pub fn quiet<L: Level>(&self, at: &mut At<'_, L>, n: u16) -> Claim {
        let bit = 1 << n;
        let status = self.status.read(at);
        if status & bit == 0 || status == GONE {
            return Claim::NotMine;
        }
        self.ack.write(at, bit);
        Claim::Mine
    }
}

/// Starts all devices on the simulated bus.
pub fn start<D: Device>(at: &mut At<'_, Passive>) -> Pnp {
    Pnp::start(at, &hal_sim::platform(), &[Driver::of::<D>()])
}
