//! A token cannot be made.
mod common;
use common::*;

pub fn f() {
    let at: Option<At<'static, Passive>> = None;
}
