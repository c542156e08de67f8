//! What the verifier says: a sentence with what happened, the lines of both sides, and what to do.

use super::{
    order::{Cycle, Taken},
    site::Site,
};
use crate::{
    bugcheck::BugCheckKind,
    hal::{self, HalRef},
    thread::Thread,
};
use core::{fmt, panic::Location};

/// A CPU takes a spin lock or interrupt lock that it holds.
#[cold]
pub(super) fn twice(hal: HalRef<'_>, first: Taken, again: Site) -> ! {
    hal.bug_check(
        BugCheckKind::Verifier,
        format_args!(
            "{first} is taken again {again} by the CPU that holds it, which would wait for itself for ever: let the first guard \
             drop before, or pass on what it guards"
        ),
    )
}

/// A thread takes a wait lock that it owns; `first` is known while the verifier is on.
#[cold]
pub(super) fn recursion(hal: HalRef<'_>, thread: &Thread, first: Option<Taken>, again: Site) -> ! {
    let name = thread.name();
    match first {
        Some(first) => hal.bug_check(
            BugCheckKind::RecursiveLock,
            format_args!("thread {name} takes {again} a wait lock that it already holds: {first}"),
        ),
        None => hal.bug_check(
            BugCheckKind::RecursiveLock,
            format_args!("thread {name} takes {again} a wait lock that it already holds"),
        ),
    }
}

/// Locks are taken in opposite orders.
#[cold]
pub(super) fn order(hal: HalRef<'_>, cycle: Cycle) -> ! {
    hal.bug_check(
        BugCheckKind::Verifier,
        format_args!(
            "locks are taken in opposite orders: {cycle}; who does both at once waits for ever: take them in one order everywhere"
        ),
    )
}

/// A callback returns with a lock held that it took.
#[cold]
pub(super) fn forgotten(hal: HalRef<'_>, what: &str, name: fmt::Arguments<'_>, taken: Taken) -> ! {
    hal.bug_check(
        BugCheckKind::Verifier,
        format_args!(
            "the {what} \"{name}\" returns and still holds {taken}: its guard was forgotten; let it drop before the callback \
             returns"
        ),
    )
}

/// A callback returns at another IRQL than it began at, and no lock is known that it holds.
#[cold]
pub(super) fn level(hal: HalRef<'_>, what: &str, name: fmt::Arguments<'_>, before: (u8, u8), after: (u8, u8)) -> ! {
    hal.bug_check(
        BugCheckKind::Verifier,
        format_args!(
            "the {what} \"{name}\" began at IRQL {} and returns at IRQL {} (level word {} and {}, CR8 {} and {}): a guard was \
             forgotten whose lock is not verified",
            before.0.max(before.1),
            after.0.max(after.1),
            before.0,
            after.0,
            before.1,
            after.1
        ),
    )
}

/// A work item flushes itself.
#[cold]
pub(super) fn own_flush(hal: HalRef<'_>, name: fmt::Arguments<'_>, location: &Location<'_>) -> ! {
    hal.bug_check(
        BugCheckKind::Verifier,
        format_args!(
            "the work item \"{name}\" is flushed at {location} by its own run, which would wait for its own end: flush it from \
             where it does not run"
        ),
    )
}

/// A callback of an interrupt waits for itself.
#[cold]
pub(super) fn own_wait(hal: HalRef<'_>, name: fmt::Arguments<'_>, location: &Location<'_>) -> ! {
    hal.bug_check(
        BugCheckKind::Verifier,
        format_args!(
            "a callback of the interrupt \"{name}\" asks at {location} for what waits for its own end: leave it to another thread"
        ),
    )
}

/// A callback has run for longer than it may, in nanoseconds.
#[cold]
pub(super) fn too_long(hal: HalRef<'_>, what: &str, name: fmt::Arguments<'_>, ran: u64, longest: u64) -> ! {
    hal.bug_check(
        BugCheckKind::Verifier,
        format_args!(
            "the {what} \"{name}\" ran for {} us; it may for {} us: leave what takes long to a work item",
            ran / 1000,
            longest / 1000
        ),
    )
}

/// The locks that this CPU and its thread are known to hold, for the end of a sentence; nothing, if there are none.
pub struct HeldText<'c>(HalRef<'c>);

/// What is held where a bug check is reported. At DISPATCH or above, or with interrupts off.
pub fn held_text(hal: HalRef<'_>) -> HeldText<'_> {
    HeldText(hal)
}

impl fmt::Display for HeldText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "; held here: ";
        for taken in hal::percpu(self.0).held.from(self.0, 0) {
            write!(f, "{separator}{taken}")?;
            separator = ", ";
        }
        Ok(())
    }
}
