//! A driver that writes down every callback, in its device's log register.

use crate::bells::{self, Bells, Regs};
use framework::{DeviceState, Pnp, prelude::*};
use std::sync::{Arc, Mutex};

pub const PREPARE: u32 = 1;
pub const D0_ENTRY: u32 = 2;
pub const POST_INTERRUPTS: u32 = 3;
pub const PRE_INTERRUPTS: u32 = 4;
pub const D0_EXIT: u32 = 5;
pub const SURPRISE: u32 = 6;
pub const RELEASE: u32 = 7;
/// And the interrupt's number.
pub const ENABLE: u32 = 10;
/// And the interrupt's number.
pub const DISABLE: u32 = 20;

pub const NAME: &str = "logged#0";
/// How many interrupts the driver has.
pub const INTERRUPTS: u32 = 3;

/// To D0.
pub const UP: [u32; 5] = [D0_ENTRY, ENABLE, ENABLE + 1, ENABLE + 2, POST_INTERRUPTS];
/// From D0.
pub const DOWN: [u32; 5] = [PRE_INTERRUPTS, DISABLE + 2, DISABLE + 1, DISABLE, D0_EXIT];

/// Its interrupts stay connected in low power if it is not `PAGEABLE`; that of message 2 does anyway.
pub struct Logged<const PAGEABLE: bool> {
    regs: Regs,
    pub bells: Vec<Interrupt<Bell<PAGEABLE>>>,
    pub kept: Arc<Kept>,
}

/// What outlives a run.
#[derive(Default)]
pub struct Kept {
    /// The handlers that were dropped, by number.
    pub dropped: Mutex<Vec<u32>>,
}

pub struct Bell<const PAGEABLE: bool> {
    number: u32,
    kept: Arc<Kept>,
}

impl<const PAGEABLE: bool> DeviceAdd<Logged<PAGEABLE>> for Arc<Kept> {
    fn device_add(_: &mut DeviceInit<'_, Logged<PAGEABLE>>, _: &mut At<'_, Passive>) -> Result<Self> {
        Ok(Arc::default())
    }
}

impl<const PAGEABLE: bool> Device for Logged<PAGEABLE> {
    const NAME: &'static str = "logged";
    const IDS: &'static [PciId] = &[bells::ID];
    const POWER_PAGEABLE: bool = PAGEABLE;
    type Driver = ();
    type Added = Arc<Kept>;

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let regs: Regs = hw.map_bar(at, 0)?;
        let kept = hw.added().clone();
        kept.take_dropped();
        let mut bells = Vec::new();
        for number in 0..INTERRUPTS {
            let bell = Bell { number, kept: kept.clone() };
            bells.push(hw.interrupt(bell, 0).report_inactive_on_power_down(number == 2).create()?);
        }
        hw.dma_buffer(at, 64, u64::MAX)?;
        regs.step(at, PREPARE)?;
        Ok(Logged { regs, bells, kept })
    }

    fn d0_entry(&self, _: PowerState, at: &mut At<'_, Passive>) -> Result<()> {
        self.regs.step(at, D0_ENTRY)
    }

    fn post_interrupts_enabled(&self, at: &mut At<'_, Passive>) -> Result<()> {
        self.regs.step(at, POST_INTERRUPTS)
    }

    fn pre_interrupts_disabled(&self, at: &mut At<'_, Passive>) {
        self.regs.log.write(at, PRE_INTERRUPTS);
    }

    fn d0_exit(&self, _: PowerState, at: &mut At<'_, Passive>) {
        self.regs.log.write(at, D0_EXIT);
    }

    fn surprise_removal(&self, at: &mut At<'_, Passive>) {
        self.regs.log.write(at, SURPRISE);
    }

    fn release_hardware(self, kept: &Arc<Kept>, at: &mut At<'_, Passive>) {
        self.regs.log.write(at, RELEASE);
        assert_eq!(kept.take_dropped(), [], "interrupts go after `release_hardware`");
    }
}

impl<const PAGEABLE: bool> EvtIsr for Bell<PAGEABLE> {
    type Device = Logged<PAGEABLE>;
    /// How often it claimed.
    type State = u32;
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_isr(&self, dev: &Logged<PAGEABLE>, claimed: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        let claim = dev.regs.quiet(irq, self.number as u16);
        *claimed += u32::from(claim == Claim::Mine);
        claim
    }

    fn evt_enable(&self, dev: &Logged<PAGEABLE>, _: &mut u32, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        assert_eq!(u32::from(irq.message()), self.number);
        dev.regs.step(irq, ENABLE + self.number)
    }

    fn evt_disable(&self, dev: &Logged<PAGEABLE>, _: &mut u32, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        dev.regs.step(irq, DISABLE + self.number)
    }
}

impl<const PAGEABLE: bool> Drop for Bell<PAGEABLE> {
    fn drop(&mut self) {
        self.kept.dropped.lock().expect("nobody panics with it").push(self.number);
    }
}

impl Kept {
    /// The handlers dropped since the last call, in order.
    pub fn take_dropped(&self) -> Vec<u32> {
        std::mem::take(&mut *self.dropped.lock().expect("nobody panics with it"))
    }
}

impl<const PAGEABLE: bool> Logged<PAGEABLE> {
    /// Rings bell `n`.
    pub fn ring(&self, at: &mut At<'_, Passive>, n: u32) {
        self.regs.ring.write(at, 1 << n);
    }

    /// How often the ISR of bell `n` has claimed.
    pub fn claimed(&self, at: &mut At<'_, Passive>, n: usize) -> u32 {
        self.bells[n].synchronize(at, |claimed, _| *claimed)
    }
}

/// How many vectors and bytes of DMA memory are taken.
pub fn taken(pnp: &Pnp, at: &mut At<'_, Passive>) -> (usize, usize) {
    let rows = pnp.objects(at);
    let vectors = rows.iter().filter(|row| row.kind == "Vector").map(|row| row.count).sum();
    (vectors, rows.iter().map(|row| row.bytes).sum())
}

/// For each interrupt whether it is connected, and whether it is active.
pub fn connections(pnp: &Pnp, at: &mut At<'_, Passive>) -> Vec<(bool, bool)> {
    pnp.interrupts(at).iter().map(|row| (row.grant.is_some(), row.active)).collect()
}

pub fn state(pnp: &Pnp, at: &mut At<'_, Passive>) -> DeviceState {
    pnp.devices(at)[0].state.clone()
}

/// The log up to now.
pub fn log(device: &hal_sim::Device<Bells>) -> Vec<u32> {
    device.with(Bells::take_log)
}
