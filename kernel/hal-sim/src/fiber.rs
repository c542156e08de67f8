//! Stack switching: the fibers that a simulated machine's threads and idle loops run on.
//!
//! One small trait, two implementations: coroutines, fast enough for a million schedules, and operating system threads
//! that pass a baton, which Miri can run and which check the first. Everything else of the machine is common, so the
//! same choices give the same trace on both.
//!
//! **Invariant:** of a machine's fibers and its root at most one runs at any time.

pub(crate) mod baton;
#[cfg(not(miri))]
pub(crate) mod coroutine;

/// A fiber's number within its machine.
pub(crate) type FiberId = usize;

/// What a fiber did when it gave control back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It suspended and can be resumed.
    Suspended,
    /// Its body has returned or was unwound.
    Ended,
}

/// The fibers of one machine at a time; numbered from 0 in order of creation.
pub(crate) trait Fibers {
    /// A fiber that will run `body` when first resumed.
    ///
    /// # Safety
    /// What `body` borrows lives until the fiber has ended or is discarded.
    unsafe fn create(&self, body: Box<dyn FnOnce()>) -> FiberId;

    /// Called by the root: runs `fiber` until it suspends or ends.
    fn resume(&self, fiber: FiberId) -> Progress;

    /// Called by the running fiber, which is `fiber`: back to the root, until resumed.
    fn suspend(&self, fiber: FiberId);

    /// Forgets the frames of a suspended fiber that has nothing left to do. `false`: this implementation cannot, and
    /// the fiber has to be resumed until it ends.
    ///
    /// # Safety
    /// No frame of the fiber owns anything that must be dropped.
    unsafe fn discard(&self, fiber: FiberId) -> bool;

    /// Forgets all fibers, every one of which has ended or was discarded.
    fn clear(&self);
}
