//! A line's interrupt at DIRQL: the members are asked in the order they connected.
//!
//! - **level**: until the first claim. Nobody claims: the line is still asserted and fires again after the end of interrupt.
//! - **edge**: all of them, again and again until a whole pass claims nothing, because an edge that comes meanwhile from
//!   another device makes no new one.
//!
//! A line some of whose members run at PASSIVE has routines of its own: what nobody claims here is for the pass.

use super::{Line, block_of};
use crate::{
    at::At,
    dispatch::Head,
    hal::{HalRef, HalWord, from_word},
    interrupt::Claim,
    level::{Dirql, Dispatch},
    raw_dpc::{DpcKind, RawDpc},
    storm::StormCause,
};
use core::ptr::NonNull;

/// So many passes over an edge line's members in one interrupt mask the line.
pub const MOST_PASSES: u32 = 100;

pub(super) const REPORT: DpcKind = DpcKind::new(report_storm, || "interrupt storm report");

/// # Safety
/// As every [`crate::dispatch::DispatchRoutine`]; `head` is the head of a [`Line`].
pub(super) unsafe extern "sysv64-unwind" fn level(head: *const Head, word: HalWord) {
    // SAFETY: by the contract: the head is the first field, and the stub passes what it was given.
    let (line, hal) = unsafe { (&*head.cast::<Line>(), from_word(word)) };
    line.head.count_one();
    // SAFETY: in service.
    if unsafe { line.ask(hal, true) } == Claim::NotMine {
        // SAFETY: code at DIRQL begins here.
        line.nobody_claimed(&mut unsafe { At::<Dirql>::mint(hal) });
    }
}

/// # Safety
/// As [`level`].
pub(super) unsafe extern "sysv64-unwind" fn edge(head: *const Head, word: HalWord) {
    // SAFETY: by the contract: the head is the first field, and the stub passes what it was given.
    let (line, hal) = unsafe { (&*head.cast::<Line>(), from_word(word)) };
    line.head.count_one();
    // SAFETY: in service.
    if unsafe { line.ask_until_clean(hal) } == Claim::NotMine {
        // SAFETY: code at DIRQL begins here.
        line.nobody_claimed(&mut unsafe { At::<Dirql>::mint(hal) });
    }
}

/// # Safety
/// As [`level`].
pub(super) unsafe extern "sysv64-unwind" fn level_with_pass(head: *const Head, word: HalWord) {
    // SAFETY: by the contract: the head is the first field, and the stub passes what it was given.
    let (line, hal) = unsafe { (&*head.cast::<Line>(), from_word(word)) };
    line.head.count_one();
    // SAFETY: in service.
    if unsafe { line.ask(hal, true) } == Claim::Mine {
        line.watch.claimed();
        return;
    }
    // SAFETY: code at DIRQL begins here.
    let mut at = unsafe { At::<Dirql>::mint(hal) };
    // SAFETY: in service.
    if unsafe { line.pass.want(&mut at) } {
        // Before the end of interrupt, until the pass is over.
        line.mask_more(&mut at);
    }
}

/// # Safety
/// As [`level`].
pub(super) unsafe extern "sysv64-unwind" fn edge_with_pass(head: *const Head, word: HalWord) {
    // SAFETY: by the contract: the head is the first field, and the stub passes what it was given.
    let (line, hal) = unsafe { (&*head.cast::<Line>(), from_word(word)) };
    line.head.count_one();
    let again = line.pass.take_again();
    // SAFETY: in service. Whatever they claim, the edge may also be one of a member at PASSIVE.
    let claimed = unsafe { line.ask_until_clean(hal) } == Claim::Mine;
    // SAFETY: code at DIRQL begins here.
    let mut at = unsafe { At::<Dirql>::mint(hal) };
    // A replay too: an edge that came since it was asked for is one with it. It counts as claimed, as it may be nobody's.
    if claimed || again {
        // SAFETY: in service.
        unsafe { line.pass.want_claimed(&mut at) };
    } else {
        // SAFETY: in service.
        unsafe { line.pass.want(&mut at) };
    }
}

