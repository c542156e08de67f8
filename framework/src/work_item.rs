//! Work item objects: work for PASSIVE that any callback can ask for.
//!
//! **Invariant:** the item holds its device exactly from start to stop. Stopping clears it under the lock before the
//! last flush, so a run that began earlier is waited for and a later one finds nothing to run on.

use crate::{
    Device,
    device::{AnyObject, DeviceObject},
};
use alloc::sync::Arc;
use core::{
    fmt,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};
use ke::{At, Level, MayWait, Passive, SpinLock, WorkRoutine};

/// What a [`WorkItem`] does (EvtWorkItem of a WDFWORKITEM).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what its work item does",
    note = "implement `EvtWorkItemFunc` for it"
)]
pub trait EvtWorkItemFunc: Sized + Send + Sync + 'static {
    /// The device it belongs to.
    type Device: Device;

    /// At PASSIVE, in a worker thread. It may overlap itself: it can be queued again as soon as it has started.
    fn evt_work_item_func(&self, dev: &Self::Device, at: &mut At<'_, Passive>);
}

/// A work item of a device (WDFWORKITEM), beside the one that an interrupt can have. The framework owns the object;
/// this is the driver's handle.
pub struct WorkItem<H: EvtWorkItemFunc>(ke::WorkItem<Body<H>>);

struct Body<H: EvtWorkItemFunc> {
    handler: H,
    open: AtomicBool,
    device: SpinLock<Option<Arc<DeviceObject<H::Device>>>>,
}

impl<H: EvtWorkItemFunc> WorkItem<H> {
    pub(crate) fn new(handler: H) -> Self {
        WorkItem(ke::WorkItem::new(Body { handler, open: AtomicBool::new(false), device: SpinLock::new(None) }))
    }

    pub(crate) fn object(&self) -> Arc<dyn AnyObject<H::Device>> {
        Arc::new(WorkItem(self.0.clone()))
    }

    /// The handler.
    pub fn handler(&self) -> &H {
        &self.0.routine().handler
    }

    /// WdfWorkItemEnqueue. `false`: it is queued already and one run will serve both, or the device is not started.
    /// Any IRQL.
    #[track_caller]
    pub fn enqueue<L: Level>(&self, at: &mut At<'_, L>) -> bool {
        self.0.routine().open.load(SeqCst) && self.0.enqueue(at)
    }

    /// WdfWorkItemFlush: waits until it is neither queued nor running. PASSIVE. Not from its own callback.
    #[track_caller]
    pub fn flush<L: MayWait>(&self, at: &mut At<'_, L>) {
        self.0.flush(at);
    }
}

impl<H: EvtWorkItemFunc> WorkRoutine for Body<H> {
    fn run(&self, at: &mut At<'_, Passive>) {
        let device = self.device.acquire(at).clone();
        // None: queued in the last moment before the stop.
        if let Some(object) = device {
            self.handler.evt_work_item_func(&object.device, at);
        }
    }
}

impl<H: EvtWorkItemFunc> AnyObject<H::Device> for WorkItem<H> {
    fn kind(&self) -> &'static str {
        "WorkItem"
    }

    fn handler(&self) -> &'static str {
        core::any::type_name::<H>()
    }

    fn start(&self, device: &Arc<DeviceObject<H::Device>>, at: &mut At<'_, Passive>) {
        let body = self.0.routine();
        *body.device.acquire(at) = Some(device.clone());
        body.open.store(true, SeqCst);
    }

    fn stop(&self, at: &mut At<'_, Passive>) {
        let body = self.0.routine();
        body.open.store(false, SeqCst);
        self.0.flush(at);
        let device = body.device.acquire(at).take();
        self.0.flush(at);
        drop(device);
    }
}

impl<H: EvtWorkItemFunc> fmt::Debug for WorkItem<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkItem").field("handler", &core::any::type_name::<H>()).finish_non_exhaustive()
    }
}
