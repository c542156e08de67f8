//! A DPC cannot wait for a work item.
mod common;
use common::*;

pub struct X;

impl EvtIsr for X {
    type Device = Dev;
    type State = u32;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, _: &Dev, _: &mut u32, _: &mut IsrCx<'_, Self>) -> Claim {
        Claim::Mine
    }
}

impl EvtDpc for X {
    fn evt_dpc(&self, dev: &Dev, irq: &mut DpcCx<'_, Self>) {
        dev.work.enqueue(irq);
    }
}
