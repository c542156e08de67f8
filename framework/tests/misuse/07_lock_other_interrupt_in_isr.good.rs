//! Another interrupt's lock is taken in an ISR only upwards, which is checked when it runs.
mod common;
use common::*;

pub struct X;

impl EvtIsr for X {
    type Device = Dev;
    type State = u32;
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_isr(&self, dev: &Dev, _: &mut u32, irq: &mut IsrCx<'_, Self>) -> Claim {
        let _ = dev.irq.synchronize_nested(irq, |state, _| *state = 1);
        Claim::Mine
    }
}
