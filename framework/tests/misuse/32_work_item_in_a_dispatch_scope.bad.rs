//! A work item would hold a spin lock, and could wait for nothing.
mod common;
use common::*;

pub struct X;

impl EvtIsr for X {
    type Device = Dev;
    type State = u32;
    type Level = Dirql;
    type Deferred = ByWorkItem;

    fn evt_isr(&self, _: &Dev, _: &mut u32, _: &mut IsrCx<'_, Self>) -> Claim {
        Claim::Mine
    }
}

impl EvtSerializedWorkItem for X {
    fn evt_work_item(&self, _: &Dev, _: &mut u32, _: &mut WorkCx<'_, Self>) {}
}

impl Serialized for X { type Device = Dev; type Data = u32; type Level = Dispatch; fn scope<'a>(&'a self, dev: &'a Dev) -> &'a Scope<u32, Dispatch> { &dev.scope } }
