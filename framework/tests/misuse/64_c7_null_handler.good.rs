//! There is no configuration of sizes and null pointers: an interrupt is created with its handler.
mod common;
use common::*;

pub struct Other;

impl Device for Other {
    const NAME: &'static str = "other";
    const IDS: &'static [PciId] = &[];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
        hw.interrupt(Y, 0).create()?;
        Ok(Other)
    }
}

pub struct Y;

impl EvtIsr for Y {
    type Device = Other;
    type State = u32;
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_isr(&self, _: &Other, _: &mut u32, _: &mut IsrCx<'_, Self>) -> Claim {
        Claim::Mine
    }
}
