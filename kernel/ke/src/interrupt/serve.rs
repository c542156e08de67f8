//! The ways into a driver's callbacks: the ISR from a vector or a line, the DPC, the work item.
//!
//! Each has a twin in [`super::verified`]; connecting chooses.

use super::{Claim, Interrupt, ServiceRoutine};
use crate::{
    at::At,
    dispatch::Head,
    hal::{self, HalRef, HalWord, Point, from_word},
    level::{Dirql, Dispatch, Passive, irql},
    raw_dpc::RawDpc,
    verifier::Site,
    work,
};
use core::{panic::Location, ptr::NonNull, sync::atomic::Ordering::SeqCst};

impl<R: ServiceRoutine> Interrupt<R> {
    /// The ISR's run under the lock. At the synchronize IRQL.
    ///
    /// # Safety
    /// Called by a dispatch routine at the ceiling, which does not hold the lock.
    #[inline(always)]
    unsafe fn serve(&self, hal: HalRef<'_>) -> Claim {
        // SAFETY: by the contract.
        unsafe {
            self.lock.body().with_word(hal, Site::callback(const { &Self::ISR }), |state| {
                self.head.count_one();
                // SAFETY: here code at DIRQL begins on this CPU; `R::Level` is not `Passive`, or it were not connected.
                let mut at = At::<R::Level>::mint(hal);
                at.note(Point::IsrStart, self.address());
                let claim = self.routine.service(self.context(), state, self, &mut at);
                at.note(if claim == Claim::Mine { Point::IsrMine } else { Point::IsrNotMine }, self.address());
                claim
            })
        }
    }

    /// As [`Self::serve`], for an interrupt that is alone on its vector.
    ///
    /// # Safety
    /// As [`Self::serve`].
    #[inline(always)]
    unsafe fn serve_alone(&self, hal: HalRef<'_>) {
        // SAFETY: the same contract.
        if unsafe { self.serve(hal) } == Claim::NotMine && self.watch.unclaimed_at(self.head.count()) {
            self.head.notice_storm();
        }
    }

    /// As [`Self::serve`], for a member of a line, which has a watch of its own.
    ///
    /// # Safety
    /// As [`Self::serve`].
    #[inline(always)]
    unsafe fn serve_as_member(&self, hal: HalRef<'_>) -> Claim {
        // SAFETY: the same contract.
        let claim = unsafe { self.serve(hal) };
        if claim == Claim::NotMine {
            self.watch.count_unclaimed();
        }
        claim
    }
}

/// A lone owner whose lock needs no more than the vector's class.
///
/// # Safety
/// `head` is the head of a connected `Interrupt<R>`, in service at its class.
#[inline(never)]
pub(super) unsafe extern "sysv64-unwind" fn single<R: ServiceRoutine>(head: *const Head, word: HalWord) {
    // SAFETY: by the contract; the head is the first field, and the stub passes what it was given.
    unsafe { (*head.cast::<Interrupt<R>>()).serve_alone(from_word(word)) }
}

/// A lone owner whose lock has a higher ceiling than the vector's class.
///
/// # Safety
/// As [`single`].
#[inline(never)]
pub(super) unsafe extern "sysv64-unwind" fn single_raised<R: ServiceRoutine>(head: *const Head, word: HalWord) {
    // SAFETY: the same contract, and the stub passes what it was given.
    unsafe { raised::<R, _>(head, from_word(word), |this, hal| this.serve_alone(hal)) }
}

/// As [`single`], for a walk over the members of a line.
///
/// # Safety
/// As [`single`].
pub(super) unsafe fn member<R: ServiceRoutine>(head: *const Head, hal: HalRef<'_>) -> Claim {
    // SAFETY: by the contract; the head is the first field.
    unsafe { (*head.cast::<Interrupt<R>>()).serve_as_member(hal) }
}

/// As [`single_raised`], for a walk over the members of a line.
///
/// # Safety
/// As [`single`].
pub(super) unsafe fn member_raised<R: ServiceRoutine>(head: *const Head, hal: HalRef<'_>) -> Claim {
    // SAFETY: the same contract.
    unsafe { raised::<R, _>(head, hal, |this, hal| this.serve_as_member(hal)) }
}

