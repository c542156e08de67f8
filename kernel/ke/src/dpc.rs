//! DPC objects of their own, beside the one that every interrupt has (KDPC, WDFDPC).
//!
//! **Invariant:** an object lives while its count of references is above 0: one for each handle, and one while it is queued or
//! runs. Whoever takes the last away has the object alone.

use crate::{
    at::At,
    barrier,
    hal::{self, Point},
    level::{Dispatch, Level, MayWait, Passive, irql},
    percpu,
    raw_dpc::{DpcKind, Importance, RawDpc},
    verifier::{self, Callback, Watched},
    work,
};
use alloc::boxed::Box;
use core::{
    fmt,
    hint::black_box,
    panic::Location,
    ptr::NonNull,
    sync::atomic::{
        AtomicUsize,
        Ordering::{AcqRel, Relaxed},
    },
};

/// What a DPC does.
pub trait DpcRoutine: Send + Sync + 'static {
    /// At DISPATCH, with the arguments of the insertion that queued it. It may overlap itself on another CPU: it is no
    /// longer queued when it starts.
    fn run(&self, arguments: [usize; 2], at: &mut At<'_, Dispatch>);

    /// The name in bug checks.
    fn name() -> &'static str {
        core::any::type_name::<Self>()
    }
}

impl<F: Fn([usize; 2], &mut At<'_, Dispatch>) + Send + Sync + 'static> DpcRoutine for F {
    fn run(&self, arguments: [usize; 2], at: &mut At<'_, Dispatch>) {
        self(arguments, at);
    }
}

/// A deferred procedure call (KeInitializeDpc: importance and target are chosen here).
///
/// A queued DPC keeps itself alive; what it owns is dropped at PASSIVE by a worker if its last handle went meanwhile.
///
/// ```
/// use ke::{At, Dirql, Dpc, DpcRoutine};
/// /// From an ISR, or from anywhere: KeInsertQueueDpc.
/// fn ring<R: DpcRoutine>(bell: &Dpc<R>, at: &mut At<'_, Dirql>) -> bool {
///     bell.insert(at)
/// }
/// ```
pub struct Dpc<R: DpcRoutine> {
    object: NonNull<Object<R>>,
}

// SAFETY: a handle shares its object, as an `Arc` does, and a routine may be shared and sent.
unsafe impl<R: DpcRoutine> Send for Dpc<R> {}
// SAFETY: as above.
unsafe impl<R: DpcRoutine> Sync for Dpc<R> {}

struct Object<R> {
    /// As in an [`alloc::sync::Arc`], of which nobody could tell in a line that it was the last.
    references: AtomicUsize,
    raw: RawDpc,
    importance: Importance,
    target: Option<u32>,
    /// Neither: it goes to the end of the queue of the CPU that queues it.
    is_plain: bool,
    routine: R,
}

impl<R> Object<R> {
    fn refer(&self) {
        self.references.fetch_add(1, Relaxed);
    }

    /// One reference less. `true`: it was the last.
    fn release(&self) -> bool {
        self.references.fetch_sub(1, AcqRel) == 1
    }
}

impl<R: DpcRoutine> Dpc<R> {
    /// A DPC of medium importance that runs on the CPU that queues it.
    pub fn new(routine: R) -> Self {
        Self::with(routine, Importance::Medium, None)
    }

    /// A DPC of this importance; with a `target`, it runs on that CPU (KeSetTargetProcessorDpc).
    pub fn with(routine: R, importance: Importance, target: Option<u32>) -> Self {
        let kind: &'static DpcKind = const { &Self::KIND };
        let is_plain = target.is_none() && importance == Importance::Medium;
        let raw = RawDpc::new(kind);
        let references = AtomicUsize::new(1);
        let object = Box::leak(Box::new(Object { references, raw, importance, target, is_plain, routine }));
        let object = NonNull::from(object);
        let dpc = Dpc { object };
        dpc.object().raw.set_context(object.as_ptr().cast());
        dpc
    }

    const KIND: DpcKind = DpcKind::new(run::<R>, R::name);
    const WATCHED: DpcKind = DpcKind { routine: run_watched::<R>, name: R::name, verified: true };
    const CALLBACK: Callback = Callback { what: Watched::Dpc, name: R::name };

    /// Has its runs watched by the [verifier], or no longer, as that is on or off now. It is not queued. Any IRQL.
    pub fn follow_verifier<L: Level>(&self, at: &At<'_, L>) {
        let kind = if verifier::is_enabled(at) { const { &Self::WATCHED } } else { const { &Self::KIND } };
        self.object().raw.set_kind(kind);
    }

    /// What it does.
    pub fn routine(&self) -> &R {
        &self.object().routine
    }

    #[inline(always)]
    fn object(&self) -> &Object<R> {
        // SAFETY: this handle has a reference.
        unsafe { self.object.as_ref() }
    }

    /// KeInsertQueueDpc: `false` when it is queued already, or its target is no CPU of this machine. Any IRQL.
    #[inline]
    #[track_caller]
    pub fn insert<L: Level>(&self, at: &mut At<'_, L>) -> bool {
        self.insert_with(at, [0; 2])
    }

    /// KeInsertQueueDpc with arguments: when it is queued already, nothing changes and the first arguments stay.
    #[inline]
    #[track_caller]
    pub fn insert_with<L: Level>(&self, at: &mut At<'_, L>, arguments: [usize; 2]) -> bool {
        at.point(Point::QueueDpc, self.address(), Location::caller());
        let queued = self.insert_at(at, arguments);
        at.note_if(!queued, Point::DpcUnqueued, self.address());
        queued
    }

    #[inline]
    fn insert_at<L: Level>(&self, at: &mut At<'_, L>, arguments: [usize; 2]) -> bool {
        if L::IRQL >= irql::DISPATCH {
            return self.insert_raised(at.hal, arguments);
        }
        // SAFETY: `L` is below DISPATCH, so it is `Passive`, and `at` is borrowed for as long as this token lives.
        let mut at = unsafe { At::<Passive>::mint(at.hal) };
        let raised = at.raise_to_dispatch();
        self.insert_raised(raised.at.hal, arguments)
    }

    #[inline]
    fn insert_raised(&self, hal: hal::HalRef<'_>, arguments: [usize; 2]) -> bool {
        let object = self.object();
        if object.is_plain {
            // SAFETY: the link's own reference keeps the object alive, until `run` takes it back; the context was set in `with`;
            // this is at DISPATCH or above.
            return unsafe { object.raw.insert_last_here(hal, arguments, || object.refer()) };
        }
        self.insert_placed(hal, arguments)
    }

    #[inline(never)]
    fn insert_placed(&self, hal: hal::HalRef<'_>, arguments: [usize; 2]) -> bool {
        let object = self.object();
        let Some(target) = percpu::of(hal, object.target.unwrap_or(hal.cpu())) else { return false };
        // SAFETY: as in `insert_raised`.
        unsafe { object.raw.insert_on(hal, target, object.importance, arguments, || object.refer()) }
    }

    /// KeRemoveQueueDpc: `true`, it was queued and will not run; `false`, it is idle or has started. Any IRQL.
    #[track_caller]
    pub fn remove<L: Level>(&self, at: &mut At<'_, L>) -> bool {
        at.point(Point::RemoveDpc, self.address(), Location::caller());
        let removed = self.object().raw.remove();
        at.note_if(removed, Point::DpcUnqueued, self.address());
        removed
    }

    /// Its name for the simulator.
    fn address(&self) -> usize {
        self.object.addr().get()
    }

    /// Whether it is queued.
    pub fn is_queued(&self) -> bool {
        self.object().raw.is_queued()
    }

    /// Waits until every run that was queued before this call has finished (KeFlushQueuedDpcs). PASSIVE.
    pub fn flush<L: MayWait>(&self, at: &mut At<'_, L>) {
        barrier::flush_queued_dpcs(&mut at.as_passive());
    }
}

/// # Safety
/// As [`DpcKind::routine`] is called; the context is the object of a [`Dpc`] whose link's reference nobody has taken back.
unsafe fn run<R: DpcRoutine>(dpc: NonNull<RawDpc>, mut at: At<'_, Dispatch>) {
    // SAFETY: by the contract.
    let context = unsafe { RawDpc::context(dpc) };
    // SAFETY: by the contract it is there until the reference is given back, below.
    let object = unsafe { &*context.cast::<Object<R>>() };
    if let Some(arguments) = object.raw.begin_removable() {
        at.note(Point::DpcStart, context.addr());
        object.routine.run(arguments, &mut at);
        at.note(Point::DpcEnd, context.addr());
    }
    if object.release() {
        // SAFETY: this was the last reference.
        unsafe { drop_later(context.cast_mut().cast::<Object<R>>(), at) };
    }
}

/// As [`run`], watched; the driver's code stays in the one.
///
/// # Safety
/// As [`run`].
unsafe fn run_watched<R: DpcRoutine>(dpc: NonNull<RawDpc>, at: At<'_, Dispatch>) {
    // SAFETY: the same contract.
    verifier::watched(at.hal, const { &Dpc::<R>::CALLBACK }, || unsafe {
        black_box::<unsafe fn(NonNull<RawDpc>, At<'_, Dispatch>)>(run::<R>)(dpc, at)
    });
}

/// What a driver put into its DPC is dropped at PASSIVE, even if its run was the last to have it.
///
/// # Safety
/// The caller has the object alone.
#[cold]
#[inline(never)]
unsafe fn drop_later<R: DpcRoutine>(object: *mut Object<R>, mut at: At<'_, Dispatch>) {
    // SAFETY: by the contract; made by `Box::leak`.
    work::drop_at_passive(&mut at, unsafe { Box::from_raw(object) });
}

impl<R: DpcRoutine> work::DropAtPassive for Object<R> {
    fn drop_at_passive(self: Box<Self>, _: &mut At<'_, Passive>) {}
}

impl<R: DpcRoutine> Clone for Dpc<R> {
    /// Another handle to the same DPC.
    fn clone(&self) -> Self {
        self.object().refer();
        Dpc { object: self.object }
    }
}

impl<R: DpcRoutine> Drop for Dpc<R> {
    fn drop(&mut self) {
        if self.object().release() {
            // SAFETY: this was the last reference; made by `Box::leak`.
            drop(unsafe { Box::from_raw(self.object.as_ptr()) });
        }
    }
}

impl<R: DpcRoutine> fmt::Debug for Dpc<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dpc").field("routine", &R::name()).field("queued", &self.is_queued()).finish()
    }
}
