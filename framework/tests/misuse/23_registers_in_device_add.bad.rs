//! Registers exist from prepare hardware on, not in device add.
mod common;
use common::*;

pub struct A;

impl DeviceAdd<Dev> for A {
    fn device_add(init: &mut DeviceInit<'_, Dev>, at: &mut At<'_, Passive>) -> Result<Self> {
        let regs: Regs = init.map_bar(at, 0)?;
        Ok(A)
    }
}
