//! What the DPC queues hold: a routine, where it finds its object, and whether it is queued.
//!
//! **Invariant:** a DPC is linked in at most one queue: whoever turns its state from idle to queued links it, and the
//! drain reads `next` before it turns it back. The state is cleared, with a full barrier, *before* the routine starts:
//! queueing it then makes it run again, perhaps on another CPU at the same time.
//!
//! **Invariant:** a linked DPC is alive: a [`crate::Dpc`]'s link holds a reference, an interrupt's is flushed before it
//! goes, a wait lock's is waited for.

use crate::{
    at::At,
    hal::{self, HalRef},
    level::Dispatch,
    percpu::{PerCpu, pending},
};
use core::{
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicPtr, AtomicU32, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};

/// In the state: linked in some queue.
const QUEUED: u32 = 1;
/// In the state, beside [`QUEUED`]: removed, the drain will pass it over.
const REMOVED: u32 = 2;
/// In the state, beside both: somebody who queues it again writes its arguments.
const REVIVING: u32 = 4;

/// What all DPCs of one kind share.
pub(crate) struct DpcKind {
    /// Called with a DPC that was taken out of its queue, `next` read. It first turns the DPC idle, by [`RawDpc::begin`] or
    /// [`RawDpc::begin_removable`], and does not touch it afterwards. The token by value: it takes no register.
    pub(crate) routine: unsafe fn(NonNull<RawDpc>, At<'_, Dispatch>),
    pub(crate) name: fn() -> &'static str,
    /// Whether the routine watches the callback for the [verifier](crate::verifier).
    pub(crate) verified: bool,
}

impl DpcKind {
    /// One of the core's, or not watched.
    pub(crate) const fn new(routine: unsafe fn(NonNull<RawDpc>, At<'_, Dispatch>), name: fn() -> &'static str) -> Self {
        DpcKind { routine, name, verified: false }
    }
}

/// `repr(C)`: with `next` first, the address of a DPC is that of its `next`, and linking needs no second one.
#[repr(C)]
pub(crate) struct RawDpc {
    pub(crate) next: AtomicPtr<RawDpc>,
    state: AtomicU32,
    context: AtomicPtr<()>,
    arguments: [AtomicUsize; 2],
    kind: AtomicPtr<DpcKind>,
}

impl RawDpc {
    pub(crate) const fn new(kind: &'static DpcKind) -> Self {
        RawDpc {
            next: AtomicPtr::new(ptr::null_mut()),
            state: AtomicU32::new(0),
            context: AtomicPtr::new(ptr::null_mut()),
            arguments: [const { AtomicUsize::new(0) }; 2],
            kind: AtomicPtr::new(ptr::from_ref(kind).cast_mut()),
        }
    }

    /// From the next run on. It is not queued.
    pub(crate) fn set_kind(&self, kind: &'static DpcKind) {
        self.kind.store(ptr::from_ref(kind).cast_mut(), Relaxed);
    }

    pub(crate) fn set_context(&self, context: *const ()) {
        self.context.store(context.cast_mut(), Relaxed);
    }

    /// Idle to queued: the caller links it. `false`: it is linked already.
    #[inline(always)]
    fn claim(&self) -> bool {
        // One bit, tested alone: a single `lock bts`.
        self.state.fetch_or(QUEUED, AcqRel) & QUEUED == 0
    }

    /// KeInsertQueueDpc on this CPU. `false`: it was queued already.
    ///
    /// For DPCs that are never removed and take no arguments.
    ///
    /// # Safety
    /// `self` stays alive until its routine has started, its context is what the routine expects, and the caller is at
    /// DISPATCH or above with interrupts on.
    #[inline(always)]
    pub(crate) unsafe fn insert_here(&self, hal: HalRef<'_>) -> bool {
        if !self.claim() {
            return false;
        }
        // SAFETY: claimed just now; the rest is the same contract.
        unsafe { self.link_last_here(hal) };
        true
    }

    /// # Safety
    /// Claimed by this caller; otherwise as [`Self::insert_here`].
    #[inline(always)]
    unsafe fn link_last_here(&self, hal: HalRef<'_>) {
        hal.disable_interrupts();
        // SAFETY: claimed, alive, and this CPU's queue with interrupts off.
        unsafe { hal::percpu(hal).dpcs.link_last(self) };
        hal.set_pending(pending::DPC);
        hal.enable_interrupts();
    }

    /// [`Self::insert_on`] this CPU, of medium importance: what is common, in a line.
    ///
    /// # Safety
    /// As [`Self::insert_here`].
    #[inline]
    pub(crate) unsafe fn insert_last_here(
        &self,
        hal: HalRef<'_>,
        arguments: [usize; 2],
        linked: impl FnOnce(),
    ) -> bool {
        if self.claim() {
            self.set_arguments(arguments);
            linked();
            // SAFETY: claimed just now; the rest is the same contract.
            unsafe { self.link_last_here(hal) };
            return true;
        }
        // SAFETY: the same contract.
        unsafe { self.insert_again(hal, arguments, linked) }
    }

