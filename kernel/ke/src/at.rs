//! The token: which thread of execution this is, on which machine, at which IRQL.
//!
//! [`At<'c, L>`](At) means "this thread of execution, now, at level `L`". It is neither `Copy` nor `Send`. Raising
//! borrows it mutably and gives a guard that owns the next token, so the lower one cannot be used meanwhile and
//! guards end last-in first-out.
//!
//! **Invariant:** data is excluded by a lock word, always; the level only prevents deadlock. So a leaked guard, or
//! code that lowers under it, can hang or trip the verifier, never alias `&mut`.
//!
//! **Invariant:** the level of a CPU is max(level word, CR8). PASSIVE and DISPATCH are the word alone with CR8 0; an
//! ISR in service is the word; CR8 is written only by an explicit raise above DISPATCH. Each transition is one write.

use crate::{
    bugcheck::BugCheckKind,
    drain,
    hal::{HalRef, MsiMessage, Point},
    level::*,
};
use core::{marker::PhantomData, panic::Location};

/// This thread of execution, now, at level `L`; zero-sized on the bare target.
///
/// Covariant in `'c`, which is harmless because every use is through `&mut At`. Tokens come from the core alone:
/// thread entry, DPC dispatch, interrupt dispatch.
///
/// ```
/// use ke::{At, AtMost, Dispatch, Event};
/// /// Any code at DISPATCH or below may call this: KeSetEvent's IRQL rule as a bound.
/// fn ring<L: AtMost<Dispatch>>(bell: &Event, at: &mut At<'_, L>) {
///     bell.set(at);
/// }
/// ```
pub struct At<'c, L: Level> {
    pub(crate) hal: HalRef<'c>,
    _level: PhantomData<Bound<'c, L>>,
}

/// Borrowed mutably, of level `L`, and neither `Send` nor `Sync`.
type Bound<'c, L> = (&'c mut (), fn() -> L, *mut ThisCpuOnly);

/// Names, in rustc's messages, why a token cannot be sent to another thread.
#[doc(hidden)]
pub enum ThisCpuOnly {}

#[cfg(target_os = "none")]
const _: () = assert!(size_of::<At<'static, Dirql>>() == 0);

impl<'c, L: Level> At<'c, L> {
    /// # Safety
    /// This thread of execution runs at level `L`, and nobody else holds a token for it that could be used meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn mint(hal: HalRef<'c>) -> Self {
        At { hal, _level: PhantomData }
    }

    /// A shorter-lived token, for code that wants one by value (a struct field, a generic `T`).
    #[inline]
    pub fn reborrow(&mut self) -> At<'_, L> {
        // SAFETY: the same level, and `self` is borrowed for as long as the new token lives.
        unsafe { At::mint(self.hal) }
    }

    /// The IRQL as a number (KeGetCurrentIrql), for messages: max(level word, CR8).
    pub fn irql(&self) -> u8 {
        self.hal.level().max(self.hal.task_priority())
    }

    /// The number of this CPU (KeGetCurrentProcessorNumber). At PASSIVE it may be stale as soon as it is read.
    pub fn cpu(&self) -> u32 {
        self.hal.cpu()
    }

    /// The number of running CPUs.
    pub fn cpu_count(&self) -> u32 {
        self.hal.cpu_count()
    }

    /// Interrupts that came on vectors of `cpu` which nothing was connected to; `None`, there is no such CPU. What a device
    /// sends after its interrupt was disconnected ends here, and a driver that sees it grow forgot to silence its device.
    pub fn unexpected_interrupts(&self, cpu: u32) -> Option<u64> {
        crate::percpu::of(self.hal, cpu).map(crate::percpu::PerCpu::unexpected)
    }

    /// Nanoseconds since boot. Virtual time on the simulated machine.
    pub fn now(&self) -> u64 {
        self.hal.now()
    }

    /// The address and data with which a device raises `vector` on `cpu`: what its MSI capability or MSI-X table is
    /// programmed with before the interrupt is connected.
    pub fn msi_message(&self, cpu: u32, vector: u8) -> MsiMessage {
        self.hal.msi_message(cpu, vector)
    }

    /// KeBugCheckEx: reports what went wrong and stops the machine, because its state is no longer to be trusted. Any IRQL.
    pub fn bug_check(&self, kind: BugCheckKind, what: core::fmt::Arguments<'_>) -> ! {
        self.hal.bug_check(kind, what)
    }

    /// Writes a line to the console. Any IRQL.
    pub fn print(&self, text: core::fmt::Arguments<'_>) {
        self.hal.print(text);
    }

    #[inline(always)]
    pub(crate) fn point(&self, what: Point, object: usize, location: &'static Location<'static>) {
        self.hal.point(what, object, location);
    }

    /// Tells the simulator that a callback of the object at `object` begins or ends.
    #[inline(always)]
    pub(crate) fn note(&self, what: Point, object: usize) {
        self.hal.point(what, object, Location::caller());
    }

    /// Tells the simulator `what` if it is so.
    #[inline(always)]
    pub(crate) fn note_if(&self, it_is: bool, what: Point, object: usize) {
        if it_is {
            self.note(what, object);
        }
    }

    /// The same token by its level, for code that does more at PASSIVE than it can at DISPATCH.
    #[inline]
    pub fn up_to_dispatch(&mut self) -> UpToDispatch<'_>
    where
        L: AtMost<Dispatch>,
    {
        // SAFETY: `Passive` and `Dispatch` alone are at most `Dispatch`, `L` is the one of this number, and `self` is borrowed
        // for as long as the new token lives.
        unsafe {
            match L::IRQL {
                irql::PASSIVE => UpToDispatch::Passive(At::mint(self.hal)),
                _ => UpToDispatch::Dispatch(At::mint(self.hal)),
            }
        }
    }

    /// KeRaiseIrql to DISPATCH, for as long as `f` runs.
    #[inline]
    pub fn at_dispatch<R>(&mut self, f: impl FnOnce(&mut At<'_, Dispatch>) -> R) -> R
    where
        L: AtMost<Dispatch>,
    {
        f(&mut self.raise_to_dispatch().at)
    }

    /// KeRaiseIrql to DISPATCH, undone when the guard drops.
    #[inline(always)]
    pub(crate) fn raise_to_dispatch(&mut self) -> Raised<'_, Dispatch>
    where
        L: AtMost<Dispatch>,
    {
        if L::IRQL < irql::DISPATCH {
            self.hal.set_level(irql::DISPATCH);
        }
        Raised::new(self.hal, L::IRQL, 0)
    }

    /// KeRaiseIrql to a device level, undone when the guard drops. `ceiling` is at or above the current level.
    #[inline(always)]
    pub(crate) fn raise_to_dirql(&mut self, ceiling: u8) -> Raised<'_, Dirql> {
        // From PASSIVE and DISPATCH the old CR8 is 0 (invariant above); inside an ISR it is whatever was raised
        // last, never the ISR's own level: restoring that would leave CR8 up after the ISR has returned.
        let old = if L::IRQL > irql::DISPATCH { self.hal.task_priority() } else { 0 };
        self.hal.set_task_priority(ceiling);
        Raised::new(self.hal, L::IRQL, old)
    }
}

