//! Wait locks: data that threads share and may wait for (WDFWAITLOCK, a fast mutex without APCs).
//!
//! **Invariant:** the data is reached only by the owner. A release with nobody waiting is one compare-and-swap; with
//! waiters the lock is handed to the first of them, never freed in between.
//!
//! While a lock is [verified](crate::verifier), its word has [`VERIFIED`] in it, free or owned: both compare-and-swaps then fail,
//! and who takes or releases it comes to the slow path, where that is noted.

use crate::{
    at::{At, ThisCpuOnly},
    core_lock::CoreLock,
    hal::{self, HalRef, Point},
    level::{Dispatch, MayWait, Passive, irql},
    raw_dpc::{DpcKind, RawDpc},
    thread::Thread,
    verifier::{self, Kind, Site},
    wait::{Patience, WaitList, wait_on},
};
use core::{
    cell::UnsafeCell,
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    panic::Location,
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicU32, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};

/// In the owner word beside the owner: threads wait.
const CONTENDED: usize = 1;
/// In the owner word, with or without an owner: the lock is verified, or nobody has looked yet whether it is to be.
const VERIFIED: usize = 2;
/// All that is not the owner.
const MARKS: usize = CONTENDED | VERIFIED;

const LATE_RELEASE: DpcKind = DpcKind::new(hand_over_late, || "wait lock release");

/// The lock without the data.
pub(crate) struct WaitWord {
    owner: AtomicUsize,
    /// Which lock it is, once it has been verified; before that its kind alone.
    id: AtomicU32,
    waiters: CoreLock<WaitList>,
    /// Runs the hand-over when a guard is dropped above DISPATCH. The lock outlives it: waiters borrow the lock.
    late_release: RawDpc,
}

impl WaitWord {
    pub(crate) const fn new(kind: Kind) -> Self {
        Self::with(VERIFIED, kind.first_id())
    }

    /// Never verified.
    pub(crate) const fn plain() -> Self {
        Self::with(0, 0)
    }

    const fn with(owner: usize, id: u32) -> Self {
        WaitWord {
            owner: AtomicUsize::new(owner),
            id: AtomicU32::new(id),
            waiters: CoreLock::new(WaitList::new()),
            late_release: RawDpc::new(&LATE_RELEASE),
        }
    }

    #[inline(always)]
    fn take_free(&self, hal: HalRef<'_>) -> bool {
        let me = hal.current_thread().addr();
        self.owner.compare_exchange(0, me, Acquire, Relaxed).is_ok()
    }

    /// `false`: it is taken.
    #[inline(always)]
    pub(crate) fn try_acquire(&self, hal: HalRef<'_>, site: Site) -> bool {
        self.take_free(hal) || self.take_marked(hal, site)
    }

    #[inline(always)]
    pub(crate) fn acquire(&self, at: &mut At<'_, Passive>, site: Site) {
        if !self.take_free(at.hal) {
            let acquired = self.wait_for(at, None, site);
            debug_assert!(acquired, "a wait without a deadline or an alert ends by its grant");
        }
    }

    /// Takes a free word with the mark. `false`: it has an owner, or no mark.
    #[cold]
    fn take_marked(&self, hal: HalRef<'_>, site: Site) -> bool {
        let me = hal.current_thread().addr();
        let verified = verifier::is_on(hal);
        let owner = if verified { me | VERIFIED } else { me };
        let taken = self.owner.compare_exchange(VERIFIED, owner, Acquire, Relaxed).is_ok();
        if taken && verified {
            verifier::wait_lock_taken(hal, &self.id, site);
        }
        taken
    }

    /// `false`: it was taken until `deadline` (nanoseconds since boot).
    #[cold]
    fn wait_for(&self, at: &mut At<'_, Passive>, deadline: Option<u64>, site: Site) -> bool {
        let me = hal::current_thread(at.hal);
        let owner = self.owner.load(Relaxed);
        if owner & !MARKS == ptr::from_ref(me).addr() {
            verifier::report_recursion(at.hal, me, &self.id, site);
        }
        if owner & VERIFIED != 0 && verifier::is_on(at.hal) {
            verifier::before_wait(at.hal, &self.id, site);
        }
        if self.take_marked(at.hal, site) {
            return true;
        }
        let result = wait_on(
            at,
            &self.waiters,
            Patience { deadline, alertable: false },
            |_, at| {
                // Under the waiters' lock: either the lock is free by now, or the owner learns that someone waits
                // and must come through the waiters' lock to release it.
                self.owner.fetch_or(CONTENDED, AcqRel) & !MARKS == 0 && self.become_owner(at)
            },
            |waiters| waiters,
        );
        if result.is_ok() && self.owner.load(Relaxed) & VERIFIED != 0 {
            verifier::wait_lock_taken(at.hal, &self.id, site);
        }
        // One that gave up leaves CONTENDED behind: the next release finds the list as it is then.
        result.is_ok()
    }

