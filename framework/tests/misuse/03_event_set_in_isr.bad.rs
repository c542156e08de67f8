//! An ISR cannot set an event: its DPC does.
mod common;
use common::*;

pub struct X;

impl EvtIsr for X {
    type Device = Dev;
    type State = u32;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, dev: &Dev, state: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        dev.ev.set(irq);
        Claim::Mine
    }
}

impl EvtDpc for X {
    fn evt_dpc(&self, _: &Dev, _: &mut DpcCx<'_, Self>) {}
}
