//! Two devices and more with passive-level interrupts that share one wait lock: as if they sat behind one slow bus, which
//! carries one conversation at a time.
//!
//! The devices are QEMU's `edu`. Each ISR runs in a thread, at PASSIVE, and may wait while it talks to its device. The lock
//! is the driver's, so the ISR of one device waits until that of the other has returned: the interrupts of different
//! devices are one set.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use core::mem;
use framework::prelude::*;

registers! {
    /// BAR 0: some of it.
    struct Regs {
        0x00 identification: Ro,
        0x24 irq_status: Ro,
        0x60 irq_raise: Wo,
        0x64 irq_ack: Wo,
    }
}

/// The low byte of the identification register.
const IDENTIFICATION: u32 = 0xed;
/// What a device that is gone answers.
const ALL_ONES: u32 = u32::MAX;

/// Nanoseconds that the slow bus takes.
pub const SLOW: u64 = 1_000_000;
/// Nanoseconds that a device may take to interrupt and be served.
const TIME_OUT: u64 = 2_000_000_000;

/// A started device.
pub struct Twin {
    regs: Regs,
    bus: InterruptLock<Bus, Passive>,
    /// Held by the thread whose request the device works on.
    turn: WaitLock<()>,
    served: Event,
    /// Nobody sets it: for pauses.
    pause: Event,
}

/// The driver: its devices sit behind one bus.
pub struct Twins(InterruptLock<Bus, Passive>);

/// Behind the lock of all interrupts.
#[derive(Default)]
pub struct Bus {
    is_busy: bool,
    counters: Counters,
}

/// What the ISRs did, those of all devices together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Interrupts that were served.
    pub served: u64,
    /// How often an ISR found another one at work: never, that is what the lock is for.
    pub overlaps: u64,
}

impl DriverEntry for Twins {
    fn driver_entry(_: &mut DriverInit, _: &mut At<'_, Passive>) -> Result<Self> {
        Ok(Twins(InterruptLock::new(Bus::default())))
    }
}

impl Device for Twin {
    const NAME: &'static str = "twins";
    const IDS: &'static [PciId] = &[PciId(0x1234, 0x11e8)];
    type Driver = Twins;
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let regs: Regs = hw.map_bar(at, 0)?;
        if regs.identification.read(at) & 0xff != IDENTIFICATION {
            return Err(Status::Failed("the device does not identify as an edu"));
        }
        let bus = hw.driver().0.clone();
        // The handle is not needed: whoever wants something of the interrupt goes through its lock.
        hw.interrupt(Slow, &bus).create()?;
        Ok(Twin { regs, bus, turn: WaitLock::new(()), served: Event::new(), pause: Event::new() })
    }

    fn d0_exit(&self, _: PowerState, at: &mut At<'_, Passive>) {
        // What it says now nobody will hear: take it back, or it would still say so at the next start.
        let status = self.regs.irq_status.read(at);
        self.regs.irq_ack.write(at, status);
    }
}

/// The interrupt.
pub struct Slow;

impl EvtIsr for Slow {
    type Device = Twin;
    type State = Bus;
    type Level = Passive;
    type Deferred = Nothing;

    fn evt_isr(&self, twin: &Twin, bus: &mut Bus, irq: &mut IsrCx<'_, Self>) -> Claim {
        let status = twin.regs.irq_status.read(irq);
        if status == 0 || status == ALL_ONES {
            return Claim::NotMine;
        }
        bus.counters.overlaps += u64::from(mem::replace(&mut bus.is_busy, true));
        // It ends by its time, or because the device stops.
        let _ = twin.pause.wait_timeout(irq, SLOW);
        twin.regs.irq_ack.write(irq, status);
        bus.is_busy = false;
        bus.counters.served += 1;
        twin.served.set(irq);
        Claim::Mine
    }
}

impl Twin {
    /// Makes the device interrupt with `bits`, and waits until that was served. PASSIVE.
    pub fn raise(&self, at: &mut At<'_, Passive>, bits: u32) -> Result<(), WaitError> {
        let _turn = self.turn.acquire(at);
        self.served.clear(at);
        self.regs.irq_raise.write(at, bits);
        self.served.wait_timeout(at, TIME_OUT)
    }

    /// What the ISRs of all devices did. PASSIVE.
    pub fn counters(&self, at: &mut At<'_, Passive>) -> Counters {
        self.bus.synchronize(at, |bus, _| bus.counters)
    }

    /// The same, unless an ISR or somebody else has the lock. PASSIVE.
    pub fn try_counters(&self, at: &mut At<'_, Passive>) -> Option<Counters> {
        self.bus.try_acquire(at).map(|bus| bus.counters)
    }
}
