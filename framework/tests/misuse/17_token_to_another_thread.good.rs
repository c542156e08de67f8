//! A token stays on its thread.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    std::thread::scope(|s| drop(s.spawn(|| &dev.regs)));
}
