//! Waiting: the block that a waiting thread leaves in an object's list.
//!
//! A thread that has to wait puts a [`WaitBlock`] of its own stack into the object's [`WaitList`], under the object's
//! lock, and parks. Whoever ends the wait takes the block out, under the same lock, and grants it.
//!
//! **Invariant:** a block is linked only while its thread is inside [`wait_on`], which leaves only when the block is
//! granted, or after unlinking it itself under the object's lock. `granted` changes under the dispatcher lock, so the
//! granter is done with the block before the thread can see the grant.

use crate::{
    at::At,
    clock::WaitTimer,
    core_lock::CoreLock,
    hal::{self, HalRef},
    level::{Dispatch, Passive},
    sched,
    thread::Thread,
    work,
};
use core::{
    fmt,
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicBool, AtomicPtr,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// The wait was made through a reference to a device that has been stopped or removed meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the device was stopped or removed during the wait")
    }
}

impl core::error::Error for Gone {}

/// Why a wait with a time-out ended without its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitError {
    /// The time is over (STATUS_TIMEOUT).
    TimedOut,
    /// As [`Gone`].
    Gone,
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("the wait timed out"),
            Self::Gone => Gone.fmt(f),
        }
    }
}

impl core::error::Error for WaitError {}

impl From<Gone> for WaitError {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// One thread's wait for one object.
pub(crate) struct WaitBlock {
    pub(crate) thread: NonNull<Thread>,
    granted: AtomicBool,
    pub(crate) timed_out: AtomicBool,
    next: AtomicPtr<WaitBlock>,
}

impl WaitBlock {
    fn new(thread: &Thread) -> Self {
        WaitBlock {
            thread: NonNull::from(thread),
            granted: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            next: AtomicPtr::default(),
        }
    }

    /// Under the dispatcher lock alone.
    pub(crate) fn set_granted(&self) {
        self.granted.store(true, Release);
    }

    fn is_granted(&self) -> bool {
        self.granted.load(Acquire)
    }
}

/// Threads that wait for an object, in the order they came. Lives under the object's spin lock.
pub(crate) struct WaitList {
    head: *const WaitBlock,
    last: *const WaitBlock,
}

// SAFETY: the blocks belong to threads that wait until they are taken out of here; the list is behind a lock.
unsafe impl Send for WaitList {}

impl WaitList {
    pub(crate) const fn new() -> Self {
        WaitList { head: ptr::null(), last: ptr::null() }
    }

    fn push(&mut self, block: &WaitBlock) {
        block.next.store(ptr::null_mut(), Relaxed);
        // SAFETY: linked blocks are alive (invariant above).
        match unsafe { self.last.as_ref() } {
            Some(last) => last.next.store(ptr::from_ref(block).cast_mut(), Relaxed),
            None => self.head = block,
        }
        self.last = block;
    }

    /// Takes the first block out and lets its thread go on. `false`: nobody waits.
    pub(crate) fn grant_first(&mut self, hal: HalRef<'_>) -> bool {
        let Some(block) = NonNull::new(self.head.cast_mut()) else { return false };
        // SAFETY: linked blocks are alive, and stay so until `grant` has set `granted`.
        unsafe {
            self.head = block.as_ref().next.load(Relaxed);
            if self.head.is_null() {
                self.last = ptr::null();
            }
            sched::grant(hal, block);
        }
        true
    }

    /// The thread of the first block.
    pub(crate) fn first_thread(&self) -> Option<NonNull<Thread>> {
        // SAFETY: linked blocks are alive.
        unsafe { self.head.as_ref().map(|block| block.thread) }
    }

    /// Takes `block` out, if it is in.
    fn remove(&mut self, block: &WaitBlock) {
        let (mut before, mut each): (*const WaitBlock, _) = (ptr::null(), self.head);
        // SAFETY: linked blocks are alive.
        unsafe {
            while !each.is_null() && !ptr::eq(each, block) {
                (before, each) = (each, (*each).next.load(Relaxed).cast_const());
            }
            if each.is_null() {
                return;
            }
            let next = block.next.load(Relaxed);
            match before.as_ref() {
                Some(before) => before.next.store(next, Relaxed),
                None => self.head = next,
            }
            if next.is_null() {
                self.last = before;
            }
        }
    }
}

/// How long a wait may last, and what may end it early.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// Nanoseconds since boot.
    pub(crate) deadline: Option<u64>,
    /// Whether the run-down of a device that the thread uses ends the wait.
    pub(crate) alertable: bool,
}

impl Patience {
    pub(crate) const FOREVER: Patience = Patience { deadline: None, alertable: false };
    pub(crate) const UNTIL_GONE: Patience = Patience { deadline: None, alertable: true };
}

/// Waits for the object behind `lock`. `try_take` is asked under the lock: `true` ends the wait at once, else the
/// thread joins the list that `list` finds, and returns once granted.
pub(crate) fn wait_on<T>(
    at: &mut At<'_, Passive>,
    lock: &CoreLock<T>,
    patience: Patience,
    mut try_take: impl FnMut(&mut T, &mut At<'_, Dispatch>) -> bool,
    list: impl Fn(&mut T) -> &mut WaitList,
) -> Result<(), WaitError> {
    sched::assert_may_wait(at.hal);
    let thread = hal::current_thread(at.hal);
    let block = WaitBlock::new(thread);
    if lock.with(at, |object, at| {
        let taken = try_take(object, at);
        if !taken {
            list(object).push(&block);
        }
        taken
    }) {
        return Ok(());
    }
    let timer = WaitTimer::new(&block);
    if let Some(deadline) = patience.deadline {
        timer.arm(at, deadline);
    }
    let alerted = || patience.alertable && thread.is_alerted();
    work::blocking(at, thread);
    sched::park(at, || block.is_granted() || block.timed_out.load(Relaxed) || alerted());
    work::unblocked(at, thread);
    if patience.deadline.is_some() {
        timer.disarm(at);
    }
    if block.is_granted() {
        return Ok(());
    }
    // Not granted when it woke: leave the list, unless a grant came first.
    lock.with(at, |object, _| list(object).remove(&block));
    match () {
        () if block.is_granted() => Ok(()),
        () if alerted() => Err(WaitError::Gone),
        () => Err(WaitError::TimedOut),
    }
}
