//! A driver with every kind of callback, for tests of what happens to a device that is at work: one interrupt whose ISR queues
//! a DPC, which enqueues a work item, and a second interrupt with a work item of its own.

use crate::bells::{self, Bells, Regs};
use framework::{DeviceRef, Gone, prelude::*};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
};

pub const NAME: &str = "lively#0";

pub struct Lively {
    regs: Regs,
    pub first: Interrupt<ByDpcBell>,
    errand: WorkItem<Errand>,
    pub served: Event,
    /// The device may be used: between `d0_entry` and `d0_exit`.
    awake: AtomicBool,
    added: Arc<Counts>,
}

/// What outlives a run.
#[derive(Default)]
pub struct Counts {
    pub runs: AtomicU32,
    pub dpcs: AtomicU32,
    pub items: AtomicU32,
}

pub struct ByDpcBell;
pub struct ByItemBell;
pub struct Errand;

impl DeviceAdd<Lively> for Arc<Counts> {
    fn device_add(_: &mut DeviceInit<'_, Lively>, _: &mut At<'_, Passive>) -> Result<Self> {
        Ok(Arc::default())
    }
}

impl Device for Lively {
    const NAME: &'static str = "lively";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = ();
    type Added = Arc<Counts>;

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let regs: Regs = hw.map_bar(at, 0)?;
        let first = hw.interrupt(ByDpcBell, 0).affinity(Affinity::cpu(0)).create()?;
        if hw.interrupts() > 1 && regs.fail_at.read(at) == WITH_SECOND {
            hw.interrupt(ByItemBell, 0).create()?;
        }
        hw.added().runs.fetch_add(1, SeqCst);
        Ok(Lively {
            regs,
            first,
            errand: hw.work_item(Errand),
            served: Event::new(),
            awake: AtomicBool::new(false),
            added: hw.added().clone(),
        })
    }

    fn d0_entry(&self, _: PowerState, _: &mut At<'_, Passive>) -> Result<()> {
        self.awake.store(true, SeqCst);
        Ok(())
    }

    fn d0_exit(&self, _: PowerState, _: &mut At<'_, Passive>) {
        self.awake.store(false, SeqCst);
    }
}

/// What the `fail_at` register says of a device whose driver is to use two messages.
const WITH_SECOND: u32 = 99;

/// A device with two messages.
pub fn with_second() -> Bells {
    Bells::failing_at(WITH_SECOND)
}

impl Lively {
    fn assert_awake(&self) {
        assert!(self.awake.load(SeqCst), "a callback runs before `d0_entry` or after `d0_exit`");
    }

    /// What outlives this run.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.added
    }

    /// Rings bell `n` and waits until it was served all the way, or the device goes.
    pub fn ring(&self, at: &mut At<'_, Passive>, n: u32) -> Result<(), Gone> {
        self.served.clear(at);
        self.ring_alone(at, n);
        self.served.wait(at)
    }

    /// Rings bell `n`.
    pub fn ring_alone(&self, at: &mut At<'_, Passive>, n: u32) {
        self.regs.ring.write(at, 1 << n);
    }

    /// How often the first interrupt's ISR has claimed.
    pub fn claimed(&self, at: &mut At<'_, Passive>) -> u32 {
        self.first.synchronize(at, |claimed, _| *claimed)
    }
}

impl EvtIsr for ByDpcBell {
    type Device = Lively;
    type State = u32;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, dev: &Lively, claimed: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        dev.assert_awake();
        let claim = dev.regs.quiet(irq, 0);
        if claim == Claim::Mine {
            *claimed += 1;
            irq.queue_dpc();
        }
        claim
    }
}

impl EvtDpc for ByDpcBell {
    fn evt_dpc(&self, dev: &Lively, irq: &mut DpcCx<'_, Self>) {
        dev.assert_awake();
        dev.added.dpcs.fetch_add(1, SeqCst);
        dev.errand.enqueue(irq);
    }
}

impl EvtWorkItemFunc for Errand {
    type Device = Lively;

    fn evt_work_item_func(&self, dev: &Lively, at: &mut At<'_, Passive>) {
        dev.assert_awake();
        dev.added.items.fetch_add(1, SeqCst);
        dev.served.set(at);
    }
}

impl EvtIsr for ByItemBell {
    type Device = Lively;
    type State = u32;
    type Level = Dirql;
    type Deferred = ByWorkItem;

    fn evt_isr(&self, dev: &Lively, claimed: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        dev.assert_awake();
        let claim = dev.regs.quiet(irq, 1);
        if claim == Claim::Mine {
            *claimed += 1;
            irq.queue_work_item();
        }
        claim
    }
}

impl EvtWorkItem for ByItemBell {
    fn evt_work_item(&self, dev: &Lively, irq: &mut WorkCx<'_, Self>) {
        dev.assert_awake();
        dev.added.items.fetch_add(1, SeqCst);
        dev.served.set(irq);
    }
}

/// Rings bell `n` and waits, from a thread that may find the device asleep, stopped or gone, before or meanwhile.
pub fn ring_if_there(device: &DeviceRef<Lively>, at: &mut At<'_, Passive>, n: u32) {
    match device.with(at, |dev, at| dev.ring(at, n)) {
        Ok(Ok(()) | Err(Gone)) | Err(Status::Gone | Status::NotStarted) => {}
        Err(status) => panic!("{status}"),
    }
}

/// Runs `f` on the started device.
pub fn on<R>(
    device: &DeviceRef<Lively>,
    at: &mut At<'_, Passive>,
    f: impl FnOnce(&Lively, &mut At<'_, Passive>) -> R,
) -> R {
    device.with(at, f).expect("it is started")
}
