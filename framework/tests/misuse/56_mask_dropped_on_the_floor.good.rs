//! A mask lasts as long as its value.
mod common;
use common::*;

#[deny(unused_must_use)]
pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    dev.irq.mask(at).unmask(at);
}
