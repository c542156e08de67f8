//! Code that holds a spin lock cannot wait.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    let guard = dev.a.acquire(at);
    let _ = dev.ev.wait(at);
    drop(guard);
}
