//! The lock of a passive-level interrupt is a wait lock: its DPC cannot take it.
mod common;
use common::*;

pub struct X;

impl EvtIsr for X {
    type Device = Dev;
    type State = u32;
    type Level = Passive;
    type Deferred = ByDpc;

    fn evt_isr(&self, _: &Dev, _: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        irq.queue_dpc();
        Claim::Mine
    }
}

impl EvtDpc for X {
    fn evt_dpc(&self, dev: &Dev, irq: &mut DpcCx<'_, Self>) {
        irq.synchronize(|state, _| *state = 0);
    }
}
