//! A request is completed at or below DISPATCH.
mod common;
use common::*;

pub struct X;

impl EvtIsr for X {
    type Device = Dev;
    type State = Parked<Read>;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, _: &Dev, reader: &mut Parked<Read>, irq: &mut IsrCx<'_, Self>) -> Claim {
        if let Some(request) = reader.take() {
            let _ = reader.park(request).is_ok() && irq.queue_dpc();
        }
        Claim::Mine
    }
}

impl EvtDpc for X {
    fn evt_dpc(&self, _: &Dev, _: &mut DpcCx<'_, Self>) {}
}
