//! The lock of a passive-level interrupt is a wait lock: its ISR may wait.
mod common;
use common::*;

pub struct Other;

impl Device for Other {
    const NAME: &'static str = "other";
    const IDS: &'static [PciId] = &[];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
        hw.interrupt(Y, &InterruptLock::<u32, Dirql>::new(0)).create()?;
        Ok(Other)
    }
}

pub struct Y;

impl EvtIsr for Y {
    type Device = Other;
    type State = u32;
    type Level = Passive;
    type Deferred = Nothing;

    fn evt_isr(&self, _: &Other, _: &mut u32, _: &mut IsrCx<'_, Self>) -> Claim {
        Claim::Mine
    }
}
