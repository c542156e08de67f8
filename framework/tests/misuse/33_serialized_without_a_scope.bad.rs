//! Serialized with nobody: KMDF says nothing, and does nothing.
mod common;
use common::*;

pub struct X;

impl EvtSerializedDpcFunc for X {
    fn evt_dpc_func(&self, _: &Dev, _: &mut u32, _: &mut At<'_, Dispatch>) {}
}


