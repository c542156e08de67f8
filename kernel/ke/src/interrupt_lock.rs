//! The lock of an interrupt, or of a set of interrupts: what excludes their ISRs on all CPUs.
//!
//! The ISRs' state lives in it. For a DIRQL interrupt it is a spin lock held at the set's ceiling, the synchronize IRQL;
//! for a passive-level one a wait lock.
//!
//! **Invariant:** the state is reached only while the lock word is held. The ceiling starts at the highest device level
//! and falls at most once, before any member connects: a stale reader raises too high, never too low.

use crate::{
    at::{At, Raised},
    hal::{HalRef, Point},
    level::{CanTry, Dirql, IsrLevel, Level, LockableFrom, MayWait, Passive, irql},
    ticket::TicketWord,
    verifier::{Kind, Site},
    wait_lock::WaitWord,
};
use alloc::sync::Arc;
use core::{
    cell::UnsafeCell,
    fmt, hint,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    panic::Location,
    sync::atomic::{
        AtomicU8, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};

/// The lock and the state of one interrupt or of a set (WDF_INTERRUPT_CONFIG's SpinLock or WaitLock). Cloning clones the
/// handle, not the state.
///
/// ```
/// use ke::{At, InterruptLock, Passive};
/// fn take(seen: &InterruptLock<u32>, at: &mut At<'_, Passive>) -> u32 {
///     seen.synchronize(at, |seen, _at| core::mem::take(seen))
/// }
/// ```
pub struct InterruptLock<T, L: IsrLevel = Dirql> {
    body: Arc<Body<T>>,
    _level: PhantomData<fn() -> L>,
}

pub(crate) struct Body<T> {
    word: TicketWord,
    /// The synchronize IRQL, as wide as the register that it is raised with. Only [`u8`]s are stored.
    ceiling: AtomicU64,
    fixed: AtomicU8,
    wait: WaitWord,
    state: UnsafeCell<T>,
}

// SAFETY: the word (`word` or `wait`, by level) lets one at a time reach the state.
unsafe impl<T: Send> Sync for Body<T> {}
// SAFETY: an unlocked lock is its state; a locked one is borrowed.
unsafe impl<T: Send> Send for Body<T> {}

impl<T> Body<T> {
    #[inline(always)]
    pub(crate) fn ceiling(&self) -> u8 {
        let ceiling = self.ceiling.load(Relaxed);
        // SAFETY: only `u8`s are stored; so raising needs no widening.
        unsafe { hint::assert_unchecked(ceiling <= u64::from(u8::MAX)) };
        ceiling as u8
    }

    /// Runs `f` on the state, for an ISR that runs at the ceiling and is called `site`.
    ///
    /// # Safety
    /// The caller runs at the ceiling or above, and does not hold this lock.
    #[inline(always)]
    pub(crate) unsafe fn with_word<R>(&self, hal: HalRef<'_>, site: Site, f: impl FnOnce(&mut T) -> R) -> R {
        self.word.lock(hal, site);
        // SAFETY: the word is held.
        let result = f(unsafe { &mut *self.state.get() });
        self.word.unlock(hal);
        result
    }
}

/// Why a nested synchronize was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nested {
    /// The lock's ceiling is not above the current level: it is lower, equal, or the lock that is held.
    NotHigher {
        /// The current IRQL.
        here: u8,
        /// The ceiling of the lock that was asked for.
        there: u8,
    },
}

impl fmt::Display for Nested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::NotHigher { here, there } = self;
        write!(f, "code at IRQL {here} cannot nest into an interrupt lock of IRQL {there}: it must be strictly higher")
    }
}

impl core::error::Error for Nested {}

/// An interrupt's class is above the ceiling that its lock has already settled on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CeilingTooLow {
    /// The class of the line or message.
    pub line: u8,
    /// The lock's ceiling.
    pub ceiling: u8,
}

impl fmt::Display for CeilingTooLow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an interrupt at IRQL {} cannot join a lock whose ceiling is IRQL {}", self.line, self.ceiling)
    }
}

