//! A timer's callback at DISPATCH cannot wait, least of all for itself.
mod common;
use common::*;

pub struct X;

impl EvtTimerFunc for X {
    type Device = Dev;
    type Level = Dispatch;

    fn evt_timer_func(&self, dev: &Dev, at: &mut At<'_, Self::Level>) {
        dev.timer.stop(at);
    }
}
