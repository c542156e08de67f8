//! A device whose MSI-X messages the program makes come: QEMU's `e1000e`, used for nothing else.

use super::shot::{Counts, Runs};
use alloc::sync::Arc;
use framework::prelude::*;

registers! {
    /// Of BAR 0, what has to do with interrupts.
    struct Regs {
        0x18 control: Rw,
        0xc8 raise: Wo,
        0xd0 enable: Wo,
        0xd8 disable: Wo,
        0xdc auto_clear: Wo,
        0xe4 routing: Wo,
    }
}

/// The cause for everything that is not a queue's.
const OTHER: u32 = 1 << 24;
/// In the control register: a message clears its cause alone, and leaves it enabled.
const KEEP_ENABLED: u32 = 1 << 27;
/// In the routing register: the other causes send message 0.
const OTHER_SENDS_FIRST: u32 = 0b1000 << 16;

/// The device.
pub struct Msix {
    regs: Regs,
    irq: Interrupt<MsixInterrupt>,
    counts: Arc<Counts>,
}

impl Device for Msix {
    const NAME: &'static str = "msix";
    const IDS: &'static [PciId] = &[PciId(0x8086, 0x10d3)];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let regs: Regs = hw.map_bar(at, 0)?;
        let counts = Arc::new(Counts::default());
        let irq = hw.interrupt(MsixInterrupt(counts.clone()), ()).create()?;
        Ok(Msix { regs, irq, counts })
    }
}

impl Msix {
    /// The message comes while it is masked, and is delivered when it is no more.
    pub fn raise_while_masked(&self, at: &mut At<'_, Passive>) {
        let masked = self.irq.mask(at);
        self.regs.raise.write(at, OTHER);
        masked.unmask(at);
    }

    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

/// Ticks: the device sends the next message 128 microseconds after the last one at the earliest, and then may repeat that.
pub const MESSAGE_INTERVAL: u64 = 150_000;
/// What one message leads to.
pub const ONE_MESSAGE: Runs = Runs { isrs: 1, dpcs: 1, ends: 0, wrong_levels: 0 };

/// Its message.
struct MsixInterrupt(Arc<Counts>);

impl EvtIsr for MsixInterrupt {
    type Device = Msix;
    type State = ();
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, _: &Msix, _: &mut (), irq: &mut IsrCx<'_, Self>) -> Claim {
        let irql = irq.irql();
        self.0.isr_at_dirql(irql, irql, || {
            irq.queue_dpc();
        });
        Claim::Mine
    }

    fn evt_enable(&self, device: &Msix, _: &mut (), irq: &mut IsrCx<'_, Self>) -> Result<()> {
        let regs = &device.regs;
        let control = regs.control.read(irq);
        regs.control.write(irq, control | KEEP_ENABLED);
        regs.auto_clear.write(irq, OTHER);
        regs.routing.write(irq, OTHER_SENDS_FIRST);
        regs.enable.write(irq, OTHER);
        Ok(())
    }

    fn evt_disable(&self, device: &Msix, _: &mut (), irq: &mut IsrCx<'_, Self>) -> Result<()> {
        device.regs.disable.write(irq, OTHER);
        Ok(())
    }
}

impl EvtDpc for MsixInterrupt {
    fn evt_dpc(&self, _: &Msix, irq: &mut DpcCx<'_, Self>) {
        self.0.dpc(irq.irql());
    }
}
