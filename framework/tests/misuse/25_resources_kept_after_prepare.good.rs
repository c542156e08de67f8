//! Resources are handed out in prepare hardware only.
mod common;
use common::*;

pub fn f(hw: &mut Resources<'_, Dev>, keep: &mut Option<&'static mut Resources<'static, Dev>>) {
    *keep = None;
}
