//! What is not implemented cannot be queued: a work item.
mod common;
use common::*;

pub struct X;

impl EvtIsr for X {
    type Device = Dev;
    type State = u32;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, dev: &Dev, state: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        irq.queue_dpc();
        Claim::Mine
    }
}

impl EvtDpc for X {
    fn evt_dpc(&self, _: &Dev, _: &mut DpcCx<'_, Self>) {}
}