impl core::error::Error for CeilingTooLow {}

impl<T: Send + 'static, L: IsrLevel> InterruptLock<T, L> {
    /// A lock around the ISRs' state. Until its interrupts have their resources it excludes at the highest device level.
    pub fn new(state: T) -> Self {
        let body = Body {
            word: TicketWord::new(Kind::Interrupt),
            ceiling: AtomicU64::new(irql::DEVICE_HIGHEST.into()),
            fixed: AtomicU8::new(0),
            wait: WaitWord::new(Kind::Interrupt),
            state: UnsafeCell::new(state),
        };
        InterruptLock { body: Arc::new(body), _level: PhantomData }
    }

    /// WdfInterruptAcquireLock: excludes the ISRs of all members on all CPUs until the guard drops.
    #[inline]
    #[track_caller]
    pub fn acquire<'a, C: Level>(&'a self, at: &'a mut At<'_, C>) -> InterruptGuard<'a, T, L>
    where
        L: LockableFrom<C>,
    {
        at.point(Point::AcquireLock, self.address(), Location::caller());
        self.acquire_as(at, Site::line(Location::caller()))
    }

    /// As [`Self::acquire`], for `site`.
    #[inline(always)]
    pub(crate) fn acquire_as<'a, C: Level>(&'a self, at: &'a mut At<'_, C>, site: Site) -> InterruptGuard<'a, T, L>
    where
        L: LockableFrom<C>,
    {
        if L::PASSIVE {
            // SAFETY: a passive-level lock is lockable from Passive alone, and `at` is borrowed for as long as the token.
            self.body.wait.acquire(&mut unsafe { At::<Passive>::mint(at.hal) }, site);
            InterruptGuard { body: &self.body, held: Held::Waited(at.hal), _level: PhantomData }
        } else {
            let raised = at.raise_to_dirql(self.body.ceiling());
            self.body.word.lock(raised.at.hal, site);
            InterruptGuard { body: &self.body, held: Held::Raised(raised), _level: PhantomData }
        }
    }

    /// KeSynchronizeExecution, WdfInterruptSynchronize: runs `f` under the lock and returns what it returns.
    #[inline]
    #[track_caller]
    pub fn synchronize<C: Level, R>(&self, at: &mut At<'_, C>, f: impl FnOnce(&mut T, &mut At<'_, L>) -> R) -> R
    where
        L: LockableFrom<C>,
    {
        let mut guard = self.acquire(at);
        let (state, mut at) = guard.parts();
        f(state, &mut at)
    }

    /// The synchronize IRQL.
    pub fn ceiling(&self) -> u8 {
        if L::PASSIVE { irql::PASSIVE } else { self.body.ceiling() }
    }

    /// Lowers the ceiling to `irql`, the highest DIRQL of the members known now. Only the first call does; a later one
    /// checks that its members fit. Called by the framework once a device has its resources, before any connect.
    pub fn settle(&self, irql: u8) -> Result<(), CeilingTooLow> {
        if L::PASSIVE {
            return Ok(());
        }
        if self.body.fixed.swap(1, AcqRel) == 0 {
            self.body.ceiling.store(irql.into(), Relaxed);
            return Ok(());
        }
        let ceiling = self.body.ceiling();
        if irql > ceiling { Err(CeilingTooLow { line: irql, ceiling }) } else { Ok(()) }
    }

    /// Whether the ceiling has fallen; if so, no member may have a higher class.
    pub fn settled_ceiling(&self) -> Option<u8> {
        (self.body.fixed.load(Acquire) != 0).then(|| self.ceiling())
    }

    /// Whether the running thread has it. Of a lock at DIRQL it never does: it is at PASSIVE.
    pub(crate) fn is_mine(&self, at: &At<'_, Passive>) -> bool {
        L::PASSIVE && self.body.wait.is_mine(at.hal)
    }

    pub(crate) fn body(&self) -> &Body<T> {
        &self.body
    }

    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.body).addr()
    }
}

