//! A driver's handle to its interrupt.

use super::{
    handler::{EvtDpc, EvtIsr, EvtWorkItem},
    info::Info,
    object::Object,
};
use crate::Result;
use alloc::sync::Arc;
use core::{any::type_name, fmt};
use io::{Affinity, Grant, Policy};
use ke::{
    At, AtMost, CanTry, Dirql, Dispatch, InterruptGuard, InterruptLock, Level, LockableFrom, Masked, MayWait, Nested,
};

/// A driver's handle to its interrupt (WDFINTERRUPT). The framework owns the object. Not `Clone`: put it in the device.
pub struct Interrupt<H: EvtIsr>(pub(super) Arc<Object<H>>);

impl<H: EvtIsr> Interrupt<H> {
    /// WdfInterruptAcquireLock: raises to the set's ceiling and excludes its ISRs on all CPUs until the guard drops.
    /// It always does, connected or not.
    #[inline]
    #[track_caller]
    pub fn acquire_lock<'a, C: Level>(&'a self, at: &'a mut At<'_, C>) -> InterruptGuard<'a, H::State, H::Level>
    where
        H::Level: LockableFrom<C>,
    {
        self.0.interrupt.lock().acquire(at)
    }

    /// WdfInterruptSynchronize: runs `f` in that critical section and returns what it returns.
    #[inline]
    #[track_caller]
    pub fn synchronize<C: Level, R>(
        &self,
        at: &mut At<'_, C>,
        f: impl FnOnce(&mut H::State, &mut At<'_, H::Level>) -> R,
    ) -> R
    where
        H::Level: LockableFrom<C>,
    {
        self.0.interrupt.lock().synchronize(at, f)
    }

    /// WdfInterruptTryToAcquireLock: `None` when it is taken. PASSIVE, and passive-level interrupts only.
    #[track_caller]
    pub fn try_acquire_lock<'a, C: MayWait>(
        &'a self,
        at: &'a mut At<'_, C>,
    ) -> Option<InterruptGuard<'a, H::State, H::Level>>
    where
        H::Level: CanTry,
    {
        self.0.interrupt.lock().try_acquire(at)
    }

    /// KeSynchronizeExecution on a higher interrupt: from an ISR, or inside another lock, onto this lock if its ceiling
    /// is strictly above the current IRQL.
    #[track_caller]
    pub fn synchronize_nested<R>(
        &self,
        at: &mut At<'_, Dirql>,
        f: impl FnOnce(&mut H::State, &mut At<'_, Dirql>) -> R,
    ) -> Result<R, Nested>
    where
        H: EvtIsr<Level = Dirql>,
    {
        self.0.interrupt.lock().synchronize_nested(at, f)
    }

    /// The lock, to make other interrupts members of the same set.
    pub fn lock(&self) -> &InterruptLock<H::State, H::Level> {
        self.0.interrupt.lock()
    }

    /// The handler.
    pub fn handler(&self) -> &H {
        &self.0.interrupt.routine().handler
    }

    /// WdfInterruptQueueDpcForIsr. `false`: queued already, or not connected. Any IRQL.
    #[inline]
    #[track_caller]
    pub fn queue_dpc<L: Level>(&self, at: &mut At<'_, L>) -> bool
    where
        H: EvtDpc,
    {
        self.0.interrupt.queue_dpc(at)
    }

    /// WdfInterruptQueueWorkItemForIsr. `false`: queued already, or not connected. Any IRQL.
    #[inline]
    #[track_caller]
    pub fn queue_work_item<L: Level>(&self, at: &mut At<'_, L>) -> bool
    where
        H: EvtWorkItem,
    {
        self.0.interrupt.queue_work_item(at)
    }

    /// Keeps the interrupt from arriving until the value is unmasked or dropped (counted). What comes meanwhile is
    /// delivered then. Any IRQL: mask in the ISR, keep the value in the state, unmask in the DPC.
    #[track_caller]
    pub fn mask<L: Level>(&self, at: &mut At<'_, L>) -> Masked {
        self.0.interrupt.mask(at)
    }

    /// WdfInterruptDisable: the disable callback, then disconnected, and so over low power and restarts until
    /// [`Self::enable`]. An error is the callback's, or the source's that could not be switched off: it is disconnected all the
    /// same. On a device that is not pageable it stays connected, inactive. PASSIVE. [`Status::OwnCallback`](crate::Status::OwnCallback): from the interrupt's
    /// own work item or passive-level ISR, which this waits for.
    #[track_caller]
    pub fn disable<L: MayWait>(&self, at: &mut At<'_, L>) -> Result<()> {
        self.0.disable(&mut at.as_passive())
    }

    /// WdfInterruptEnable: connected again, then the enable callback, unless it is enabled already; while the device sleeps,
    /// when it wakes. PASSIVE. [`Status::OwnCallback`](crate::Status::OwnCallback): from the interrupt's own callbacks.
    #[track_caller]
    pub fn enable<L: MayWait>(&self, at: &mut At<'_, L>) -> Result<()> {
        self.0.enable(&mut at.as_passive())
    }

    /// WdfInterruptReportInactive: stays connected, and reaches nobody until [`Self::report_active`] or the device's next D0.
    /// When it returns, no ISR, DPC or work item of it runs. Neither the disable nor the enable callback is called: quiet the
    /// device first. `false`: it was inactive, or is not connected. PASSIVE (KMDF allows DISPATCH, and waits for nothing); not
    /// from the interrupt's own callbacks.
    #[track_caller]
    pub fn report_inactive<L: MayWait>(&self, at: &mut At<'_, L>) -> bool {
        self.0.interrupt.report_inactive(&mut at.as_passive())
    }

    /// WdfInterruptReportActive: what comes reaches the ISR again; let the device interrupt after it. `false`: it is not
    /// connected. PASSIVE; not from the interrupt's own callbacks.
    #[track_caller]
    pub fn report_active<L: MayWait>(&self, at: &mut At<'_, L>) -> bool {
        self.0.interrupt.report_active(&mut at.as_passive())
    }

    /// WdfInterruptSetExtendedPolicy on a connected interrupt: moves it to a CPU of `affinity` while it fires, and says where it
    /// is now. Nothing is lost; the ISR may be asked once for nothing. A line moves with all who share it. On an error it stays
    /// where it is. After a restart the policy of its creation counts again. PASSIVE; not from the interrupt's own callbacks.
    ///
    /// Errors: it is not connected, or not active; no vector is free there; it is one of several messages of an MSI function,
    /// which are one block; it is a message whose ISR runs at PASSIVE.
    #[track_caller]
    pub fn set_affinity<L: MayWait>(&self, at: &mut At<'_, L>, affinity: &Affinity) -> Result<Grant> {
        self.0.set_affinity(affinity, &mut at.as_passive())
    }

    /// Lets the interrupt through again after a storm; what came meanwhile is delivered now. A device that was cut off has to
    /// be started anew; a line is forgiven with all who share it ([`Pnp::forgive_line`](crate::Pnp::forgive_line)). Any IRQL.
    #[track_caller]
    pub fn forgive<L: Level>(&self, at: &mut At<'_, L>) {
        self.0.interrupt.forgive(at);
    }

    /// WdfInterruptGetInfo: what it was given; `None` before the bus has assigned it something and after the device's stop.
    /// IRQL <= DISPATCH.
    pub fn info<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> Option<Info> {
        self.0.info(at)
    }

    /// What was asked for at creation (WdfInterruptSetExtendedPolicy); [`Self::info`] says what was granted.
    pub fn policy(&self) -> &Policy {
        &self.0.interrupt.routine().wishes.policy
    }
}

impl<H: EvtIsr> fmt::Debug for Interrupt<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (handler, number) = (type_name::<H>(), self.0.interrupt.routine().number);
        f.debug_struct("Interrupt").field("handler", &handler).field("number", &number).finish_non_exhaustive()
    }
}
