//! KMDF: a parent that has no callbacks is STATUS_INVALID_PARAMETER.
mod common;
use common::*;

pub struct X;

impl Serialized for X {
    type Device = Dev;
    type Data = u32;
    type Level = Dispatch;

    fn scope<'a>(&'a self, dev: &'a Dev) -> &'a Scope<u32> {
        &dev.scope
    }
}
