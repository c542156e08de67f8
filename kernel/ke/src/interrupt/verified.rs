//! Interrupts whose callbacks the [verifier] watches: connected while it is on, until they are disconnected.
//!
//! Every way into a callback has a twin here that calls it as a whole. The compiler is kept from putting the driver's code into both,
//! or it would inline it into neither: from the twins of what is not a dispatch routine it is even hidden whom they call
//! ([`black_box`]).
//!
//! **Invariant:** the dispatch routine, the DPC's kind and the work item's are all twins or none; they are chosen while the interrupt
//! is not connected.

use super::{Claim, ConnectError, Connection, Interrupt, ServiceRoutine, serve};
use crate::{
    at::At,
    dispatch::{DispatchRoutine, Head},
    hal::{HalRef, HalWord, Point, from_word},
    level::{Dispatch, IsrLevel, Passive},
    line::{Ask, AskAtDirql, AskAtPassive},
    raw_dpc::{DpcKind, RawDpc},
    verifier::{self, Callback, Watched},
    work::WorkKind,
};
use alloc::sync::Arc;
use core::{hint::black_box, panic::Location, ptr::NonNull};

impl<R: ServiceRoutine> Interrupt<R> {
    pub(super) const ISR: Callback = Callback { what: Watched::Isr, name: R::type_name };
    pub(super) const PASSIVE_ISR: Callback = Callback { what: Watched::PassiveIsr, name: R::type_name };
    const DPC_CALLBACK: Callback = Callback { what: Watched::Dpc, name: R::type_name };
    const WORK_ITEM: Callback = Callback { what: Watched::WorkItem, name: R::type_name };
    const VERIFIED_DPC: DpcKind = DpcKind { routine: run_dpc::<R>, name: R::type_name, verified: true };
    const VERIFIED_WORK: WorkKind = WorkKind { routine: run_work_item::<R> };

    /// As [`Self::connect`], with callbacks that the [verifier] watches until it is disconnected.
    #[track_caller]
    pub fn connect_verified(
        self: &Arc<Self>,
        at: &mut At<'_, Passive>,
        connection: Connection,
        context: R::Context,
    ) -> Result<(), ConnectError> {
        self.connect_as::<true>(at, connection, context)
    }

    /// What is dispatched to at class `irql`; `V`: a twin.
    pub(super) fn routine_for<const V: bool>(&self, irql: u8) -> DispatchRoutine {
        match (self.lock.ceiling() > irql, V) {
            (false, false) => serve::single::<R>,
            (true, false) => serve::single_raised::<R>,
            (false, true) => single::<R>,
            (true, true) => single_raised::<R>,
        }
    }

    /// How a line of class `irql` asks it.
    pub(super) fn ask(&self, irql: u8, verified: bool) -> Ask {
        match (self.lock.ceiling() > irql, verified) {
            _ if R::Level::PASSIVE && verified => Ask::AtPassive(at_passive::<R>),
            _ if R::Level::PASSIVE => Ask::AtPassive(serve::at_passive::<R>),
            (false, false) => Ask::AtDirql(serve::member::<R>),
            (true, false) => Ask::AtDirql(serve::member_raised::<R>),
            (false, true) => Ask::AtDirql(member::<R>),
            (true, true) => Ask::AtDirql(member_raised::<R>),
        }
    }

    /// From here on the verifier watches its DPC and its work item. Neither is queued: it is not connected yet.
    pub(super) fn watch_deferred(&self, hal: HalRef<'_>) {
        hal.point(Point::Verified, self.address(), Location::caller());
        self.dpc.set_kind(const { &Self::VERIFIED_DPC });
        self.work.set_kind(const { &Self::VERIFIED_WORK });
    }

    /// Undoes [`Self::watch_deferred`]: neither is queued, nor will be.
    pub(super) fn leave_deferred(&self) {
        self.dpc.set_kind(const { &Self::DPC });
        self.work.set_kind(const { &Self::WORK });
    }

    /// Whether the verifier watches its callbacks. It is connected.
    pub(super) fn is_verified(&self) -> bool {
        self.dpc.kind().verified
    }
}

/// As [`serve::single`], watched.
///
/// # Safety
/// As [`serve::single`].
unsafe extern "sysv64-unwind" fn single<R: ServiceRoutine>(head: *const Head, word: HalWord) {
    // SAFETY: the same contract, and the stub passes what it was given.
    unsafe { verifier::watched(from_word(word), const { &Interrupt::<R>::ISR }, || serve::single::<R>(head, word)) }
}

/// As [`serve::single_raised`], watched.
///
/// # Safety
/// As [`serve::single`].
unsafe extern "sysv64-unwind" fn single_raised<R: ServiceRoutine>(head: *const Head, word: HalWord) {
    // SAFETY: the same contract, and the stub passes what it was given.
    unsafe {
        verifier::watched(from_word(word), const { &Interrupt::<R>::ISR }, || serve::single_raised::<R>(head, word))
    }
}

/// As [`serve::member`], watched.
///
/// # Safety
/// As [`serve::single`].
unsafe fn member<R: ServiceRoutine>(head: *const Head, hal: HalRef<'_>) -> Claim {
    // SAFETY: the same contract.
    verifier::watched(hal, const { &Interrupt::<R>::ISR }, || unsafe {
        black_box::<AskAtDirql>(serve::member::<R>)(head, hal)
    })
}

/// As [`serve::member_raised`], watched.
///
/// # Safety
/// As [`serve::single`].
unsafe fn member_raised<R: ServiceRoutine>(head: *const Head, hal: HalRef<'_>) -> Claim {
    // SAFETY: the same contract.
    verifier::watched(hal, const { &Interrupt::<R>::ISR }, || unsafe {
        black_box::<AskAtDirql>(serve::member_raised::<R>)(head, hal)
    })
}

/// As [`serve::at_passive`], watched.
///
/// # Safety
/// As [`serve::at_passive`].
unsafe fn at_passive<R: ServiceRoutine>(head: *const Head, at: &mut At<'_, Passive>) -> Claim {
    // SAFETY: the same contract.
    verifier::watched(at.hal, const { &Interrupt::<R>::PASSIVE_ISR }, || unsafe {
        black_box::<AskAtPassive>(serve::at_passive::<R>)(head, at)
    })
}

/// As [`serve::run_dpc`], watched.
///
/// # Safety
/// As [`serve::run_dpc`].
unsafe fn run_dpc<R: ServiceRoutine>(dpc: NonNull<RawDpc>, at: At<'_, Dispatch>) {
    // SAFETY: the same contract.
    verifier::watched(at.hal, const { &Interrupt::<R>::DPC_CALLBACK }, || unsafe {
        black_box::<unsafe fn(NonNull<RawDpc>, At<'_, Dispatch>)>(serve::run_dpc::<R>)(dpc, at)
    });
}

/// As [`serve::run_work_item`], watched.
///
/// # Safety
/// As [`serve::run_work_item`].
unsafe fn run_work_item<R: ServiceRoutine>(this: *const (), at: &mut At<'_, Passive>) {
    // SAFETY: by the contract, until it has run.
    let id = unsafe { (*this.cast::<Interrupt<R>>()).work.id() };
    // SAFETY: the same contract.
    verifier::work_item(at.hal, id, const { &Interrupt::<R>::WORK_ITEM }, || unsafe {
        black_box::<unsafe fn(*const (), &mut At<'_, Passive>)>(serve::run_work_item::<R>)(this, at)
    });
}
