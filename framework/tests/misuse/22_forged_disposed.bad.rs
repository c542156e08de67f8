//! A request is disposed of by what disposes of it, and by nothing else.
mod common;
use common::*;

pub fn f() -> Option<Disposed> {
    Some(Disposed(()))
}
