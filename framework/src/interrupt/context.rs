//! What an interrupt's callbacks are given: their token, and what they may do besides.
//!
//! A context derefs to its token, so `regs.status.read(irq)` and `event.set(irq)` just work.

use super::{
    handler::{EvtDpc, EvtIsr, EvtWorkItem},
    object::{Context, Routine},
};
use crate::Device;
use core::{
    fmt,
    ops::{Deref, DerefMut},
};
use ke::{At, Dispatch, InterruptGuard, LockableFrom, Masked, Passive};

macro_rules! contexts {
    ($($(#[$meta:meta])* $name:ident at $level:ty;)*) => {$(
        $(#[$meta])*
        pub struct $name<'c, H: EvtIsr> {
            at: At<'c, $level>,
            interrupt: &'c ke::Interrupt<Routine<H>>,
            context: &'c Context<H>,
        }

        impl<'c, H: EvtIsr> $name<'c, H> {
            #[inline(always)]
            pub(crate) fn new(
                at: At<'c, $level>,
                interrupt: &'c ke::Interrupt<Routine<H>>,
                context: &'c Context<H>,
            ) -> Self {
                Self { at, interrupt, context }
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
        }

        impl<'c, H: EvtIsr> Deref for $name<'c, H> {
            type Target = At<'c, $level>;
            #[inline(always)]
            fn deref(&self) -> &Self::Target {
                &self.at
            }
        }

        impl<H: EvtIsr> DerefMut for $name<'_, H> {
            #[inline(always)]
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.at
            }
        }

        impl<H: EvtIsr> fmt::Debug for $name<'_, H> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("message", &self.message()).finish_non_exhaustive()
            }
        }
    )*};
}
contexts! {
    /// In the ISR and the enable and disable callbacks: at the interrupt's level, with its lock held. The state is the
    /// callback's argument, so there is no `synchronize` here.
    IsrCx at H::Level;
    /// In the DPC: at DISPATCH.
    DpcCx at Dispatch;
    /// In the work item: at PASSIVE.
    WorkCx at Passive;
}

// Written out for each context, not by a macro: rustc's messages for a refused call then point at the driver alone.

impl<H: EvtIsr> IsrCx<'_, H> {
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

impl<'c, H: EvtIsr> DpcCx<'c, H> {
    /// Queues this DPC again. `false`: it is queued again already.
    #[inline]
    #[track_caller]
    pub fn queue_dpc(&mut self) -> bool
    where
        H: EvtDpc,
    {
        self.interrupt.queue_dpc(&mut self.at)
    }

    /// WdfInterruptSynchronize: runs `f` in the interrupt's critical section, which excludes the ISRs of the whole set
    /// on all CPUs, and returns what it returns.
    #[inline(always)]
    #[track_caller]
    pub fn synchronize<R>(&mut self, f: impl FnOnce(&mut H::State, &mut At<'_, H::Level>) -> R) -> R
    where
        H::Level: LockableFrom<Dispatch>,
    {
        self.interrupt.lock().synchronize(&mut self.at, f)
    }

    /// WdfInterruptAcquireLock: the same critical section, until the guard drops.
    #[inline(always)]
    #[track_caller]
    pub fn acquire_lock(&mut self) -> InterruptGuard<'_, H::State, H::Level>
    where
        H::Level: LockableFrom<Dispatch>,
    {
        self.interrupt.lock().acquire(&mut self.at)
    }
}

impl<'c, H: EvtIsr> WorkCx<'c, H> {
    /// Queues this work item again. `false`: it is queued again already.
    #[inline]
    #[track_caller]
    pub fn queue_work_item(&mut self) -> bool
    where
        H: EvtWorkItem,
    {
        self.interrupt.queue_work_item(&mut self.at)
    }

    /// WdfInterruptSynchronize: runs `f` in the interrupt's critical section, which excludes the ISRs of the whole set
    /// on all CPUs, and returns what it returns.
    #[inline]
    #[track_caller]
    pub fn synchronize<R>(&mut self, f: impl FnOnce(&mut H::State, &mut At<'_, H::Level>) -> R) -> R {
        self.interrupt.lock().synchronize(&mut self.at, f)
    }

    /// WdfInterruptAcquireLock: the same critical section, until the guard drops.
    #[inline]
    #[track_caller]
    pub fn acquire_lock(&mut self) -> InterruptGuard<'_, H::State, H::Level> {
        self.interrupt.lock().acquire(&mut self.at)
    }
}
