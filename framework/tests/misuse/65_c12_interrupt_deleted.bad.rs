//! The framework owns interrupts: there is no call that deletes one.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    dev.irq.delete(at);
}
