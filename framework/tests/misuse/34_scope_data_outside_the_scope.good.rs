//! A scope's data is reached through its lock.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    dev.scope.enter(at, |data, _| *data = 1);
}