/// On an edge line all of whose members are at PASSIVE.
///
/// # Safety
/// As [`level`].
pub(super) unsafe extern "sysv64-unwind" fn edge_for_pass(head: *const Head, word: HalWord) {
    // SAFETY: by the contract: the head is the first field, and the stub passes what it was given.
    let (line, hal) = unsafe { (&*head.cast::<Line>(), from_word(word)) };
    line.head.count_one();
    // SAFETY: code at DIRQL begins here.
    let mut at = unsafe { At::<Dirql>::mint(hal) };
    // SAFETY: in service.
    unsafe { line.pass.want(&mut at) };
}

/// Put into the head when the clock noticed a storm ([`Head::notice_storm`]): masks the line.
///
/// # Safety
/// As [`level`].
pub(super) unsafe extern "sysv64-unwind" fn storm(head: *const Head, word: HalWord) {
    // SAFETY: by the contract: the head is the first field, and the stub passes what it was given.
    let (line, hal) = unsafe { (&*head.cast::<Line>(), from_word(word)) };
    line.head.count_one();
    // SAFETY: code at DIRQL begins here.
    line.begin_storm(StormCause::TooFast, &mut unsafe { At::<Dirql>::mint(hal) });
}

impl Line {
    /// Asks the members at DIRQL once. `first_only`: until the first claim.
    ///
    /// # Safety
    /// In service on the line's CPU.
    #[inline(always)]
    unsafe fn ask(&self, hal: HalRef<'_>, first_only: bool) -> Claim {
        let mut claim = Claim::NotMine;
        // SAFETY: above DISPATCH on the line's CPU.
        let mut left = &unsafe { self.current() }.at_dirql[..];
        // Advanced before the call: then nothing of this member has to be kept over it.
        while let Some((&(head, ask), others)) = left.split_first() {
            left = others;
            // SAFETY: a member's object is alive while it is in the array.
            if unsafe { ask(head, hal) } == Claim::Mine {
                claim = Claim::Mine;
                if first_only {
                    break;
                }
            }
        }
        claim
    }

    /// # Safety
    /// In service on the line's CPU.
    #[inline(always)]
    unsafe fn ask_until_clean(&self, hal: HalRef<'_>) -> Claim {
        let mut claim = Claim::NotMine;
        for _ in 0..MOST_PASSES {
            // SAFETY: the same contract.
            match unsafe { self.ask(hal, false) } {
                Claim::Mine => claim = Claim::Mine,
                Claim::NotMine => return claim,
            }
        }
        // SAFETY: code at DIRQL begins here.
        self.begin_storm(StormCause::ClaimsWithoutEnd, &mut unsafe { At::<Dirql>::mint(hal) });
        claim
    }

    /// On a line all of whose members are at DIRQL; on its CPU.
    #[cold]
    fn nobody_claimed(&self, at: &mut At<'_, Dirql>) {
        if self.watch.unclaimed_at(self.head.count()) {
            self.begin_storm(StormCause::NobodyClaims, at);
        }
    }

    #[cold]
    pub(super) fn begin_storm(&self, cause: StormCause, at: &mut At<'_, Dirql>) {
        if self.watch.begin(cause) {
            self.shut(at);
            // SAFETY: a line is flushed before it goes; above DISPATCH with interrupts on.
            unsafe { self.watch.queue_report(at.hal, block_of(at.hal, self.cpu())) };
        }
    }
}

/// # Safety
/// As [`DpcKind::routine`] is called; the context is the [`Line`] whose DPC this is.
unsafe fn report_storm(dpc: NonNull<RawDpc>, at: At<'_, Dispatch>) {
    // SAFETY: called as a DPC's routine; the line is flushed before it goes.
    let line = unsafe { &*RawDpc::begin(dpc).cast::<Line>() };
    let (cpu, vector) = line.place();
    let Some(cause) = line.storm() else { return };
    at.print(format_args!(
        "interrupt storm: vector {vector:#x} of CPU {cpu} is masked because {cause} ({} of {} unclaimed); its members are",
        line.unclaimed(),
        line.count(),
    ));
    // SAFETY: at DISPATCH; members change only after the barrier on the line's CPU, where this DPC was queued.
    for name in unsafe { line.current() }.names() {
        at.print(format_args!(" {name}"));
    }
    at.print(format_args!("\n"));
}
