//! Two tokens cannot trade places.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Dispatch>) {
    let mut guard = dev.a.acquire(at);
    core::mem::swap(at, guard.parts().1);
    drop(guard);
}
