//! A masked interrupt, as a value: it can be made in an ISR and given up in a DPC.
//!
//! The masks share a [`Gate`] with their interrupt: what it is connected to, and so what is to be changed when it is masked:
//! the source, or the dispatch word of its head where the source cannot mask and the core latches what comes.
//!
//! **Invariant:** each value is one mask of one interrupt, undone exactly once, when it is dropped, at whatever level that
//! happens: the gate knows its machine while the interrupt is connected, and an interrupt that is not connected has nothing to
//! deliver.
//!
//! **Invariant:** whoever changes head or source looks afterwards whether what they were changed for still holds: the last
//! of several leaves them as all together want them.

use super::{Interrupt, ServiceRoutine, connect::Attached};
use crate::{
    at::At,
    dispatch,
    hal::{HalRef, Point},
    level::{Dirql, Level, Passive, irql},
};
use alloc::{boxed::Box, sync::Arc};
use core::{
    cell::UnsafeCell,
    fmt, mem,
    panic::Location,
    ptr,
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32,
        Ordering::{AcqRel, Acquire, SeqCst},
    },
};

/// An interrupt is masked while this exists; masks count. Dropping it unmasks too.
#[must_use = "dropped here, the interrupt is unmasked at once"]
pub struct Masked {
    /// None once it is undone.
    gate: Option<Arc<Gate>>,
}

impl Masked {
    /// Unmasks; what came meanwhile is delivered now. Any IRQL.
    #[inline(always)]
    #[track_caller]
    pub fn unmask<L: Level>(mut self, at: &mut At<'_, L>) {
        at.point(Point::Unmask, ptr::from_ref(&self).addr(), Location::caller());
        if let Some(gate) = self.gate.take() {
            gate.open(at);
        }
    }
}

impl Drop for Masked {
    #[inline]
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.open_anywhere();
        }
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masked").finish_non_exhaustive()
    }
}

/// What an interrupt shares with its masks, which may outlive it.
pub(super) struct Gate {
    masks: AtomicU32,
    /// Whether the interrupt is connected and active.
    active: AtomicBool,
    /// Null while it is not connected. Read at DISPATCH or above; freed after a barrier.
    attached: AtomicPtr<Attached>,
    /// Some once it has been connected; used only while it is.
    machine: UnsafeCell<Option<HalRef<'static>>>,
}

// SAFETY: the reference to the machine is stored while nobody can reach it, and used where the machine's own code runs alone;
// everything else is shared by its own rules.
unsafe impl Sync for Gate {}
// SAFETY: as above.
unsafe impl Send for Gate {}

