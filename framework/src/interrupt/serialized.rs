//! Serialized DPCs and work items of interrupts: they take their turn in a [`Scope`](crate::Scope), and get its data.
//!
//! Each feeds the plain trait by a blanket impl. So who queues one, and the core that runs it, see no difference; a handler that
//! has both does not compile; and what the scope's lock cannot serve does not either.

use super::handler::{ByDpc, ByWorkItem, EvtDpc, EvtIsr, EvtWorkItem};
use crate::{DpcCx, Serialized, ServesDpc, ServesWorkItem, WorkCx};

/// EvtInterruptDpc with AutomaticSerialization: as [`EvtDpc`], at DISPATCH, under the lock of the handler's scope. It overlaps
/// neither itself nor any other callback of the scope.
///
/// ```
/// use framework::prelude::*;
/// # struct Nic { rings: Scope<Vec<u8>> }
/// # impl Device for Nic {
/// #     const NAME: &'static str = "nic";
/// #     type Driver = ();
/// #     type Added = ();
/// #     fn prepare_hardware(_: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
/// #         Ok(Nic { rings: Scope::new(Vec::new()) })
/// #     }
/// # }
/// # impl EvtIsr for NicInterrupt {
/// #     type Device = Nic;
/// #     type State = ();
/// #     type Level = Dirql;
/// #     type Deferred = ByDpc;
/// #     fn evt_isr(&self, _: &Nic, _: &mut (), irq: &mut IsrCx<'_, Self>) -> Claim {
/// #         irq.queue_dpc();
/// #         Claim::Mine
/// #     }
/// # }
/// struct NicInterrupt;
/// impl Serialized for NicInterrupt {
///     type Device = Nic;
///     type Data = Vec<u8>;
///     type Level = Dispatch;
///     fn scope<'a>(&'a self, nic: &'a Nic) -> &'a Scope<Vec<u8>> {
///         &nic.rings
///     }
/// }
/// impl EvtSerializedDpc for NicInterrupt {
///     fn evt_dpc(&self, _: &Nic, rings: &mut Vec<u8>, _: &mut DpcCx<'_, Self>) {
///         rings.clear();
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no serialized DPC",
    label = "`{Self}` does not implement `EvtSerializedDpc`",
    note = "implement `EvtSerializedDpc` for `{Self}`, with `type Deferred = ByDpc`"
)]
pub trait EvtSerializedDpc:
    EvtIsr<Deferred = ByDpc> + Serialized<Device = <Self as EvtIsr>::Device, Level: ServesDpc>
{
    /// Runs once for any number of `queue_dpc` before it starts, alone with the scope's data.
    fn evt_dpc(&self, dev: &<Self as EvtIsr>::Device, data: &mut Self::Data, irq: &mut DpcCx<'_, Self>);
}

/// EvtInterruptWorkItem with AutomaticSerialization: as [`EvtWorkItem`], at PASSIVE, under the lock of the handler's scope. It
/// overlaps neither itself nor any other callback of the scope.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no serialized work item",
    label = "`{Self}` does not implement `EvtSerializedWorkItem`",
    note = "implement `EvtSerializedWorkItem` for `{Self}`, with `type Deferred = ByWorkItem`"
)]
pub trait EvtSerializedWorkItem:
    EvtIsr<Deferred = ByWorkItem> + Serialized<Device = <Self as EvtIsr>::Device, Level: ServesWorkItem>
{
    /// Runs once for any number of `queue_work_item` before it starts, alone with the scope's data.
    fn evt_work_item(&self, dev: &<Self as EvtIsr>::Device, data: &mut Self::Data, irq: &mut WorkCx<'_, Self>);
}

#[diagnostic::do_not_recommend]
impl<H: EvtSerializedDpc> EvtDpc for H {
    #[inline(always)]
    fn evt_dpc(&self, dev: &<H as EvtIsr>::Device, irq: &mut DpcCx<'_, H>) {
        let scope = ServesDpc::for_dpc(self.scope(dev));
        irq.in_scope(scope, |data, irq| EvtSerializedDpc::evt_dpc(self, dev, data, irq));
    }
}

#[diagnostic::do_not_recommend]
impl<H: EvtSerializedWorkItem> EvtWorkItem for H {
    #[inline(always)]
    fn evt_work_item(&self, dev: &<H as EvtIsr>::Device, irq: &mut WorkCx<'_, H>) {
        let scope = ServesWorkItem::for_work_item(self.scope(dev));
        irq.in_scope(scope, |data, irq| EvtSerializedWorkItem::evt_work_item(self, dev, data, irq));
    }
}
