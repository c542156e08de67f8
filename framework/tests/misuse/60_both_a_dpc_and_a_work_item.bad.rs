//! An ISR queues its DPC or its work item; who needs both adds a `WorkItem` object.
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
    fn evt_dpc(&self, _: &Dev, _: &mut DpcCx<'_, Self>) {}
}

impl EvtWorkItem for X { fn evt_work_item(&self, _: &Dev, _: &mut WorkCx<'_, Self>) {} }
