//! A token cannot be made.
mod common;
use common::*;

pub fn f() {
    let at: At<'static, Passive> = At {};
}
