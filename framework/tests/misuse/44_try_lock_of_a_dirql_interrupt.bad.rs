//! Only a wait lock can be tried.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    let _ = dev.irq.try_acquire_lock(at);
}
