//! DPC objects: work for DISPATCH that any callback can ask for, beside the DPC that an interrupt can have.

use crate::{
    Device, Serialized, ServesDpc,
    attachment::Attached,
    device::{AnyObject, DeviceObject},
    object::Cleanup,
};
use alloc::sync::Arc;
use core::{any::type_name, fmt};
use ke::{At, Dispatch, DpcRoutine, Level, MayWait, Passive, flush_queued_dpcs};

/// What a [`Dpc`] does (EvtDpcFunc of a WDFDPC). The handler is the DPC's own context.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what its DPC does",
    note = "implement `EvtDpcFunc` for it, or `EvtSerializedDpcFunc`"
)]
pub trait EvtDpcFunc: Sized + Send + Sync + 'static {
    /// The device it belongs to.
    type Device: Device;

    /// At DISPATCH. It may overlap itself on another CPU: it can be queued again as soon as it has started.
    fn evt_dpc_func(&self, dev: &Self::Device, at: &mut At<'_, Dispatch>);

    /// EvtObjectCleanup, once, at the end of the stage that the DPC was made in. PASSIVE.
    fn evt_cleanup(&self, at: &mut At<'_, Passive>) {
        let _ = at;
    }
}

/// [`EvtDpcFunc`] with AutomaticSerialization: it takes its turn in the handler's scope, and gets its data.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what its serialized DPC does",
    note = "implement `EvtSerializedDpcFunc` for it"
)]
pub trait EvtSerializedDpcFunc: Serialized<Level: ServesDpc> {
    /// At DISPATCH, under the scope's lock: it overlaps neither itself nor any other callback of the scope.
    fn evt_dpc_func(&self, dev: &Self::Device, data: &mut Self::Data, at: &mut At<'_, Dispatch>);

    /// As [`EvtDpcFunc::evt_cleanup`].
    fn evt_cleanup(&self, at: &mut At<'_, Passive>) {
        let _ = at;
    }
}

#[diagnostic::do_not_recommend]
impl<H: EvtSerializedDpcFunc> EvtDpcFunc for H {
    type Device = <H as Serialized>::Device;

    #[inline(always)]
    fn evt_dpc_func(&self, dev: &<H as Serialized>::Device, at: &mut At<'_, Dispatch>) {
        let scope = ServesDpc::for_dpc(self.scope(dev));
        scope.enter(at, |data, at| EvtSerializedDpcFunc::evt_dpc_func(self, dev, data, at));
    }

    fn evt_cleanup(&self, at: &mut At<'_, Passive>) {
        EvtSerializedDpcFunc::evt_cleanup(self, at);
    }
}

/// A DPC of a device (WDFDPC). One ISR can have several, each with a context of its own: its handler. The framework owns the
/// object; this is the driver's handle.
///
/// ```
/// use framework::prelude::*;
/// # struct Fan { queues: [Dpc<Serve>; 2] }
/// # impl Device for Fan {
/// #     const NAME: &'static str = "fan";
/// #     type Driver = ();
/// #     type Added = ();
/// #     fn prepare_hardware(hw: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
/// Ok(Fan { queues: [hw.dpc(Serve(0)), hw.dpc(Serve(1))] })
/// #     }
/// # }
/// /// Which queue it serves.
/// struct Serve(usize);
/// impl EvtDpcFunc for Serve {
///     type Device = Fan;
///     fn evt_dpc_func(&self, fan: &Fan, at: &mut At<'_, Dispatch>) {
///         fan.queues[1 - self.0].enqueue(at);
///     }
/// }
/// ```
pub struct Dpc<H: EvtDpcFunc>(ke::Dpc<Attached<H, H::Device>>);

impl<H: EvtDpcFunc> Dpc<H> {
    pub(crate) fn new(handler: H) -> Self {
        Dpc(ke::Dpc::new(Attached::new(handler)))
    }

    pub(crate) fn object(&self) -> Arc<dyn AnyObject<H::Device>> {
        Arc::new(Dpc(self.0.clone()))
    }

    /// The handler.
    pub fn handler(&self) -> &H {
        &self.0.routine().handler
    }

    /// WdfDpcEnqueue. `false`: it is queued already and one run will serve both, or the device is not started. Any IRQL.
    #[inline]
    #[track_caller]
    pub fn enqueue<L: Level>(&self, at: &mut At<'_, L>) -> bool {
        self.0.routine().is_open() && self.0.insert(at)
    }

    /// WdfDpcCancel without waiting. `true`: it was queued and will not run; `false`: it is idle, or has started. Any IRQL.
    #[track_caller]
    pub fn cancel<L: Level>(&self, at: &mut At<'_, L>) -> bool {
        self.0.remove(at)
    }

    /// WdfDpcCancel with Wait: as [`Self::cancel`], and when it returns no run that was queued before goes on. PASSIVE.
    #[track_caller]
    pub fn cancel_and_wait<L: MayWait>(&self, at: &mut At<'_, L>) -> bool {
        let cancelled = self.0.remove(at);
        // Also if it was: what was queued before that may still run.
        flush_queued_dpcs(&mut at.as_passive());
        cancelled
    }
}

impl<H: EvtDpcFunc> DpcRoutine for Attached<H, H::Device> {
    #[inline]
    fn run(&self, _: [usize; 2], at: &mut At<'_, Dispatch>) {
        Attached::run(self, at, H::evt_dpc_func);
    }

    fn name() -> &'static str {
        type_name::<H>()
    }
}

impl<H: EvtDpcFunc> Cleanup for Dpc<H> {
    fn cleanup(&self, at: &mut At<'_, Passive>) {
        EvtDpcFunc::evt_cleanup(self.handler(), at);
    }
}

impl<H: EvtDpcFunc> AnyObject<H::Device> for Dpc<H> {
    fn kind(&self) -> &'static str {
        "Dpc"
    }

    fn handler(&self) -> &'static str {
        type_name::<H>()
    }

    fn start(&self, device: &Arc<DeviceObject<H::Device>>, at: &mut At<'_, Passive>) {
        self.0.follow_verifier(at);
        self.0.routine().start(device, at);
    }

    fn stop(&self, at: &mut At<'_, Passive>) {
        self.0.routine().stop(at, |at| self.0.flush(at));
    }
}

impl<H: EvtDpcFunc> fmt::Debug for Dpc<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dpc").field("handler", &type_name::<H>()).finish_non_exhaustive()
    }
}
