//! Two tokens cannot trade places.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Dispatch>) {
    let mut guard = dev.a.acquire(at);
    *guard.parts().0 += 1;
    drop(guard);
}
