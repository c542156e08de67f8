//! Two interrupt locks nest only upwards, which is checked when it runs.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    dev.irq.synchronize(at, |one, at| dev.irq2.synchronize(at, |other, _| *other = *one));
}
