//! Nor can its handle be taken out of the device and dropped while the device is started.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    drop(dev.irq.info(at));
}
