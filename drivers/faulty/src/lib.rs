//! A driver for QEMU's edu device that misbehaves as it is told to: what a bug check names, what the watchdog notices, what the
//! verifier finds, and what is masked as a storm.
//!
//! Until then it is a small and proper driver: its ISR claims what the device asserts and quiets it, its DPC says so.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use core::{hint::spin_loop, mem};
use framework::prelude::*;

/// What the driver is to do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `evt_isr` panics, at DIRQL.
    PanicInIsr,
    /// `evt_dpc` panics, at DISPATCH.
    PanicInDpc,
    /// `evt_isr` does not end.
    EndlessIsr,
    /// `evt_dpc` does not end.
    EndlessDpc,
    /// `evt_isr` claims what it does not quiet: on a line, a storm.
    NeverQuiet,
    /// `evt_isr` quiets the device, and says that it was not its own.
    Denies,
    /// `evt_dpc` forgets the guard of a spin lock: for the verifier, as all that follow.
    ForgetsGuard,
    /// `evt_dpc` takes a spin lock that it holds.
    TakesTwice,
    /// `evt_dpc` takes two spin locks in one order, then in the other.
    TakesInBothOrders,
}

/// How long an interrupt may take to arrive, in nanoseconds.
const PATIENCE: u64 = 5_000_000_000;

registers! {
    /// The registers that have to do with interrupts.
    struct Regs {
        0x24 status: Ro,
        0x60 raise: Wo,
        0x64 acknowledge: Wo,
    }
}

/// An edu device in the wrong hands.
pub struct Faulty {
    regs: Regs,
    irq: Interrupt<FaultyInterrupt>,
    served: Event,
    /// How many DPCs have run, and how many of them did something wrong.
    runs: SpinLock<u32>,
    mistakes: SpinLock<u32>,
}

impl Device for Faulty {
    const NAME: &'static str = "faulty";
    const IDS: &'static [PciId] = &[PciId(0x1234, 0x11e8)];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let regs = hw.map_bar(at, 0)?;
        let irq = hw.interrupt(FaultyInterrupt, None).create()?;
        Ok(Faulty { regs, irq, served: Event::new(), runs: SpinLock::new(0), mistakes: SpinLock::new(0) })
    }
}

impl Faulty {
    /// From the next interrupt on the driver does `fault`, or behaves. PASSIVE.
    pub fn arm(&self, fault: Option<Fault>, at: &mut At<'_, Passive>) {
        self.irq.synchronize(at, |armed, _| *armed = fault);
    }

    /// Raises an interrupt and does not wait for it. PASSIVE.
    pub fn raise(&self, at: &mut At<'_, Passive>) {
        self.regs.raise.write(at, 1);
    }

    /// Whether the device asserts its interrupt. PASSIVE.
    pub fn is_raised(&self, at: &mut At<'_, Passive>) -> bool {
        self.regs.status.read(at) != 0
    }

    /// Quiets the device from outside of its ISR. PASSIVE.
    pub fn quiet(&self, at: &mut At<'_, Passive>) {
        let status = self.regs.status.read(at);
        self.regs.acknowledge.write(at, status);
    }

    /// Raises an interrupt and waits until its DPC has run, for five seconds at most. PASSIVE.
    pub fn raise_and_wait(&self, at: &mut At<'_, Passive>) -> Result<()> {
        self.served.clear(at);
        self.raise(at);
        Ok(self.served.wait_timeout(at, PATIENCE)?)
    }
}

/// The device's one interrupt. Its state says what to do wrong.
struct FaultyInterrupt;

impl EvtIsr for FaultyInterrupt {
    type Device = Faulty;
    type State = Option<Fault>;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, dev: &Faulty, armed: &mut Option<Fault>, irq: &mut IsrCx<'_, Self>) -> Claim {
        let status = dev.regs.status.read(irq);
        if status == 0 {
            return Claim::NotMine;
        }
        if *armed == Some(Fault::NeverQuiet) {
            return Claim::Mine;
        }
        dev.regs.acknowledge.write(irq, status);
        match armed {
            Some(Fault::PanicInIsr) => panic!("the driver was told to panic in its ISR"),
            Some(Fault::EndlessIsr) => never_ends(),
            Some(Fault::Denies) => return Claim::NotMine,
            _ => {}
        }
        irq.queue_dpc();
        Claim::Mine
    }
}

impl EvtDpc for FaultyInterrupt {
    fn evt_dpc(&self, dev: &Faulty, irq: &mut DpcCx<'_, Self>) {
        match irq.synchronize(|armed, _| *armed) {
            Some(Fault::PanicInDpc) => panic!("the driver was told to panic in its DPC"),
            Some(Fault::EndlessDpc) => never_ends(),
            Some(Fault::ForgetsGuard) => mem::forget(dev.runs.acquire(irq)),
            Some(Fault::TakesTwice) => dev.takes_twice(irq),
            Some(Fault::TakesInBothOrders) => dev.takes_in_both_orders(irq),
            _ => *dev.runs.acquire(irq) += 1,
        }
        dev.served.set(irq);
    }
}

impl Faulty {
    fn takes_twice(&self, at: &mut At<'_, Dispatch>) {
        let mut runs = self.runs.acquire(at);
        let (runs, at) = runs.parts();
        *runs += *self.runs.acquire(at);
    }

    fn takes_in_both_orders(&self, at: &mut At<'_, Dispatch>) {
        let mut runs = self.runs.acquire(at);
        let (count, inside) = runs.parts();
        *self.mistakes.acquire(inside) += *count;
        drop(runs);
        let mut mistakes = self.mistakes.acquire(at);
        let (count, inside) = mistakes.parts();
        *self.runs.acquire(inside) += *count;
    }
}

fn never_ends() -> ! {
    loop {
        spin_loop();
    }
}
