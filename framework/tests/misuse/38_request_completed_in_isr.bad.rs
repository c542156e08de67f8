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
            let _ = request.complete(irq, b"");
        }
        Claim::Mine
    }
}

impl EvtDpc for X {
    fn evt_dpc(&self, _: &Dev, _: &mut DpcCx<'_, Self>) {}
}