    /// It is linked already: perhaps it was removed.
    ///
    /// # Safety
    /// As [`Self::insert_here`].
    #[cold]
    unsafe fn insert_again(&self, hal: HalRef<'_>, arguments: [usize; 2], linked: impl FnOnce()) -> bool {
        // SAFETY: the same contract.
        unsafe { self.insert_on(hal, hal::percpu(hal), Importance::Medium, arguments, linked) }
    }

    /// KeInsertQueueDpc on `target`; how soon it starts is up to `importance`. `linked` runs when it was not linked,
    /// before it can start. `false`: it was queued already, and nothing changes.
    ///
    /// # Safety
    /// As [`Self::insert_here`]; `target` is a CPU of this machine.
    #[inline(never)]
    pub(crate) unsafe fn insert_on(
        &self,
        hal: HalRef<'_>,
        target: &PerCpu,
        importance: Importance,
        arguments: [usize; 2],
        linked: impl FnOnce(),
    ) -> bool {
        loop {
            if self.claim() {
                self.set_arguments(arguments);
                linked();
                // SAFETY: claimed just now, alive by the contract.
                unsafe { self.link_on(hal, target, importance) };
                return true;
            }
            // Removed but still linked: it is queued again in its old place, unless the drain passes it over first.
            match self.state.compare_exchange(QUEUED | REMOVED, QUEUED | REMOVED | REVIVING, AcqRel, Relaxed) {
                Ok(_) => self.set_arguments(arguments),
                Err(0) => continue,
                Err(_) => return false,
            }
            if self.state.compare_exchange(QUEUED | REMOVED | REVIVING, QUEUED, AcqRel, Relaxed).is_ok() {
                return true;
            }
        }
    }

    fn set_arguments(&self, arguments: [usize; 2]) {
        for (slot, argument) in self.arguments.iter().zip(arguments) {
            slot.store(argument, Relaxed);
        }
    }

    /// # Safety
    /// Claimed by this caller, alive until its routine has started, DISPATCH or above with interrupts on.
    unsafe fn link_on(&self, hal: HalRef<'_>, target: &PerCpu, importance: Importance) {
        let prompt = importance != Importance::Low || target.dpcs.one_more_low();
        if hal.cpu() == target.number() {
            hal.disable_interrupts();
            // SAFETY: claimed, alive, and this CPU's queue with interrupts off.
            unsafe {
                match importance {
                    Importance::High => target.dpcs.link_first(hal, self),
                    _ => target.dpcs.link_last(self),
                }
            }
            if prompt && importance != Importance::High {
                hal.set_pending(pending::DPC);
            }
            hal.enable_interrupts();
            return;
        }
        // SAFETY: claimed and alive.
        unsafe { target.inbox.push(self, importance) };
        if prompt || target.sched.is_idle() {
            hal.send_dispatch_ipi(target.number());
        }
    }

    /// KeRemoveQueueDpc: `true`, it was queued and will not run. Any IRQL.
    pub(crate) fn remove(&self) -> bool {
        self.state.compare_exchange(QUEUED, QUEUED | REMOVED, AcqRel, Relaxed).is_ok()
    }

    /// Whether it is queued and not removed.
    pub(crate) fn is_queued(&self) -> bool {
        self.state.load(Acquire) == QUEUED
    }

    pub(crate) fn kind(&self) -> &'static DpcKind {
        // SAFETY: stored from such a reference, in `new` and `set_kind`.
        unsafe { &*self.kind.load(Relaxed) }
    }

    /// Turns a DPC of a kind that is never removed idle for its run. Gives its context.
    ///
    /// # Safety
    /// As [`DpcKind::routine`] is called.
    #[inline(always)]
    pub(crate) unsafe fn begin(this: NonNull<RawDpc>) -> *const () {
        // SAFETY: linked until now, so alive until the swap.
        let this = unsafe { this.as_ref() };
        let context = this.context.load(Relaxed);
        let state = this.state.swap(0, AcqRel);
        debug_assert_eq!(state, QUEUED, "DPCs of this kind are never removed");
        context
    }

    /// Where the owner said that its object is.
    ///
    /// # Safety
    /// As [`DpcKind::routine`] is called.
    #[inline(always)]
    pub(crate) unsafe fn context(this: NonNull<RawDpc>) -> *const () {
        // SAFETY: linked until now, so alive.
        unsafe { this.as_ref() }.context.load(Relaxed)
    }

    /// Turns a DPC idle for its run, at the beginning of its routine. Its arguments; `None`: it was removed while it was linked,
    /// and does not run, but what the link held is to be given back.
    #[inline(always)]
    pub(crate) fn begin_removable(&self) -> Option<[usize; 2]> {
        let arguments = [self.arguments[0].load(Relaxed), self.arguments[1].load(Relaxed)];
        (self.state.swap(0, AcqRel) == QUEUED).then_some(arguments)
    }
}

/// How soon a DPC starts, and where in the queue it goes (KeSetImportanceDpc).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Importance {
    /// Waits until its CPU drains the queue for another reason, is idle, or some such DPCs have come together.
    Low,
    /// Starts as soon as its CPU is below DISPATCH.
    #[default]
    Medium,
    /// As `Medium`, which Dirql never holds back on another CPU either; kept for NT's name.
    MediumHigh,
    /// As `Medium`, and goes before everything that is queued.
    High,
}