impl<T: Send + 'static> InterruptLock<T, Dirql> {
    /// KeSynchronizeExecution on a higher interrupt, from an ISR or from under another interrupt's lock: `f` runs under
    /// this lock if its ceiling is strictly above the current level. All nesting ascends, so no cycle exists.
    #[track_caller]
    pub fn synchronize_nested<R>(
        &self,
        at: &mut At<'_, Dirql>,
        f: impl FnOnce(&mut T, &mut At<'_, Dirql>) -> R,
    ) -> Result<R, Nested> {
        at.point(Point::AcquireLock, self.address(), Location::caller());
        let (here, there) = (at.irql(), self.body.ceiling());
        if there <= here {
            return Err(Nested::NotHigher { here, there });
        }
        let mut raised = at.raise_to_dirql(there);
        self.body.word.lock(raised.at.hal, Site::line(Location::caller()));
        let mut guard =
            InterruptGuard::<T, Dirql> { body: &self.body, held: Held::Nested(raised.at.hal), _level: PhantomData };
        let result = f(guard.state(), &mut raised.at);
        drop(guard);
        Ok(result)
    }
}

impl<T: Send + 'static, L: CanTry> InterruptLock<T, L> {
    /// WdfInterruptTryToAcquireLock: `None` when it is taken. PASSIVE, passive-level interrupts only.
    #[track_caller]
    pub fn try_acquire<'a, C: MayWait>(&'a self, at: &'a mut At<'_, C>) -> Option<InterruptGuard<'a, T, L>> {
        at.point(Point::AcquireLock, self.address(), Location::caller());
        let hal = at.hal;
        // A guard is made only of a lock that is held: dropping it releases.
        let guard = || InterruptGuard { body: &self.body, held: Held::Waited(hal), _level: PhantomData };
        self.body.wait.try_acquire(hal, Site::line(Location::caller())).then(guard)
    }
}

impl<T, L: IsrLevel> Clone for InterruptLock<T, L> {
    fn clone(&self) -> Self {
        InterruptLock { body: self.body.clone(), _level: PhantomData }
    }
}

impl<T, L: IsrLevel> fmt::Debug for InterruptLock<T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterruptLock").field("ceiling", &self.body.ceiling()).finish_non_exhaustive()
    }
}

/// An interrupt lock, held. Owns the token of its level.
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct InterruptGuard<'a, T, L: IsrLevel> {
    body: &'a Body<T>,
    held: Held<'a>,
    _level: PhantomData<fn() -> L>,
}

enum Held<'a> {
    Raised(Raised<'a, Dirql>),
    Waited(HalRef<'a>),
    Nested(HalRef<'a>),
}

impl<'a, T, L: IsrLevel> InterruptGuard<'a, T, L> {
    #[inline(always)]
    fn state(&mut self) -> &mut T {
        // SAFETY: this guard holds the word, and is borrowed mutably.
        unsafe { &mut *self.body.state.get() }
    }

    #[inline(always)]
    fn hal(&self) -> HalRef<'a> {
        match &self.held {
            Held::Raised(raised) => raised.at.hal,
            Held::Waited(hal) | Held::Nested(hal) => *hal,
        }
    }

    /// The state and a token of the lock's level, side by side.
    #[inline]
    pub fn parts(&mut self) -> (&mut T, At<'_, L>) {
        // SAFETY: the guard was made at the lock's level and borrows the token it was made with.
        let at = unsafe { At::mint(self.hal()) };
        (self.state(), at)
    }
}

impl<T, L: IsrLevel> Deref for InterruptGuard<'_, T, L> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard holds the word.
        unsafe { &*self.body.state.get() }
    }
}

impl<T, L: IsrLevel> DerefMut for InterruptGuard<'_, T, L> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.state()
    }
}

impl<T, L: IsrLevel> Drop for InterruptGuard<'_, T, L> {
    #[inline(always)]
    fn drop(&mut self) {
        let hal = self.hal();
        if !L::PASSIVE {
            self.body.word.unlock(hal);
        } else if !hal.dead() {
            self.body.wait.release(hal);
        }
    }
}
