//! What is not implemented cannot be queued: a DPC.
mod common;
use common::*;

pub struct X;

impl EvtIsr for X {
    type Device = Dev;
    type State = u32;
    type Level = Dirql;
    type Deferred = ByWorkItem;

    fn evt_isr(&self, dev: &Dev, state: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        irq.queue_dpc();
        Claim::Mine
    }
}

impl EvtWorkItem for X {
    fn evt_work_item(&self, _: &Dev, _: &mut WorkCx<'_, Self>) {}
}
