//! What a driver implements for an interrupt.

use crate::{Device, DpcCx, IsrCx, Result, WorkCx};
use ke::{At, Claim, IsrLevel, Passive, StormCause};

/// EvtInterruptIsr, with the enable and disable callbacks. All three run inside the interrupt's critical section: at
/// the synchronize IRQL of its lock's set, with the lock held, the ISRs of the whole set excluded on every CPU.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an interrupt handler",
    note = "implement `EvtIsr` for `{Self}`"
)]
pub trait EvtIsr: Sized + Send + Sync + 'static {
    /// The device whose interrupt this serves.
    type Device: Device;
    /// What lives behind the interrupt lock.
    type State: Send + 'static;
    /// [`Dirql`](ke::Dirql); or [`Passive`], then the lock is a wait lock and the ISR may block.
    type Level: IsrLevel;
    /// Who continues after the ISR: [`ByDpc`], [`ByWorkItem`], or [`Nothing`]. Never two of them: that is KMDF's rule.
    type Deferred: Deferral<Self>;

    /// The device may have interrupted. Says whether it did, quiets it if so, notes what happened in `state` and
    /// queues what remains. `self` is this interrupt's own context: which queue, which message.
    fn evt_isr(&self, dev: &Self::Device, state: &mut Self::State, irq: &mut IsrCx<'_, Self>) -> Claim;

    /// EvtInterruptEnable: lets the device interrupt. The ISR is connected already.
    fn evt_enable(&self, dev: &Self::Device, state: &mut Self::State, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        let _ = (dev, state, irq);
        Ok(())
    }

    /// The interrupt was masked for good, because nobody claims it or it leaves its CPU no time; a device whose message cannot
    /// be masked was cut off from the bus, until it is started anew. The console knows, and the device counts as failed. At
    /// DISPATCH, without the lock.
    fn evt_storm(&self, dev: &Self::Device, cause: StormCause, irq: &mut DpcCx<'_, Self>) {
        let _ = (dev, cause, irq);
    }

    /// EvtInterruptDisable: stops the device from interrupting. Not called for a device that is gone. An error does not keep
    /// the interrupt connected: it is reported by whoever disables, powers down, stops or removes.
    fn evt_disable(&self, dev: &Self::Device, state: &mut Self::State, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        let _ = (dev, state, irq);
        Ok(())
    }

    /// EvtObjectCleanup, once, at the end of the stage that the interrupt was made in. PASSIVE; without the lock.
    fn evt_cleanup(&self, at: &mut At<'_, Passive>) {
        let _ = at;
    }
}

/// EvtInterruptDpc: continues after the ISR, at DISPATCH. [`EvtSerializedDpc`](crate::EvtSerializedDpc) is its serialized twin.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no DPC",
    label = "`{Self}` does not implement `EvtDpc`",
    note = "implement `EvtDpc` for `{Self}`, with `type Deferred = ByDpc`, to be able to queue it"
)]
pub trait EvtDpc: EvtIsr<Deferred = ByDpc> {
    /// Runs once for any number of `queue_dpc` before it starts. May overlap itself on another CPU.
    fn evt_dpc(&self, dev: &Self::Device, irq: &mut DpcCx<'_, Self>);
}

/// EvtInterruptWorkItem: continues after the ISR, at PASSIVE, where it may wait.
/// [`EvtSerializedWorkItem`](crate::EvtSerializedWorkItem) is its serialized twin.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no work item",
    label = "`{Self}` does not implement `EvtWorkItem`",
    note = "implement `EvtWorkItem` for `{Self}`, with `type Deferred = ByWorkItem`, to be able to queue it"
)]
pub trait EvtWorkItem: EvtIsr<Deferred = ByWorkItem> {
    /// Runs once for any number of `queue_work_item` before it starts. May overlap itself.
    fn evt_work_item(&self, dev: &Self::Device, irq: &mut WorkCx<'_, Self>);
}

/// The ISR queues its DPC.
#[derive(Debug)]
pub enum ByDpc {}
/// The ISR queues its work item.
#[derive(Debug)]
pub enum ByWorkItem {}
/// The ISR does everything.
#[derive(Debug)]
pub enum Nothing {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ByDpc {}
    impl Sealed for super::ByWorkItem {}
    impl Sealed for super::Nothing {}
}

/// How the handler `H` continues after its ISR: [`ByDpc`] for one that implements [`EvtDpc`] or its serialized twin,
/// [`ByWorkItem`] for one that implements [`EvtWorkItem`] or its twin, [`Nothing`] for any.
pub trait Deferral<H: EvtIsr>: sealed::Sealed {
    /// Runs the DPC of `handler`, if it is how it continues.
    #[doc(hidden)]
    fn dpc(handler: &H, dev: &H::Device, irq: &mut DpcCx<'_, H>) {
        let _ = (handler, dev, irq);
    }

    /// Runs the work item of `handler`, if it is how it continues.
    #[doc(hidden)]
    fn work_item(handler: &H, dev: &H::Device, irq: &mut WorkCx<'_, H>) {
        let _ = (handler, dev, irq);
    }
}

/// Says, in rustc's messages, what a handler that says [`ByDpc`] lacks.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` says `ByDpc`, but implements neither `EvtDpc` nor `EvtSerializedDpc`",
    label = "who runs after the ISR?",
    note = "a handler without deferred work says `type Deferred = Nothing`"
)]
pub trait HasDpc: EvtDpc {}
#[diagnostic::do_not_recommend]
impl<H: EvtDpc> HasDpc for H {}

/// Says, in rustc's messages, what a handler that says [`ByWorkItem`] lacks.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` says `ByWorkItem`, but implements neither `EvtWorkItem` nor `EvtSerializedWorkItem`",
    label = "who runs after the ISR?",
    note = "a handler without deferred work says `type Deferred = Nothing`"
)]
pub trait HasWorkItem: EvtWorkItem {}
#[diagnostic::do_not_recommend]
impl<H: EvtWorkItem> HasWorkItem for H {}

impl<H: HasDpc> Deferral<H> for ByDpc {
    #[inline(always)]
    fn dpc(handler: &H, dev: &H::Device, irq: &mut DpcCx<'_, H>) {
        handler.evt_dpc(dev, irq);
    }
}

impl<H: HasWorkItem> Deferral<H> for ByWorkItem {
    #[inline(always)]
    fn work_item(handler: &H, dev: &H::Device, irq: &mut WorkCx<'_, H>) {
        handler.evt_work_item(dev, irq);
    }
}

impl<H: EvtIsr> Deferral<H> for Nothing {}
