//! What an interrupt's callbacks are given: their token, and what they may do besides.
//!
//! One type for all three, which differ by where they run: [`InIsr`], [`InDpc`], [`InWorkItem`]. A context derefs to its token,
//! so `regs.status.read(irq)` and `event.set(irq)` just work.

use super::{
    handler::{EvtDpc, EvtIsr, EvtWorkItem},
    object::{Context, Routine},
};
use crate::{Device, Scope, ScopeLevel};
use core::{
    any::type_name,
    fmt,
    ops::{Deref, DerefMut},
};
use ke::{At, Dispatch, InterruptGuard, Level, LockableFrom, Masked, Passive};

/// In the ISR and the enable and disable callbacks: at the interrupt's level, with its lock held. The state is the callback's
/// argument, so there is no `synchronize` here.
pub type IsrCx<'c, H> = CallbackCx<'c, H, InIsr>;
/// In the DPC: at DISPATCH.
pub type DpcCx<'c, H> = CallbackCx<'c, H, InDpc>;
/// In the work item: at PASSIVE.
pub type WorkCx<'c, H> = CallbackCx<'c, H, InWorkItem>;

/// In a callback of an interrupt of `H`: see [`IsrCx`], [`DpcCx`] and [`WorkCx`].
pub struct CallbackCx<'c, H: EvtIsr, K: Callback<H>> {
    at: At<'c, K::Level>,
    interrupt: &'c ke::Interrupt<Routine<H>>,
    context: &'c Context<H>,
}

/// The ISR, and the enable and disable callbacks.
#[derive(Debug)]
pub enum InIsr {}
/// The DPC.
#[derive(Debug)]
pub enum InDpc {}
/// The work item.
#[derive(Debug)]
pub enum InWorkItem {}

/// Which callback of an interrupt of `H`.
pub trait Callback<H: EvtIsr>: sealed::Sealed {
    /// Where it runs.
    type Level: Level;
}

/// A callback that continues after the ISR: it does not hold the interrupt's lock.
pub trait AfterIsr: sealed::Sealed {}

impl<H: EvtIsr> Callback<H> for InIsr {
    type Level = H::Level;
}
impl<H: EvtIsr> Callback<H> for InDpc {
    type Level = Dispatch;
}
impl<H: EvtIsr> Callback<H> for InWorkItem {
    type Level = Passive;
}
impl AfterIsr for InDpc {}
impl AfterIsr for InWorkItem {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::InIsr {}
    impl Sealed for super::InDpc {}
    impl Sealed for super::InWorkItem {}
}

impl<'c, H: EvtIsr, K: Callback<H>> CallbackCx<'c, H, K> {
    #[inline(always)]
    pub(crate) fn new(at: At<'c, K::Level>, interrupt: &'c ke::Interrupt<Routine<H>>, context: &'c Context<H>) -> Self {
        CallbackCx { at, interrupt, context }
    }

    /// Runs `f` in `scope`: in the same context, made of the token that the scope's lock gives.
    #[inline(always)]
    pub(crate) fn in_scope<T: Send>(
        &mut self,
        scope: &Scope<T, K::Level>,
        f: impl FnOnce(&mut T, &mut CallbackCx<'_, H, K>),
    ) where
        K::Level: ScopeLevel,
    {
        let (interrupt, context) = (self.interrupt, self.context);
        scope.enter(&mut self.at, |data, at| f(data, &mut CallbackCx::new(at.reborrow(), interrupt, context)));
    }

    /// The number of the message or line that this interrupt is bound to, from 0.
    pub fn message(&self) -> u16 {
        self.interrupt.routine().number
    }

    /// What `device_add` built.
    pub fn added(&self) -> &'c <H::Device as Device>::Added {
        &self.context.device.added.added
    }

    /// Keeps the interrupt from arriving until the value is unmasked or dropped (counted).
    #[track_caller]
    pub fn mask(&mut self) -> Masked {
        self.context.this.mask(&mut self.at)
    }

    /// WdfInterruptQueueDpcForIsr. `false`: it is queued already and has not started; one run will serve both.
    #[inline(always)]
    #[track_caller]
    pub fn queue_dpc(&mut self) -> bool
    where
        H: EvtDpc,
    {
        self.interrupt.queue_dpc(&mut self.at)
    }

    /// WdfInterruptQueueWorkItemForIsr. `false`: it is queued already and has not started; one run will serve both.
    #[inline(always)]
    #[track_caller]
    pub fn queue_work_item(&mut self) -> bool
    where
        H: EvtWorkItem,
    {
        self.interrupt.queue_work_item(&mut self.at)
    }
}

impl<H: EvtIsr, K: Callback<H> + AfterIsr> CallbackCx<'_, H, K> {
    /// WdfInterruptSynchronize: runs `f` in the interrupt's critical section, which excludes the ISRs of the whole set
    /// on all CPUs, and returns what it returns.
    #[inline(always)]
    #[track_caller]
    pub fn synchronize<R>(&mut self, f: impl FnOnce(&mut H::State, &mut At<'_, H::Level>) -> R) -> R
    where
        H::Level: LockableFrom<K::Level>,
    {
        self.interrupt.lock().synchronize(&mut self.at, f)
    }

    /// WdfInterruptAcquireLock: the same critical section, until the guard drops.
    #[inline(always)]
    #[track_caller]
    pub fn acquire_lock(&mut self) -> InterruptGuard<'_, H::State, H::Level>
    where
        H::Level: LockableFrom<K::Level>,
    {
        self.interrupt.lock().acquire(&mut self.at)
    }
}

impl<H: EvtIsr> CallbackCx<'_, H, InIsr> {
    #[doc(hidden)]
    pub fn synchronize<R>(&mut self, _: impl FnOnce(&mut H::State, &mut At<'_, H::Level>) -> R) -> R
    where
        H: NotInItsOwnIsr,
    {
        unreachable!("no type implements `NotInItsOwnIsr`")
    }

    #[doc(hidden)]
    pub fn acquire_lock(&mut self) -> InterruptGuard<'_, H::State, H::Level>
    where
        H: NotInItsOwnIsr,
    {
        unreachable!("no type implements `NotInItsOwnIsr`")
    }
}

/// Never implemented: the bound of methods that exist on an [`IsrCx`] only to say why they cannot be called.
#[diagnostic::on_unimplemented(
    message = "the ISR of `{Self}` already holds its interrupt lock",
    label = "would deadlock on itself",
    note = "the state is the `state` argument of this callback; for another interrupt's state use `synchronize_nested`"
)]
pub trait NotInItsOwnIsr {}

impl<'c, H: EvtIsr, K: Callback<H>> Deref for CallbackCx<'c, H, K> {
    type Target = At<'c, K::Level>;
    #[inline(always)]
    fn deref(&self) -> &Self::Target {
        &self.at
    }
}

impl<H: EvtIsr, K: Callback<H>> DerefMut for CallbackCx<'_, H, K> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.at
    }
}

impl<H: EvtIsr, K: Callback<H>> fmt::Debug for CallbackCx<'_, H, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let callback = type_name::<K>();
        f.debug_struct("CallbackCx")
            .field("callback", &callback)
            .field("message", &self.message())
            .finish_non_exhaustive()
    }
}
