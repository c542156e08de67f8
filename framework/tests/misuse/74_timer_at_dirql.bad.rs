//! Only an ISR runs at DIRQL.
mod common;
use common::*;

pub struct X;

impl EvtTimerFunc for X {
    type Device = Dev;
    type Level = Dirql;

    fn evt_timer_func(&self, _: &Dev, _: &mut At<'_, Self::Level>) {}
}
