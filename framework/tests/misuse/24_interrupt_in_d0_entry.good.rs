//! Interrupts are created in device add or prepare hardware.
mod common;
use common::*;

pub fn f(dev: &Dev, hw: &mut Resources<'_, Dev>) {
    let _ = hw.interrupt(H, 0).create();
}
