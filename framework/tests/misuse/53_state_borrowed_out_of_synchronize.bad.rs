//! The state stays behind its lock.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    let state = dev.irq.synchronize(at, |state, _| state);
}
