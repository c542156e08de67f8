//! Callbacks share their handler, on any CPU.
mod common;
use common::*;

pub struct X(core::cell::Cell<u32>);

impl EvtIsr for X {
    type Device = Dev;
    type State = u32;
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_isr(&self, _: &Dev, _: &mut u32, _: &mut IsrCx<'_, Self>) -> Claim {
        Claim::Mine
    }
}
