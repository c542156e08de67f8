//! A guard ends with the callback that took it.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>, keep: &mut Option<framework::SpinGuard<'static, u32>>) {
    drop(dev.a.acquire(at));
}
