//! An ISR is in no scope.
mod common;
use common::*;

pub struct X;

impl EvtIsr for X {
    type Device = Dev;
    type State = u32;
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_isr(&self, dev: &Dev, state: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        dev.scope.enter(irq, |data, _| *data = *state);
        Claim::Mine
    }
}
