//! The state goes from CPU to CPU.
mod common;
use common::*;

pub struct X;

impl EvtIsr for X {
    type Device = Dev;
    type State = std::sync::Arc<u32>;
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_isr(&self, _: &Dev, _: &mut Self::State, _: &mut IsrCx<'_, Self>) -> Claim {
        Claim::Mine
    }
}
