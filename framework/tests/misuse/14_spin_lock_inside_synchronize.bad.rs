//! An interrupt lock is taken under a spin lock, never the other way round.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    dev.irq.synchronize(at, |state, at| *state = *dev.a.acquire(at));
}
