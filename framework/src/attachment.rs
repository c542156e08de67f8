//! What DPC, work item and timer objects have in common: a handler that meets its device from start to stop, and at no other
//! time.
//!
//! **Invariant:** the slot holds the device exactly from start to stop. Stopping clears it under the lock before the last
//! flush, so a run that began earlier is waited for and a later one finds nothing to run on.

use crate::{Device, device::DeviceObject};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use ke::{At, AtMost, Dispatch, Passive, SpinLock};

/// The handler of an object, and its device while that is started.
pub(crate) struct Attached<H, D: Device> {
    pub handler: H,
    open: AtomicBool,
    device: SpinLock<Option<Arc<DeviceObject<D>>>>,
}

impl<H, D: Device> Attached<H, D> {
    pub fn new(handler: H) -> Self {
        Attached { handler, open: AtomicBool::new(false), device: SpinLock::new(None) }
    }

    /// Whether the object may be queued: from start to stop.
    pub fn is_open(&self) -> bool {
        self.open.load(SeqCst)
    }

    /// Runs `f` on the handler and the device.
    #[inline]
    pub fn run<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>, f: impl FnOnce(&H, &D, &mut At<'_, L>)) {
        let device = self.device.with(at, |device, _| device.clone());
        // None: queued in the last moment before the stop.
        if let Some(object) = device {
            f(&self.handler, &object.device, at);
        }
    }

    /// From here on the object can be queued, and runs on `device`.
    pub fn start(&self, device: &Arc<DeviceObject<D>>, at: &mut At<'_, Passive>) {
        *self.device.acquire(at) = Some(device.clone());
        self.open.store(true, SeqCst);
    }

    /// From here on it cannot, and nothing of it holds the device. `flush` waits until it is neither queued nor running.
    pub fn stop(&self, at: &mut At<'_, Passive>, flush: impl Fn(&mut At<'_, Passive>)) {
        self.open.store(false, SeqCst);
        flush(at);
        let device = self.device.acquire(at).take();
        flush(at);
        drop(device);
    }
}