impl Gate {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Gate {
            masks: AtomicU32::new(0),
            active: AtomicBool::new(false),
            attached: AtomicPtr::default(),
            machine: UnsafeCell::new(None),
        })
    }

    /// # Safety
    /// Nothing is attached, and the registry's lock is held. The machine is there until the registry abandons the interrupt.
    pub(super) unsafe fn attach(&self, hal: HalRef<'_>, attached: Attached) {
        // SAFETY: by the contract nobody else reaches it.
        unsafe { *self.machine.get() = Some(mem::transmute::<HalRef<'_>, HalRef<'static>>(hal)) };
        self.replace(Some(attached));
    }

    /// Gives what was attached: for the caller to free after a barrier.
    pub(super) fn replace(&self, attached: Option<Attached>) -> Option<Box<Attached>> {
        let new = attached.map_or(ptr::null_mut(), |attached| Box::into_raw(Box::new(attached)));
        let old = self.attached.swap(new, AcqRel);
        // SAFETY: made above, and nobody else takes it out.
        (!old.is_null()).then(|| unsafe { Box::from_raw(old) })
    }

    pub(super) fn is_attached(&self) -> bool {
        !self.attached.load(Acquire).is_null()
    }

    /// What the interrupt is connected to.
    ///
    /// # Safety
    /// The caller is at DISPATCH or above until it lets the reference go: then the barrier of `disconnect` waits for it.
    #[inline(always)]
    pub(super) unsafe fn attached(&self) -> Option<&Attached> {
        // SAFETY: by the contract.
        unsafe { self.attached.load(Acquire).as_ref() }
    }

    /// As `connected` of the interrupt changes. The caller settles.
    pub(super) fn set_active(&self, active: bool) {
        self.active.store(active, SeqCst);
    }

    pub(super) fn is_masked(&self) -> bool {
        self.masks.load(SeqCst) != 0
    }

    /// One mask less of an interrupt that is not connected.
    pub(super) fn forget_mask(&self) {
        self.masks.fetch_sub(1, SeqCst);
    }

    /// One mask more.
    #[inline(always)]
    pub(super) fn close<L: Level>(&self, at: &mut At<'_, L>) {
        self.masks.fetch_add(1, SeqCst);
        if L::IRQL >= irql::DISPATCH {
            // SAFETY: at DISPATCH or above.
            unsafe { self.latch(at) };
        } else {
            // SAFETY: `L` is below DISPATCH, so it is `Passive`, and `at` is borrowed for as long as this token lives.
            let mut at = unsafe { At::<Passive>::mint(at.hal) };
            // SAFETY: raised to DISPATCH.
            unsafe { self.latch(&mut at.raise_to_dispatch().at) };
        }
    }

    /// One mask less.
    #[inline(always)]
    pub(super) fn open<L: Level>(&self, at: &mut At<'_, L>) {
        if self.masks.fetch_sub(1, SeqCst) != 1 {
            return;
        }
        if L::IRQL >= irql::DISPATCH {
            // SAFETY: at DISPATCH or above.
            unsafe { self.unlatch(at) };
        } else {
            // SAFETY: as in `close`.
            let mut at = unsafe { At::<Passive>::mint(at.hal) };
            // SAFETY: raised to DISPATCH.
            unsafe { self.unlatch(&mut at.raise_to_dispatch().at) };
        }
    }

    /// As [`Self::open`], by the run-time level.
    fn open_anywhere(&self) {
        // SAFETY: set before it was first connected; used while it is, below.
        let machine = unsafe { *self.machine.get() };
        let Some(hal) = machine.filter(|_| self.active.load(SeqCst)) else { return self.forget_mask() };
        if hal.level().max(hal.task_priority()) == irql::PASSIVE {
            // SAFETY: the run-time level says so.
            self.open(&mut unsafe { At::<Passive>::mint(hal) });
        } else {
            // SAFETY: raising from here restores CR8 as it is, which is all that a `Dirql` token stands for.
            self.open(&mut unsafe { At::<Dirql>::mint(hal) });
        }
    }

    /// In a line: latches where the source cannot mask. The caller holds a mask.
    ///
    /// # Safety
    /// At DISPATCH or above.
    #[inline(always)]
    unsafe fn latch<L: Level>(&self, at: &mut At<'_, L>) {
        // SAFETY: by the contract, and the reference ends with this function.
        let Some(attached) = (unsafe { self.attached() }) else { return };
        if attached.latches {
            attached.head().set_routine(dispatch::latch);
            if self.active.load(SeqCst) {
                return;
            }
        }
        self.settle(at);
    }

    /// In a line: undoes [`Self::latch`] and replays. The caller gave up the last mask.
    ///
    /// # Safety
    /// At DISPATCH or above.
    #[inline(always)]
    unsafe fn unlatch<L: Level>(&self, at: &mut At<'_, L>) {
        // SAFETY: by the contract, and the reference ends with this function.
        let Some(attached) = (unsafe { self.attached() }) else { return };
        if attached.latches && self.active.load(SeqCst) {
            attached.head().set_routine(attached.routine);
            attached.replay(at.hal);
            if !self.is_masked() && self.active.load(SeqCst) {
                return;
            }
        }
        self.settle(at);
    }

    /// Makes head and source agree with the number of masks and whether it is active, whoever else changes these at the
    /// same time.
    #[cold]
    #[inline(never)]
    pub(super) fn settle<L: Level>(&self, at: &mut At<'_, L>) {
        let mut raised = at.raise_to_dirql(irql::DEVICE_HIGHEST);
        let at = &mut raised.at;
        let wishes = || (self.is_masked(), self.active.load(SeqCst));
        loop {
            let now = wishes();
            self.apply(now, at);
            if now == wishes() {
                return;
            }
        }
    }

    /// What comes to an inactive interrupt is dropped. Masked it masks its own source, but not the line that others are active
    /// on.
    fn apply(&self, (masked, active): (bool, bool), at: &mut At<'_, Dirql>) {
        // SAFETY: above DISPATCH, and the reference ends with this function.
        let Some(attached) = (unsafe { self.attached() }) else { return };
        if !active {
            attached.head().set_routine(dispatch::unexpected);
            attached.head().latched.store(false, SeqCst);
        }
        if masked && (active || attached.line().is_none()) {
            if !attached.source.mask(at) && active {
                attached.head().set_routine(dispatch::latch);
            }
            return;
        }
        if active {
            attached.head().set_routine(attached.routine);
        }
        attached.source.unmask(at);
        attached.replay(at.hal);
    }
}

impl Attached {
    /// Delivers what was latched.
    #[inline(always)]
    fn replay(&self, hal: HalRef<'_>) {
        if self.head().latched.swap(false, SeqCst) {
            self.send_again(hal);
        }
    }

    #[cold]
    fn send_again(&self, hal: HalRef<'_>) {
        let (cpu, vector) = self.place();
        hal.send_vector(cpu, vector);
    }
}

impl<R: ServiceRoutine> Interrupt<R> {
    /// Masks the interrupt while the result lives: its ISR does not start; one that runs is not waited for. Any IRQL.
    #[inline]
    #[track_caller]
    pub fn mask<L: Level>(&self, at: &mut At<'_, L>) -> Masked {
        at.point(Point::Mask, self.address(), Location::caller());
        let gate = self.gate.clone();
        gate.close(at);
        Masked { gate: Some(gate) }
    }
}
