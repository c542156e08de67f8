//! A driver for QEMU's edu device that panics when it is told to, in its ISR or in its DPC: what a bug check names.
//!
//! Until then it is a small and proper driver: its ISR claims what the device asserts and quiets it, its DPC says so.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use framework::prelude::*;

/// Where the driver is to panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In `evt_isr`, at DIRQL.
    Isr,
    /// In `evt_dpc`, at DISPATCH.
    Dpc,
}

/// How long the interrupt may take to arrive, in nanoseconds.
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
}

impl Device for Faulty {
    const NAME: &'static str = "faulty";
    const IDS: &'static [PciId] = &[PciId(0x1234, 0x11e8)];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let regs = hw.map_bar(at, 0)?;
        let irq = hw.interrupt(FaultyInterrupt, None).create()?;
        Ok(Faulty { regs, irq, served: Event::new() })
    }
}

impl Faulty {
    /// Arms the driver and raises an interrupt: it panics at `place`. Returns only if no interrupt arrives. PASSIVE.
    pub fn misbehave(&self, place: Place, at: &mut At<'_, Passive>) -> Result<()> {
        self.served.clear(at);
        self.irq.synchronize(at, |armed, _| *armed = Some(place));
        self.regs.raise.write(at, 1);
        Ok(self.served.wait_timeout(at, PATIENCE)?)
    }
}

/// The device's one interrupt. Its state says where to panic.
struct FaultyInterrupt;

impl EvtIsr for FaultyInterrupt {
    type Device = Faulty;
    type State = Option<Place>;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, dev: &Faulty, armed: &mut Option<Place>, irq: &mut IsrCx<'_, Self>) -> Claim {
        let status = dev.regs.status.read(irq);
        if status == 0 {
            return Claim::NotMine;
        }
        dev.regs.acknowledge.write(irq, status);
        assert!(*armed != Some(Place::Isr), "the driver was told to panic in its ISR");
        irq.queue_dpc();
        Claim::Mine
    }
}

impl EvtDpc for FaultyInterrupt {
    fn evt_dpc(&self, dev: &Faulty, irq: &mut DpcCx<'_, Self>) {
        let armed = irq.synchronize(|armed, _| armed.take());
        assert!(armed != Some(Place::Dpc), "the driver was told to panic in its DPC");
        dev.served.set(irq);
    }
}
