//! A device that interrupts all the time, and whose stops are counted by what they find: QEMU's `edu` once more.

use alloc::sync::Arc;
use core::{
    hint,
    sync::atomic::{
        AtomicBool, AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};
use framework::prelude::*;

registers! {
    /// The registers that have to do with interrupts.
    struct Regs {
        0x24 status: Ro,
        0x60 raise: Wo,
        0x64 acknowledge: Wo,
    }
}

/// How long the ISR and the DPC take, so that a stop may find them at it.
const LINGER: u32 = 30;

/// What is known of the device over all its lives.
#[derive(Default)]
pub struct Watch {
    starts: AtomicU32,
    /// From `d0_entry` to `d0_exit`: callbacks may run.
    is_up: AtomicBool,
    in_service: AtomicBool,
    isrs: AtomicU64,
    /// DPCs that were queued, and that have ended.
    queued: AtomicU64,
    ended: AtomicU64,
    pending: AtomicU32,
    served: AtomicU32,
    deferred: AtomicU32,
    late: AtomicU32,
}

/// How many stops found the interrupt how.
#[derive(Debug, Clone, Copy)]
pub struct Stops {
    /// The device had raised it, its ISR had not begun.
    pub pending: u32,
    /// Its ISR ran.
    pub in_service: u32,
    /// Its DPC was queued, or ran.
    pub deferred: u32,
    /// Callbacks after the teardown.
    pub late: u32,
}

impl Watch {
    /// How often the ISR ran.
    pub fn isrs(&self) -> u64 {
        self.isrs.load(Relaxed)
    }

    /// How many DPCs have ended.
    pub fn dpcs(&self) -> u64 {
        self.ended.load(Acquire)
    }

    /// Whether the device is started, and may interrupt.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Acquire)
    }

    pub fn stops(&self) -> Stops {
        Stops {
            pending: self.pending.load(Relaxed),
            in_service: self.served.load(Relaxed),
            deferred: self.deferred.load(Relaxed),
            late: self.late.load(Relaxed),
        }
    }

    /// A callback begins.
    fn note_callback(&self) {
        self.late.fetch_add(u32::from(!self.is_up()), Relaxed);
    }
}

/// The driver: what it watches outlives its device.
pub struct Watcher(Arc<Watch>);

impl DriverEntry for Watcher {
    fn driver_entry(_: &mut DriverInit, _: &mut At<'_, Passive>) -> Result<Self> {
        Ok(Watcher(Arc::default()))
    }
}

/// The device.
pub struct Restless {
    regs: Regs,
    pub watch: Arc<Watch>,
}

impl Device for Restless {
    const NAME: &'static str = "restless";
    const IDS: &'static [PciId] = &[PciId(0x1234, 0x11e8)];
    type Driver = Watcher;
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let watch = hw.driver().0.clone();
        // Each start has other resources: another CPU's turn.
        let cpu = watch.starts.fetch_add(1, Relaxed) % at.cpu_count();
        let regs = hw.map_bar(at, 0)?;
        hw.interrupt(RestlessInterrupt, ()).affinity(Affinity::cpu(cpu)).create()?;
        Ok(Restless { regs, watch })
    }

    fn d0_entry(&self, _: PowerState, _: &mut At<'_, Passive>) -> Result<()> {
        self.watch.is_up.store(true, Release);
        Ok(())
    }

    fn pre_interrupts_disabled(&self, _: &mut At<'_, Passive>) {
        self.watch.served.fetch_add(u32::from(self.watch.in_service.load(Acquire)), Relaxed);
    }

    fn d0_exit(&self, _: PowerState, at: &mut At<'_, Passive>) {
        self.watch.is_up.store(false, Release);
        let status = self.regs.status.read(at);
        self.regs.acknowledge.write(at, status);
    }
}

impl Restless {
    /// Makes the device interrupt.
    pub fn raise(&self, at: &mut At<'_, Passive>) {
        self.regs.raise.write(at, 1);
    }
}

/// Its interrupt. Disabling it quiets nothing: it comes until the framework takes it away.
struct RestlessInterrupt;

impl EvtIsr for RestlessInterrupt {
    type Device = Restless;
    type State = ();
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, device: &Restless, _: &mut (), irq: &mut IsrCx<'_, Self>) -> Claim {
        let (regs, watch) = (&device.regs, &device.watch);
        watch.note_callback();
        watch.in_service.store(true, Release);
        let status = regs.status.read(irq);
        if status != 0 {
            regs.acknowledge.write(irq, status);
            watch.isrs.fetch_add(1, Relaxed);
            watch.queued.fetch_add(u64::from(irq.queue_dpc()), Relaxed);
        }
        linger();
        watch.in_service.store(false, Release);
        if status == 0 { Claim::NotMine } else { Claim::Mine }
    }

    fn evt_disable(&self, device: &Restless, _: &mut (), irq: &mut IsrCx<'_, Self>) -> Result<()> {
        let watch = &device.watch;
        // Its ISR waits for this lock, or for its CPU.
        let is_pending = device.regs.status.read(irq) != 0;
        let is_deferred = watch.queued.load(Relaxed) != watch.ended.load(Acquire);
        watch.pending.fetch_add(is_pending.into(), Relaxed);
        watch.deferred.fetch_add(is_deferred.into(), Relaxed);
        Ok(())
    }
}

impl EvtDpc for RestlessInterrupt {
    fn evt_dpc(&self, device: &Restless, _: &mut DpcCx<'_, Self>) {
        device.watch.note_callback();
        linger();
        device.watch.ended.fetch_add(1, Release);
    }
}

fn linger() {
    (0..LINGER).for_each(|_| hint::spin_loop());
}
