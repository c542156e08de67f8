//! Wait locks: data that threads share and may wait for (WDFWAITLOCK, a fast mutex without APCs).
//!
//! **Invariant:** the data is reached only by the owner. A release with nobody waiting is one compare-and-swap; with
//! waiters the lock is handed to the first of them, never freed in between.

use crate::{
    at::{At, ThisCpuOnly},
    bugcheck::BugCheckKind,
    hal::{self, HalRef, Point},
    level::{Dispatch, MayWait, Passive, irql},
    raw_dpc::{DpcKind, RawDpc},
    spin_lock::SpinLock,
    thread::Thread,
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
        AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};

/// In the owner word beside the owner: threads wait.
const CONTENDED: usize = 1;

const LATE_RELEASE: DpcKind = DpcKind { routine: hand_over_late, name: || "wait lock release" };

/// The lock without the data.
pub(crate) struct WaitWord {
    owner: AtomicUsize,
    waiters: SpinLock<WaitList>,
    /// Runs the hand-over when a guard is dropped above DISPATCH. The lock outlives it: waiters borrow the lock.
    late_release: RawDpc,
}

impl WaitWord {
    pub(crate) const fn new() -> Self {
        WaitWord {
            owner: AtomicUsize::new(0),
            waiters: SpinLock::new(WaitList::new()),
            late_release: RawDpc::new(&LATE_RELEASE),
        }
    }

    #[inline(always)]
    pub(crate) fn try_acquire(&self, hal: HalRef<'_>) -> bool {
        let me = hal.current_thread().addr();
        self.owner.compare_exchange(0, me, Acquire, Relaxed).is_ok()
    }

    #[inline(always)]
    pub(crate) fn acquire(&self, at: &mut At<'_, Passive>) {
        if !self.try_acquire(at.hal) {
            let acquired = self.wait_for(at, None);
            debug_assert!(acquired, "a wait without a deadline or an alert ends by its grant");
        }
    }

    /// `false`: it was taken until `deadline` (nanoseconds since boot).
    #[cold]
    fn wait_for(&self, at: &mut At<'_, Passive>, deadline: Option<u64>) -> bool {
        let me = hal::current_thread(at.hal);
        if self.owner.load(Relaxed) & !CONTENDED == ptr::from_ref(me).addr() {
            at.hal.bug_check(
                BugCheckKind::RecursiveLock,
                format_args!("thread {} takes a wait lock that it already holds", me.name()),
            );
        }
        let result = wait_on(
            at,
            &self.waiters,
            Patience { deadline, alertable: false },
            |_, at| {
                // Under the waiters' lock: either the lock is free by now, or the owner learns that someone waits
                // and must come through the waiters' lock to release it.
                self.owner.fetch_or(CONTENDED, AcqRel) & !CONTENDED == 0 && self.become_owner(at)
            },
            |waiters| waiters,
        );
        // One that gave up leaves CONTENDED behind: the next release finds the list as it is then.
        result.is_ok()
    }

    /// The word is free but for `CONTENDED`, and the waiters' lock is held.
    fn become_owner(&self, at: &mut At<'_, Dispatch>) -> bool {
        self.owner.store(at.hal.current_thread().addr(), Relaxed);
        true
    }

    pub(crate) fn release(&self, hal: HalRef<'_>) {
        let me = self.owner.load(Relaxed) & !CONTENDED;
        debug_assert_eq!(me, hal.current_thread().addr(), "a guard does not leave its thread");
        if self.owner.compare_exchange(me, 0, AcqRel, Relaxed).is_ok() {
            return;
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
        let Some(next) = waiters.first_thread() else {
            self.owner.store(0, Relaxed);
            return;
        };
        // CONTENDED stays, even for the last waiter: its release then finds the list empty, above.
        self.owner.store(next.addr().get() | CONTENDED, Relaxed);
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
        WaitLock { word: WaitWord::new(), data: UnsafeCell::new(data) }
    }

    /// WdfWaitLockAcquire without a time-out. PASSIVE.
    #[track_caller]
    pub fn acquire<'a, 'c: 'a, L: MayWait>(&'a self, at: &mut At<'c, L>) -> WaitGuard<'a, T> {
        at.point(Point::AcquireLock, ptr::from_ref(self).addr(), Location::caller());
        self.word.acquire(&mut at.as_passive());
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
        self.word.try_acquire(at.hal).then(|| self.guard(at.hal))
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
        let acquired = self.word.try_acquire(at.hal) || self.word.wait_for(&mut at.as_passive(), Some(deadline));
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

const _: () = assert!(align_of::<Thread>() > CONTENDED, "a thread's address leaves the bit free");
