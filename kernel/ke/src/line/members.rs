//! The interrupt objects of a line, and how each is asked whether an interrupt was its own.

use crate::{at::At, dispatch::Head, hal::HalRef, interrupt::Claim, level::Passive};
use alloc::{boxed::Box, vec::Vec};

/// One interrupt object on a line.
#[derive(Clone, Copy)]
pub(crate) struct Member {
    pub(crate) head: *const Head,
    pub(crate) ask: Ask,
    pub(crate) shares: bool,
    /// Not while it is reported inactive: then it has its place, and is not asked.
    pub(crate) active: bool,
    /// Told, at PASSIVE, that its line has left that CPU.
    pub(crate) moved: unsafe fn(*const Head, &mut At<'_, Passive>, u32),
}

/// How a member is asked.
#[derive(Clone, Copy)]
pub(crate) enum Ask {
    /// In service, at the line's class.
    AtDirql(AskAtDirql),
    /// In the line's thread.
    AtPassive(AskAtPassive),
}

pub(crate) type AskAtDirql = unsafe fn(*const Head, HalRef<'_>) -> Claim;
pub(crate) type AskAtPassive = unsafe fn(*const Head, &mut At<'_, Passive>) -> Claim;

// SAFETY: a member's object is alive while it is connected, and may be used from any CPU.
unsafe impl Send for Member {}
// SAFETY: as above.
unsafe impl Sync for Member {}

/// All members, and those of each level that are asked, in the order in which they connected. An object is alive while it is in here.
#[derive(Default)]
pub(super) struct Members {
    pub(super) at_dirql: Vec<(*const Head, AskAtDirql)>,
    pub(super) at_passive: Vec<(*const Head, AskAtPassive)>,
    all: Vec<Member>,
}

impl Members {
    pub(super) fn of(all: Vec<Member>) -> Box<Self> {
        let mut members = Members::default();
        for member in all.iter().filter(|member| member.active) {
            match member.ask {
                Ask::AtDirql(ask) => members.at_dirql.push((member.head, ask)),
                Ask::AtPassive(ask) => members.at_passive.push((member.head, ask)),
            }
        }
        Box::new(Members { all, ..members })
    }

    pub(super) fn all(&self) -> &[Member] {
        &self.all
    }

    /// Whether one of `all` is asked.
    pub(super) fn any_active(all: &[Member]) -> bool {
        all.iter().any(|member| member.active)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        // SAFETY: a member's object is alive while it is in here.
        self.all.iter().map(|member| unsafe { (*member.head).name() })
    }
}
