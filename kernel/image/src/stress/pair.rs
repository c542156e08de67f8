//! Two devices of different IRQLs with one critical section for all of both: the devices are QEMU's `edu`.
//!
//! The state behind the lock is one plain integer. Everybody who increments it also counts on its own, without the lock's
//! help: if the lock ever lets two in at once, the integer is too small.

use alloc::{boxed::Box, sync::Arc};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use framework::prelude::*;

registers! {
    /// The registers that have to do with interrupts.
    struct Regs {
        0x24 status: Ro,
        0x60 raise: Wo,
        0x64 acknowledge: Wo,
    }
}

/// How often each CPU was in the section.
pub struct Tally(Box<[AtomicU64]>);

impl Tally {
    fn new(at: &At<'_, Passive>) -> Self {
        Tally((0..at.cpu_count()).map(|_| AtomicU64::new(0)).collect())
    }

    pub fn count(&self, cpu: u32) {
        self.0[cpu as usize].fetch_add(1, Relaxed);
    }

    pub fn of(&self, cpu: u32) -> u64 {
        self.0[cpu as usize].load(Relaxed)
    }

    pub fn sum(&self) -> u64 {
        self.0.iter().map(|count| count.load(Relaxed)).sum()
    }
}

/// What the devices and the threads share.
pub struct Common {
    /// The integer.
    pub lock: InterruptLock<u64>,
    /// By device.
    pub isrs: [Tally; 2],
    pub dpcs: Tally,
    pub threads: Tally,
}

/// The driver: both devices have its lock.
pub struct Shared(Arc<Common>);

impl DriverEntry for Shared {
    fn driver_entry(_: &mut DriverInit, at: &mut At<'_, Passive>) -> Result<Self> {
        let tally = || Tally::new(at);
        let isrs = [tally(), tally()];
        Ok(Shared(Arc::new(Common { lock: InterruptLock::new(0), isrs, dpcs: tally(), threads: tally() })))
    }
}

/// An edu device that only interrupts. The first has the higher IRQL.
pub struct Pair {
    regs: Regs,
    pub common: Arc<Common>,
    number: usize,
}

impl Device for Pair {
    const NAME: &'static str = "pair";
    const IDS: &'static [PciId] = &[PciId(0x1234, 0x11e8)];
    type Driver = Shared;
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let common = hw.driver().0.clone();
        let number = hw.instance() as usize % 2;
        let regs = hw.map_bar(at, 0)?;
        let priority = if number == 0 { Priority::High } else { Priority::Normal };
        hw.interrupt(PairInterrupt, &common.lock).priority(priority).create()?;
        Ok(Pair { regs, common, number })
    }
}

impl Pair {
    /// Makes the device interrupt.
    pub fn raise(&self, at: &mut At<'_, Passive>) {
        self.regs.raise.write(at, 1);
    }
}

/// The interrupt of either device.
struct PairInterrupt;

impl EvtIsr for PairInterrupt {
    type Device = Pair;
    type State = u64;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, pair: &Pair, sum: &mut u64, irq: &mut IsrCx<'_, Self>) -> Claim {
        let status = pair.regs.status.read(irq);
        if status == 0 {
            return Claim::NotMine;
        }
        pair.regs.acknowledge.write(irq, status);
        *sum += 1;
        pair.common.isrs[pair.number].count(irq.cpu());
        irq.queue_dpc();
        Claim::Mine
    }
}

impl EvtDpc for PairInterrupt {
    fn evt_dpc(&self, pair: &Pair, irq: &mut DpcCx<'_, Self>) {
        irq.synchronize(|sum, _| *sum += 1);
        pair.common.dpcs.count(irq.cpu());
    }
}
