//! The framework owns its objects.
mod common;
use common::*;

pub fn f(dev: Dev) -> impl Sized {
    dev.timer.delete()
}
