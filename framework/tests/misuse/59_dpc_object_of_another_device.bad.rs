//! An object belongs to the device that its handler is for.
mod common;
use common::*;

pub struct D2;

impl Device for D2 {
    const NAME: &'static str = "d2";
    const IDS: &'static [PciId] = &[];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
        hw.dpc(F);
        Ok(D2)
    }
}

pub struct G;

impl EvtDpcFunc for G {
    type Device = D2;

    fn evt_dpc_func(&self, _: &D2, _: &mut At<'_, Dispatch>) {}
}
