//! DPCs that are queued without a token: for a `Drop`, which has none and may run at any IRQL.
//!
//! **Invariant:** the machine is used only while it is: a system that ends says so first, to all who remember it.

use crate::{
    at::At,
    dpc::{Dpc, DpcRoutine},
    hal::{self, HalRef},
    level::{Dirql, Level, Passive, irql},
};
use alloc::sync::Arc;
use core::{
    cell::UnsafeCell,
    fmt, mem, ptr,
    sync::atomic::{
        AtomicBool, AtomicPtr,
        Ordering::{AcqRel, Acquire, Release},
    },
};

/// Whether a machine is there, for those who may outlive it.
pub(crate) struct Life {
    /// Some once it has a thread; used only while `there`.
    machine: UnsafeCell<Option<HalRef<'static>>>,
    there: AtomicBool,
}

// SAFETY: the reference is stored once, before `there` is set, and used where the machine's own code runs.
unsafe impl Sync for Life {}
// SAFETY: as above.
unsafe impl Send for Life {}

impl Life {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Life { machine: UnsafeCell::new(None), there: AtomicBool::new(false) })
    }

    /// The machine of `hal` is there until [`Self::end`].
    ///
    /// # Safety
    /// Called once, before anybody else can ask; `hal` lives until [`Self::end`] is called.
    pub(crate) unsafe fn begin(&self, hal: HalRef<'_>) {
        // SAFETY: by the contract nobody reads meanwhile, and it is used only as long as it lives.
        unsafe { *self.machine.get() = Some(mem::transmute::<HalRef<'_>, HalRef<'static>>(hal)) };
        self.there.store(true, Release);
    }

    pub(crate) fn end(&self) {
        self.there.store(false, Release);
    }

    fn machine(&self) -> Option<HalRef<'static>> {
        if !self.there.load(Acquire) {
            return None;
        }
        // SAFETY: stored before `there` was set, and not changed after.
        unsafe { *self.machine.get() }.filter(|hal| !hal.dead())
    }
}

/// A DPC that can be queued without a token, once it has seen one of its machine.
///
/// ```
/// use ke::{At, DpcRoutine, LateDpc, Passive};
/// /// A loan that is given back below DISPATCH, wherever it is dropped.
/// struct Loan<R: DpcRoutine> {
///     give_back: LateDpc<R>,
/// }
/// impl<R: DpcRoutine> Loan<R> {
///     fn of(routine: R, at: &mut At<'_, Passive>) -> Self {
///         let give_back = LateDpc::new(routine);
///         give_back.bind(at);
///         Loan { give_back }
///     }
/// }
/// impl<R: DpcRoutine> Drop for Loan<R> {
///     fn drop(&mut self) {
///         self.give_back.insert();
///     }
/// }
/// ```
pub struct LateDpc<R: DpcRoutine> {
    dpc: Dpc<R>,
    /// Null until it is bound; then a reference that this holds.
    life: AtomicPtr<Life>,
}

impl<R: DpcRoutine> LateDpc<R> {
    /// A DPC of medium importance that knows no machine yet.
    pub fn new(routine: R) -> Self {
        LateDpc { dpc: Dpc::new(routine), life: AtomicPtr::default() }
    }

    /// The DPC, for who has a token.
    pub fn dpc(&self) -> &Dpc<R> {
        &self.dpc
    }

    /// Remembers the machine of `at`, unless it remembers one. Any IRQL.
    pub fn bind<L: Level>(&self, at: &mut At<'_, L>) {
        if !self.life.load(Acquire).is_null() {
            return;
        }
        let life = Arc::into_raw(hal::system(at.hal).life.clone()).cast_mut();
        if self.life.compare_exchange(ptr::null_mut(), life, AcqRel, Acquire).is_err() {
            // SAFETY: made above, and nobody else has it.
            drop(unsafe { Arc::from_raw(life) });
        }
    }

    /// Queues it on this CPU. `false`: it is queued already, was never bound, or its machine is no more. Any IRQL.
    pub fn insert(&self) -> bool {
        // SAFETY: null, or the reference that this holds.
        let life = unsafe { self.life.load(Acquire).as_ref() };
        let Some(hal) = life.and_then(Life::machine) else { return false };
        if hal.level().max(hal.task_priority()) == irql::PASSIVE {
            // SAFETY: the run-time level says so, and the caller's token is not used meanwhile.
            self.dpc.insert(&mut unsafe { At::<Passive>::mint(hal) })
        } else {
            // SAFETY: above PASSIVE nothing is raised or lowered for it, which is all that a `Dirql` token stands for here.
            self.dpc.insert(&mut unsafe { At::<Dirql>::mint(hal) })
        }
    }
}

impl<R: DpcRoutine> Drop for LateDpc<R> {
    fn drop(&mut self) {
        let life = *self.life.get_mut();
        if !life.is_null() {
            // SAFETY: the reference that this held.
            drop(unsafe { Arc::from_raw(life) });
        }
    }
}

impl<R: DpcRoutine> fmt::Debug for LateDpc<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LateDpc").field(&self.dpc).finish()
    }
}
