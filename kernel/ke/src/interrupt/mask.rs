//! A masked interrupt, as a value: it can be made in an ISR and given up in a DPC.
//!
//! **Invariant:** each value is one mask of one interrupt, undone exactly once, when it is dropped, at whatever level that
//! happens: the interrupt knows its machine while it is connected, and an interrupt that is not connected has nothing to
//! deliver.

use super::{Interrupt, ServiceRoutine, serve};
use crate::{
    at::At,
    dispatch::{self, DispatchRoutine},
    hal::Point,
    level::{Dirql, Level, Passive, irql},
};
use alloc::sync::{Arc, Weak};
use core::{
    fmt,
    panic::Location,
    ptr,
    sync::atomic::Ordering::{AcqRel, Acquire, SeqCst},
};

/// What a [`Masked`] undoes.
pub(crate) trait Maskable: Send + Sync {
    /// One mask less. Any IRQL.
    fn undo_mask(&self);
}

/// An interrupt is masked while this exists; masks count. Dropping it unmasks too.
#[must_use = "dropped here, the interrupt is unmasked at once"]
pub struct Masked {
    interrupt: Weak<dyn Maskable>,
}

impl Masked {
    pub(crate) fn new(interrupt: Arc<dyn Maskable>) -> Self {
        Masked { interrupt: Arc::downgrade(&interrupt) }
    }

    /// Unmasks; what came meanwhile is delivered now. Any IRQL.
    #[track_caller]
    pub fn unmask<L: Level>(self, at: &mut At<'_, L>) {
        at.point(Point::Unmask, ptr::from_ref(&self).addr(), Location::caller());
    }
}

impl Drop for Masked {
    fn drop(&mut self) {
        if let Some(interrupt) = self.interrupt.upgrade() {
            interrupt.undo_mask();
        }
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masked").finish_non_exhaustive()
    }
}

impl<R: ServiceRoutine> Interrupt<R> {
    /// Masks the interrupt while the result lives: its ISR does not start; one that runs is not waited for. Any IRQL.
    #[track_caller]
    pub fn mask<L: Level>(self: &Arc<Self>, at: &mut At<'_, L>) -> Masked {
        at.point(Point::Mask, self.address(), Location::caller());
        self.masks.fetch_add(1, AcqRel);
        self.settle_mask(at);
        Masked::new(self.clone())
    }

    /// Makes head and source agree with the number of masks and whether it is active, whoever else changes these at the
    /// same time.
    pub(super) fn settle_mask<L: Level>(&self, at: &mut At<'_, L>) {
        let mut raised = at.raise_to_dirql(irql::DEVICE_HIGHEST);
        let at = &mut raised.at;
        loop {
            let wishes = (self.masks.load(Acquire) != 0, self.is_connected());
            self.apply_mask(wishes, at);
            if wishes == (self.masks.load(Acquire) != 0, self.is_connected()) {
                return;
            }
        }
    }

    /// What comes to an inactive interrupt is dropped. Masked it masks its own source, but not the line that others are active
    /// on.
    fn apply_mask(&self, (masked, active): (bool, bool), at: &mut At<'_, Dirql>) {
        // SAFETY: above DISPATCH, and the reference ends with this function.
        let Some(attached) = (unsafe { self.attached() }) else { return };
        if !active {
            self.head.set_routine(dispatch::unexpected);
        }
        if masked && (active || attached.line().is_none()) {
            if !attached.source.mask(at) && active {
                self.head.set_routine(dispatch::latch);
            }
            return;
        }
        if active {
            self.head.set_routine(self.routine_for(self.head.level()));
        }
        attached.source.unmask(at);
        if self.head.latched.swap(false, SeqCst) {
            let (cpu, vector) = attached.place();
            at.hal.send_vector(cpu, vector);
        }
    }

    pub(super) fn routine_for(&self, irql: u8) -> DispatchRoutine {
        if self.lock.ceiling() > irql { serve::single_raised::<R> } else { serve::single::<R> }
    }
}

impl<R: ServiceRoutine> Maskable for Interrupt<R> {
    fn undo_mask(&self) {
        self.masks.fetch_sub(1, SeqCst);
        if !self.is_connected() {
            return;
        }
        // SAFETY: set before it was first connected, and it is connected.
        let Some(hal) = (unsafe { *self.machine.get() }) else { return };
        if hal.level().max(hal.task_priority()) == irql::PASSIVE {
            // SAFETY: the run-time level says so.
            self.settle_mask(&mut unsafe { At::<Passive>::mint(hal) });
        } else {
            // SAFETY: raising from here restores CR8 as it is, which is all that a `Dirql` token stands for.
            self.settle_mask(&mut unsafe { At::<Dirql>::mint(hal) });
        }
    }
}
