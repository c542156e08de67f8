//! A DPC cannot take a wait lock.
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

impl EvtSerializedDpc for X {
    fn evt_dpc(&self, _: &Dev, _: &mut u32, _: &mut DpcCx<'_, Self>) {}
}

impl Serialized for X { type Device = Dev; type Data = u32; type Level = Passive; fn scope<'a>(&'a self, dev: &'a Dev) -> &'a Scope<u32, Passive> { &dev.pscope } }
