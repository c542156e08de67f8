//! The lock of a passive-level interrupt is a wait lock: it cannot be taken under a spin lock.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    let mut guard = dev.a.acquire(at);
    let (n, at) = guard.parts();
    dev.passive.synchronize(at, |state, _| *state = *n);
}
