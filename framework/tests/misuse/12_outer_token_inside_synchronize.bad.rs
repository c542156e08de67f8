//! Inside `synchronize` the outer token is out of reach.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    dev.irq.synchronize(at, |_, _| dev.ev.wait(at));
}
