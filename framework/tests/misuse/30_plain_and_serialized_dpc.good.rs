//! A DPC is serialized or it is not.
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

impl Serialized for X {
    type Device = Dev;
    type Data = u32;
    type Level = Dispatch;

    fn scope<'a>(&'a self, dev: &'a Dev) -> &'a Scope<u32, Dispatch> {
        &dev.scope
    }
}

impl EvtSerializedDpc for X {
    fn evt_dpc(&self, _: &Dev, _: &mut u32, _: &mut DpcCx<'_, Self>) {}
}

impl EvtDpcFunc for X { type Device = Dev; fn evt_dpc_func(&self, _: &Dev, _: &mut At<'_, Dispatch>) {} }
