//! KMDF: STATUS_NOT_SUPPORTED.
mod common;
use common::*;

pub struct X;

impl EvtTimerFunc for X {
    type Device = Dev;
    type Level = Passive;

    fn evt_timer_func(&self, _: &Dev, _: &mut At<'_, Passive>) {}
}

pub fn f(hw: &mut Resources<'_, Dev>) -> Timer<X> {
    hw.timer(X).tolerable_delay(1_000_000).create()
}
