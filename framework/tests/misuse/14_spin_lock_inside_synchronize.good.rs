//! An interrupt lock is taken under a spin lock, never the other way round.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    dev.a.with(at, |a, at| dev.irq.synchronize(at, |state, _| *state = *a));
}
