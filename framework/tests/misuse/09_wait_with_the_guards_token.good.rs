//! The token of a spin lock's guard is at DISPATCH.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    let mut guard = dev.a.acquire(at);
    let (_, at) = guard.parts();
    dev.ev.set(at);
}
