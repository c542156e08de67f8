//! Guards end last in, first out.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    let mut first = dev.a.acquire(at);
    let (_, at) = first.parts();
    let second = dev.b.acquire(at);
    drop(second); drop(first);
}
