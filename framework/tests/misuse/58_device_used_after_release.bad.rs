//! Release hardware consumes the device.
mod common;
use common::*;

pub struct Other;

impl Device for Other {
    const NAME: &'static str = "other";
    const IDS: &'static [PciId] = &[];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(_: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
        Ok(Other)
    }

    fn release_hardware(self, _: &(), at: &mut At<'_, Passive>) {
        drop(self);
        self.d0_exit(PowerState::D3, at);
    }
}
