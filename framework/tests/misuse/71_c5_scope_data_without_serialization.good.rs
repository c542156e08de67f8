//! KMDF: a parent without AutomaticSerialization is STATUS_WDF_PARENT_ASSIGNMENT_NOT_ALLOWED.
mod common;
use common::*;

pub struct X;

impl Serialized for X {
    type Device = Dev;
    type Data = u32;
    type Level = Dispatch;

    fn scope<'a>(&'a self, dev: &'a Dev) -> &'a Scope<u32, Dispatch> {
        &dev.scope
    }
}

impl EvtSerializedDpcFunc for X { fn evt_dpc_func(&self, _: &Dev, _: &mut u32, _: &mut At<'_, Dispatch>) {} }
