//! An interrupt's lock is no spin lock: it raises to the set's ceiling.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    let lock: &SpinLock<u32> = dev.irq.lock();
    *lock.acquire(at) = 1;
}
