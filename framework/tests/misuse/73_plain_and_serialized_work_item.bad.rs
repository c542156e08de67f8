//! A work item is serialized or it is not.
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

impl Serialized for X {
    type Device = Dev;
    type Data = u32;
    type Level = Passive;

    fn scope<'a>(&'a self, dev: &'a Dev) -> &'a Scope<u32, Passive> {
        &dev.pscope
    }
}

impl EvtSerializedWorkItem for X {
    fn evt_work_item(&self, _: &Dev, _: &mut u32, _: &mut WorkCx<'_, Self>) {}
}

impl EvtWorkItem for X { fn evt_work_item(&self, _: &Dev, _: &mut WorkCx<'_, Self>) {} }
