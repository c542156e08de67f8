//! The state is reached through its lock.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    let state = dev.irq.0;
}