impl<L: AtMost<Passive>> At<'_, L> {
    /// The same token, for code that names its level: only `Passive` is at most `Passive`.
    #[inline]
    pub fn as_passive(&mut self) -> At<'_, Passive> {
        // SAFETY: `L` is `Passive`, and `self` is borrowed for as long as the new token lives.
        unsafe { At::mint(self.hal) }
    }
}

/// A token of one of the levels at or below DISPATCH.
pub enum UpToDispatch<'a> {
    /// At PASSIVE.
    Passive(At<'a, Passive>),
    /// At DISPATCH.
    Dispatch(At<'a, Dispatch>),
}

impl UpToDispatch<'_> {
    /// KeRaiseIrql to DISPATCH, for as long as `f` runs.
    #[inline]
    pub fn at_dispatch<R>(&mut self, f: impl FnOnce(&mut At<'_, Dispatch>) -> R) -> R {
        match self {
            UpToDispatch::Passive(at) => at.at_dispatch(f),
            UpToDispatch::Dispatch(at) => f(at),
        }
    }
}

/// A raised level: owns the token of that level, lowers when dropped.
pub(crate) struct Raised<'a, H: Level> {
    pub(crate) at: At<'a, H>,
    from: u8,
    task_priority: u8,
}

impl<'a, H: Level> Raised<'a, H> {
    #[inline(always)]
    fn new(hal: HalRef<'a>, from: u8, task_priority: u8) -> Self {
        // SAFETY: the caller has raised to `H` and holds the lower token borrowed for `'a`.
        Raised { at: unsafe { At::mint(hal) }, from, task_priority }
    }
}

impl<H: Level> Drop for Raised<'_, H> {
    #[inline(always)]
    fn drop(&mut self) {
        let hal = self.at.hal;
        if H::IRQL > irql::DISPATCH {
            hal.set_task_priority(self.task_priority);
        } else if self.from < irql::DISPATCH {
            hal.set_level(irql::PASSIVE);
        }
        // After the write, or what arrives in between waits until something else lowers.
        if self.from < irql::DISPATCH && hal.pending() != 0 {
            drain::on_lower(hal);
        }
    }
}
