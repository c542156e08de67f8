//! Work item objects: work for PASSIVE that any callback can ask for.

use crate::{
    Device, Serialized, ServesWorkItem,
    attachment::Attached,
    device::{AnyObject, DeviceObject},
    object::Cleanup,
};
use alloc::sync::Arc;
use core::{any::type_name, fmt};
use ke::{At, Level, MayWait, Passive, WorkRoutine};

/// What a [`WorkItem`] does (EvtWorkItem of a WDFWORKITEM). The handler is the work item's own context.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what its work item does",
    note = "implement `EvtWorkItemFunc` for it, or `EvtSerializedWorkItemFunc`"
)]
pub trait EvtWorkItemFunc: Sized + Send + Sync + 'static {
    /// The device it belongs to.
    type Device: Device;

    /// At PASSIVE, in a worker thread. It may overlap itself: it can be queued again as soon as it has started.
    fn evt_work_item_func(&self, dev: &Self::Device, at: &mut At<'_, Passive>);

    /// EvtObjectCleanup, once, at the end of the stage that the work item was made in. PASSIVE.
    fn evt_cleanup(&self, at: &mut At<'_, Passive>) {
        let _ = at;
    }
}

/// [`EvtWorkItemFunc`] with AutomaticSerialization: it takes its turn in the handler's scope, and gets its data.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what its serialized work item does",
    note = "implement `EvtSerializedWorkItemFunc` for it"
)]
pub trait EvtSerializedWorkItemFunc: Serialized<Level: ServesWorkItem> {
    /// At PASSIVE, under the scope's lock: it overlaps neither itself nor any other callback of the scope.
    fn evt_work_item_func(&self, dev: &Self::Device, data: &mut Self::Data, at: &mut At<'_, Passive>);

    /// As [`EvtWorkItemFunc::evt_cleanup`].
    fn evt_cleanup(&self, at: &mut At<'_, Passive>) {
        let _ = at;
    }
}

#[diagnostic::do_not_recommend]
impl<H: EvtSerializedWorkItemFunc> EvtWorkItemFunc for H {
    type Device = <H as Serialized>::Device;

    fn evt_work_item_func(&self, dev: &<H as Serialized>::Device, at: &mut At<'_, Passive>) {
        let scope = ServesWorkItem::for_work_item(self.scope(dev));
        scope.enter(at, |data, at| EvtSerializedWorkItemFunc::evt_work_item_func(self, dev, data, at));
    }

    fn evt_cleanup(&self, at: &mut At<'_, Passive>) {
        EvtSerializedWorkItemFunc::evt_cleanup(self, at);
    }
}

/// A work item of a device (WDFWORKITEM), beside the one that an interrupt can have. The framework owns the object;
/// this is the driver's handle.
pub struct WorkItem<H: EvtWorkItemFunc>(ke::WorkItem<Attached<H, H::Device>>);

impl<H: EvtWorkItemFunc> WorkItem<H> {
    pub(crate) fn new(handler: H) -> Self {
        WorkItem(ke::WorkItem::new(Attached::new(handler)))
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
        self.0.routine().is_open() && self.0.enqueue(at)
    }

    /// WdfWorkItemFlush: waits until it is neither queued nor running. PASSIVE. Not from its own callback.
    #[track_caller]
    pub fn flush<L: MayWait>(&self, at: &mut At<'_, L>) {
        self.0.flush(at);
    }
}

impl<H: EvtWorkItemFunc> WorkRoutine for Attached<H, H::Device> {
    fn run(&self, at: &mut At<'_, Passive>) {
        Attached::run(self, at, H::evt_work_item_func);
    }
}

impl<H: EvtWorkItemFunc> Cleanup for WorkItem<H> {
    fn cleanup(&self, at: &mut At<'_, Passive>) {
        EvtWorkItemFunc::evt_cleanup(self.handler(), at);
    }
}

impl<H: EvtWorkItemFunc> AnyObject<H::Device> for WorkItem<H> {
    fn kind(&self) -> &'static str {
        "WorkItem"
    }

    fn handler(&self) -> &'static str {
        type_name::<H>()
    }

    fn start(&self, device: &Arc<DeviceObject<H::Device>>, at: &mut At<'_, Passive>) {
        self.0.routine().start(device, at);
    }

    fn stop(&self, at: &mut At<'_, Passive>) {
        self.0.routine().stop(at, |at| self.0.flush(at));
    }
}

impl<H: EvtWorkItemFunc> fmt::Debug for WorkItem<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkItem").field("handler", &type_name::<H>()).finish_non_exhaustive()
    }
}
