//! A queue belongs to the device of its handler.
mod common;
use common::*;

pub struct Other;

impl Device for Other {
    const NAME: &'static str = "other";
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
        hw.io_queue(Y).default_queue().create()?;
        Ok(Other)
    }
}

pub struct X;

impl EvtIo for X {
    type Device = Dev;
    type Level = Dispatch;
}

pub struct Y;

impl EvtIo for Y {
    type Device = Other;
    type Level = Dispatch;
}
