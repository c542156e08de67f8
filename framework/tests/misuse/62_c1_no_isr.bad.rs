//! An interrupt has an ISR.
mod common;
use common::*;

pub struct X;

impl EvtIsr for X {
    type Device = Dev;
    type State = u32;
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_disable(&self, _: &Dev, _: &mut u32, _: &mut IsrCx<'_, Self>) -> Result<()> { Ok(()) }
}