/// Runs `serve` at the ceiling.
///
/// # Safety
/// As [`single`].
#[inline(always)]
unsafe fn raised<R: ServiceRoutine, T>(
    head: *const Head,
    hal: HalRef<'_>,
    serve: impl FnOnce(&Interrupt<R>, HalRef<'_>) -> T,
) -> T {
    // SAFETY: by the contract; the head is the first field.
    let this = unsafe { &*head.cast::<Interrupt<R>>() };
    // SAFETY: code at DIRQL begins here.
    let mut at = unsafe { At::<Dirql>::mint(hal) };
    let _raised = at.raise_to_dirql(this.lock.ceiling());
    serve(this, hal)
}

/// The ISR's run at PASSIVE, in the thread of its line.
///
/// # Safety
/// `head` is the head of a connected `Interrupt<R>` whose level is `Passive`, which is not freed before this returns.
pub(super) unsafe fn at_passive<R: ServiceRoutine>(head: *const Head, at: &mut At<'_, Passive>) -> Claim {
    // SAFETY: by the contract; the head is the first field.
    let this = unsafe { &*head.cast::<Interrupt<R>>() };
    if this.gate.is_masked() {
        this.head.latched.store(true, SeqCst);
        // As in `latch`: unmasked meanwhile, one of the two sees the other.
        if this.gate.is_masked() || !this.head.latched.swap(false, SeqCst) {
            return Claim::NotMine;
        }
    }
    at.point(Point::AcquireLock, this.lock.address(), Location::caller());
    let mut guard = this.lock.acquire_as(at, Site::callback(const { &Interrupt::<R>::PASSIVE_ISR }));
    let (state, mut at) = guard.parts();
    this.head.count_one();
    at.note(Point::IsrStart, this.address());
    // SAFETY: a member of a line is connected until the line lets it go.
    let claim = this.routine.service(unsafe { this.context() }, state, this, &mut at);
    at.note(if claim == Claim::Mine { Point::IsrMine } else { Point::IsrNotMine }, this.address());
    if claim == Claim::NotMine {
        this.watch.count_unclaimed();
    }
    claim
}

/// In place of [`single`] from the moment when a storm is noticed: masks the interrupt, which is alone on its vector.
///
/// # Safety
/// As [`single`].
pub(super) unsafe extern "sysv64-unwind" fn storm<R: ServiceRoutine>(head: *const Head, word: HalWord) {
    // SAFETY: by the contract; the head is the first field.
    let this = unsafe { &*head.cast::<Interrupt<R>>() };
    // SAFETY: the stub passes what it was given; code at DIRQL begins here.
    let at = &mut unsafe { At::<Dirql>::mint(from_word(word)) };
    if this.watch.begin(this.watch.noticed()) {
        // What came may be somebody's: it is delivered when all is forgiven.
        this.head.latched.store(true, SeqCst);
        this.gate.close(at);
        // SAFETY: the interrupt is flushed before it goes; above DISPATCH with interrupts on.
        unsafe { this.watch.queue_report(at.hal, hal::percpu(at.hal)) };
    }
    this.gate.settle(at);
}

/// Reports a storm; if the source cannot be masked, cuts its device off.
///
/// # Safety
/// As [`run_dpc`].
pub(super) unsafe fn report_storm<R: ServiceRoutine>(dpc: NonNull<RawDpc>, mut at: At<'_, Dispatch>) {
    // SAFETY: by the contract.
    let this = unsafe { RawDpc::begin(dpc) };
    // SAFETY: by the contract: disconnecting flushes.
    let this = unsafe { &*this.cast::<Interrupt<R>>() };
    let Some(cause) = this.storm() else { return };
    // SAFETY: at DISPATCH, and the reference ends with this function.
    let Some(attached) = (unsafe { this.attached() }) else { return };
    let (cpu, vector) = attached.place();
    let name = this.routine.describe();
    let (count, unclaimed) = (this.count(), this.watch.unclaimed());
    let stop = {
        let mut raised = at.raise_to_dirql(irql::DEVICE_HIGHEST);
        match attached.source.mask(&mut raised.at) {
            true => "is masked",
            false if attached.source.cut_off(&mut raised.at) => "cannot be masked, so its device was cut off",
            false => "cannot be masked, and its device cannot be cut off: it is only ignored",
        }
    };
    at.print(format_args!(
        "interrupt storm: vector {vector:#x} of CPU {cpu} ({name}) {stop}, because {cause} ({unclaimed} of {count} unclaimed)\n"
    ));
    // SAFETY: disconnecting flushes this DPC before it takes the context.
    this.routine.storm(unsafe { this.context() }, this, cause, &mut at);
}

/// # Safety
/// As a DPC's routine is called; the DPC's context is an `Interrupt<R>` that is not freed before this returns.
pub(super) unsafe fn run_dpc<R: ServiceRoutine>(dpc: NonNull<RawDpc>, mut at: At<'_, Dispatch>) {
    // SAFETY: by the contract.
    let this = unsafe { RawDpc::begin(dpc) };
    // SAFETY: by the contract: disconnecting flushes.
    let this = unsafe { &*this.cast::<Interrupt<R>>() };
    // SAFETY: disconnecting flushes this DPC before it takes the context.
    let context = unsafe { this.context() };
    at.note(Point::DpcStart, this.address());
    this.routine.dpc(context, this, &mut at);
    at.note(Point::DpcEnd, this.address());
}

/// # Safety
/// As [`run_dpc`].
pub(super) unsafe fn run_work_item<R: ServiceRoutine>(this: *const (), at: &mut At<'_, Passive>) {
    // SAFETY: by the contract: disconnecting flushes.
    let this = unsafe { &*this.cast::<Interrupt<R>>() };
    // SAFETY: disconnecting flushes this work item before it takes the context.
    let context = unsafe { this.context() };
    at.note(Point::WorkItemStart, this.address());
    this.routine.work_item(context, this, at);
    at.note(Point::WorkItemEnd, this.address());
    work::finished(at, &this.work);
}