    /// Whether the running thread owns it.
    pub(crate) fn is_mine(&self, hal: HalRef<'_>) -> bool {
        self.owner.load(Relaxed) & !MARKS == hal.current_thread().addr()
    }

    /// The word is free but for its marks, and the waiters' lock is held.
    fn become_owner(&self, at: &mut At<'_, Dispatch>) -> bool {
        let mark = self.owner.load(Relaxed) & VERIFIED;
        self.owner.store(at.hal.current_thread().addr() | mark, Relaxed);
        true
    }

    pub(crate) fn release(&self, hal: HalRef<'_>) {
        let me = self.owner.load(Relaxed) & !MARKS;
        debug_assert_eq!(me, hal.current_thread().addr(), "a guard does not leave its thread");
        if self.owner.compare_exchange(me, 0, AcqRel, Relaxed).is_err() {
            self.release_marked(hal, me);
        }
    }

    /// Somebody waits, or the lock is verified.
    #[cold]
    fn release_marked(&self, hal: HalRef<'_>, me: usize) {
        if self.owner.load(Relaxed) & VERIFIED != 0 {
            verifier::wait_lock_released(hal, &self.id);
            if self.owner.compare_exchange(me | VERIFIED, VERIFIED, AcqRel, Relaxed).is_ok() {
                return;
            }
        }
        match hal.level().max(hal.task_priority()) {
            irql::PASSIVE => {
                // SAFETY: the run-time level says so, and the guard's owner is this thread.
                let mut at = unsafe { At::<Passive>::mint(hal) };
                self.waiters.with(&mut at, |waiters, at| self.hand_over(waiters, at));
            }
            irql::DISPATCH => {
                // SAFETY: the run-time level says so.
                let mut at = unsafe { At::<Dispatch>::mint(hal) };
                self.waiters.with(&mut at, |waiters, at| self.hand_over(waiters, at));
            }
            _ => {
                self.late_release.set_context(ptr::from_ref(self).cast());
                // SAFETY: the word outlives the DPC: somebody waits, which borrows the lock until the DPC hands it over.
                unsafe { self.late_release.insert_here(hal) };
            }
        }
    }

    fn hand_over(&self, waiters: &mut WaitList, at: &mut At<'_, Dispatch>) {
        let mark = self.owner.load(Relaxed) & VERIFIED;
        let Some(next) = waiters.first_thread() else {
            self.owner.store(mark, Relaxed);
            return;
        };
        // CONTENDED stays, even for the last waiter: its release then finds the list empty, above.
        self.owner.store(next.addr().get() | CONTENDED | mark, Relaxed);
        waiters.grant_first(at.hal);
    }
}

/// # Safety
/// `word` is the [`WaitWord`] whose DPC this is.
unsafe fn hand_over_late(dpc: NonNull<RawDpc>, mut at: At<'_, Dispatch>) {
    // SAFETY: called as a DPC's routine.
    let word = unsafe { RawDpc::begin(dpc) };
    // SAFETY: by the contract; it is alive because somebody waits for it.
    let word = unsafe { &*word.cast::<WaitWord>() };
    word.waiters.with(&mut at, |waiters, at| word.hand_over(waiters, at));
}

/// Data that threads take turns with; a thread that finds it taken waits. PASSIVE. Not recursive.
///
/// The guard does not borrow the token: holding a wait lock does not change the IRQL.
///
/// ```
/// use ke::{At, Passive, WaitLock};
/// fn rename(name: &WaitLock<String>, new: &str, at: &mut At<'_, Passive>) {
///     let mut name = name.acquire(at);
///     name.clear();
///     name.push_str(new);
/// }
/// ```
pub struct WaitLock<T> {
    word: WaitWord,
    data: UnsafeCell<T>,
}

// SAFETY: the word has one owner at a time, so sharing the lock only moves `T` about.
unsafe impl<T: Send> Sync for WaitLock<T> {}
// SAFETY: an unlocked lock is its data; a locked one is borrowed.
unsafe impl<T: Send> Send for WaitLock<T> {}

impl<T> WaitLock<T> {
    /// An unlocked lock around `data` (WdfWaitLockCreate).
    pub const fn new(data: T) -> Self {
        WaitLock { word: WaitWord::new(Kind::Wait), data: UnsafeCell::new(data) }
    }

    /// One of the core's that is never verified: nothing is taken under it.
    pub(crate) const fn plain(data: T) -> Self {
        WaitLock { word: WaitWord::plain(), data: UnsafeCell::new(data) }
    }

    /// WdfWaitLockAcquire without a time-out. PASSIVE.
    #[track_caller]
    pub fn acquire<'a, 'c: 'a, L: MayWait>(&'a self, at: &mut At<'c, L>) -> WaitGuard<'a, T> {
        at.point(Point::AcquireLock, ptr::from_ref(self).addr(), Location::caller());
        self.word.acquire(&mut at.as_passive(), Site::line(Location::caller()));
        self.guard(at.hal)
    }

    /// The word is held.
    fn guard<'a>(&'a self, hal: HalRef<'a>) -> WaitGuard<'a, T> {
        WaitGuard { lock: self, hal, _stay: PhantomData }
    }

    /// WdfWaitLockAcquire with a time-out of 0: `None` when it is taken. PASSIVE.
    #[track_caller]
    pub fn try_acquire<'a, 'c: 'a, L: MayWait>(&'a self, at: &mut At<'c, L>) -> Option<WaitGuard<'a, T>> {
        at.point(Point::AcquireLock, ptr::from_ref(self).addr(), Location::caller());
        // A guard is made only of a lock that is held: dropping it releases.
        self.word.try_acquire(at.hal, Site::line(Location::caller())).then(|| self.guard(at.hal))
    }

    /// WdfWaitLockAcquire with a time-out of `timeout` nanoseconds: `None` (STATUS_TIMEOUT) when it was taken all the time.
    /// PASSIVE.
    ///
    /// ```
    /// use ke::{At, Passive, WaitLock};
    /// /// At most ten milliseconds late.
    /// fn reset(counter: &WaitLock<u32>, at: &mut At<'_, Passive>) -> bool {
    ///     let Some(mut counter) = counter.acquire_timeout(at, 10_000_000) else { return false };
    ///     *counter = 0;
    ///     true
    /// }
    /// ```
    #[track_caller]
    pub fn acquire_timeout<'a, 'c: 'a, L: MayWait>(
        &'a self,
        at: &mut At<'c, L>,
        timeout: u64,
    ) -> Option<WaitGuard<'a, T>> {
        if timeout == 0 {
            return self.try_acquire(at);
        }
        at.point(Point::AcquireLock, ptr::from_ref(self).addr(), Location::caller());
        let deadline = at.now().saturating_add(timeout);
        let site = Site::line(Location::caller());
        let acquired =
            self.word.try_acquire(at.hal, site) || self.word.wait_for(&mut at.as_passive(), Some(deadline), site);
        acquired.then(|| self.guard(at.hal))
    }

    /// The data of a lock that nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// The data, without the lock.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T> fmt::Debug for WaitLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitLock").finish_non_exhaustive()
    }
}

/// A wait lock, held. Legal to drop at any IRQL: above DISPATCH a contended release is finished by a DPC.
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct WaitGuard<'a, T> {
    lock: &'a WaitLock<T>,
    hal: HalRef<'a>,
    _stay: PhantomData<*mut ThisCpuOnly>,
}

impl<T> Deref for WaitGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: this guard's thread owns the word.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for WaitGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard's thread owns the word, and the guard is borrowed mutably.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T> Drop for WaitGuard<'_, T> {
    fn drop(&mut self) {
        if !self.hal.dead() {
            self.lock.word.release(self.hal);
        }
    }
}

const _: () = assert!(align_of::<Thread>() > MARKS, "a thread's address leaves the bits free");
