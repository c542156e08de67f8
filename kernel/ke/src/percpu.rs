//! What every CPU has of its own: the block that `gs` points at on x86_64.
//!
//! The first words are at fixed offsets, exported in [`offset`] for the entry stubs. The rest is private to the core.
//!
//! **Invariant:** the cells guarded by "this CPU only" (`DpcQueue`, `Left`) are touched by this CPU alone, with interrupts off.

use crate::{
    clock::ClockQueue,
    dispatch::{self, Head},
    dpc_queue::{DpcQueue, Inbox},
    hal::HalRef,
    sched::CpuSched,
    thread::Thread,
    verifier::Held,
    watchdog::Ticks,
    work_queue::Left,
};
use core::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// The vector of the inter-processor interrupt at DISPATCH: remote DPCs, barriers, rescheduling.
pub const DISPATCH_VECTOR: u8 = 0x2f;
/// The vector of the one-shot clock.
pub const CLOCK_VECTOR: u8 = 0xd1;

/// Bits of the pending word: what a CPU has to do before it returns below DISPATCH.
///
/// **Invariant:** the word is private to its CPU; other CPUs go through the inbox and [`DISPATCH_VECTOR`].
pub mod pending {
    /// DPCs are queued on this CPU.
    pub const DPC: u32 = 1 << 2;
    /// Some of them are of high importance.
    pub const HIGH_DPC: u32 = 1 << 16;
    /// A better thread is ready, an ISR has left work, or the time slice is over.
    pub const RESCHEDULE: u32 = 1 << 1;
}

/// One CPU's block.
#[repr(C, align(64))]
pub struct PerCpu {
    this: AtomicPtr<PerCpu>,
    level: AtomicU64,
    pending: AtomicU32,
    number: u32,
    current: AtomicPtr<Thread>,
    /// Four words for the HAL.
    pub hal: [AtomicUsize; 4],
    vectors: [AtomicPtr<Head>; 256],
    pub(crate) unexpected: Head,
    pub(crate) unexpected_count: AtomicU64,
    dispatch_ipi: Head,
    clock: Head,
    pub(crate) dpcs: DpcQueue,
    pub(crate) inbox: Inbox,
    pub(crate) work: Left,
    pub(crate) sched: CpuSched,
    pub(crate) timers: ClockQueue,
    pub(crate) watchdog: Ticks,
    /// What the verifier knows that this CPU holds.
    pub(crate) held: Held,
}

/// Byte offsets into [`PerCpu`] and [`Head`] for assembly.
pub mod offset {
    use super::*;
    use core::mem::offset_of;
    /// A pointer to the block itself.
    pub const THIS: usize = offset_of!(PerCpu, this);
    /// The level word, 8 bytes.
    pub const LEVEL: usize = offset_of!(PerCpu, level);
    /// The pending word, 4 bytes.
    pub const PENDING: usize = offset_of!(PerCpu, pending);
    /// The CPU's number, 4 bytes.
    pub const NUMBER: usize = offset_of!(PerCpu, number);
    /// The running thread.
    pub const CURRENT: usize = offset_of!(PerCpu, current);
    /// The HAL's four words.
    pub const HAL: usize = offset_of!(PerCpu, hal);
    /// 256 pointers to [`Head`], never null.
    pub const VECTORS: usize = offset_of!(PerCpu, vectors);
    /// In a [`Head`]: the dispatch routine, `extern "sysv64" fn(*const Head, HalWord)`.
    pub const HEAD_DISPATCH: usize = offset_of!(Head, dispatch);
    /// In a [`Head`]: the IRQL in service, 4 bytes.
    pub const HEAD_LEVEL: usize = offset_of!(Head, level);
    const _: () = assert!(THIS == 0 && LEVEL == 8 && PENDING == 16 && NUMBER == 20 && CURRENT == 24);
    const _: () = assert!(HAL == 32 && VECTORS == 64 && HEAD_DISPATCH == 0 && HEAD_LEVEL == 8);
}

impl PerCpu {
    /// The block of CPU `number`, not yet in its final place: call [`Self::place`] there before use.
    pub(crate) fn new(number: u32) -> Self {
        PerCpu {
            this: AtomicPtr::default(),
            level: AtomicU64::new(u64::from(crate::level::irql::DISPATCH)),
            pending: AtomicU32::new(0),
            number,
            current: AtomicPtr::default(),
            hal: Default::default(),
            vectors: [const { AtomicPtr::new(core::ptr::null_mut()) }; 256],
            unexpected: Head::own(dispatch::unexpected, crate::level::irql::DISPATCH, "unexpected interrupt"),
            unexpected_count: AtomicU64::new(0),
            dispatch_ipi: Head::own(dispatch::dispatch_ipi, DISPATCH_VECTOR >> 4, "dispatch IPI"),
            clock: Head::own(dispatch::clock, CLOCK_VECTOR >> 4, "clock"),
            dpcs: DpcQueue::new(),
            inbox: Inbox::new(),
            work: Left::new(),
            sched: CpuSched::new(),
            timers: ClockQueue::new(),
            watchdog: Ticks::new(),
            held: Held::new(),
        }
    }

    /// Fills in the pointers into the block itself.
    pub(crate) fn place(&self) {
        let this = core::ptr::from_ref(self).cast_mut();
        self.this.store(this, Relaxed);
        for (n, slot) in self.vectors.iter().enumerate() {
            let head = match n as u8 {
                DISPATCH_VECTOR => &self.dispatch_ipi,
                CLOCK_VECTOR => &self.clock,
                _ => &self.unexpected,
            };
            slot.store(core::ptr::from_ref(head).cast_mut(), Relaxed);
        }
        self.dpcs.place();
    }

    /// The CPU's number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The level word, for a HAL without an instruction of its own for it.
    pub fn level_word(&self) -> &AtomicU64 {
        &self.level
    }

    /// The pending word, likewise.
    pub fn pending_word(&self) -> &AtomicU32 {
        &self.pending
    }

    /// The running thread, likewise.
    pub fn current_word(&self) -> &AtomicPtr<Thread> {
        &self.current
    }

    /// The slot of `vector`: the head of the object that its interrupt dispatches to.
    pub(crate) fn vector(&self, vector: u8) -> &AtomicPtr<Head> {
        &self.vectors[usize::from(vector)]
    }

    /// Puts `head` into the slot of `vector`. `false`: it has an owner. Under the registry's lock.
    pub(crate) fn take_slot(&self, vector: u8, head: *const Head) -> bool {
        let free = self.is_free(vector);
        if free {
            self.vector(vector).store(head.cast_mut(), Release);
        }
        free
    }

    /// What comes on `vector` is unexpected from now on.
    pub(crate) fn empty_slot(&self, vector: u8) {
        self.vector(vector).store(core::ptr::from_ref(&self.unexpected).cast_mut(), Release);
    }

    /// Whether `vector` dispatches to nothing.
    pub fn is_free(&self, vector: u8) -> bool {
        core::ptr::eq(self.vector(vector).load(Relaxed), &self.unexpected)
    }

    /// Interrupts on `vector` so far, of what is connected there now. This CPU, above the class of `vector`: so it stays
    /// connected meanwhile.
    pub(crate) fn interrupts_on(&self, vector: usize) -> u64 {
        // SAFETY: a slot points at a live head; who takes it out waits for this CPU with the barrier before it goes.
        unsafe { (*self.vectors[vector].load(Acquire)).count() }
    }

    /// What is connected to `vector` storms. As [`Self::interrupts_on`].
    pub(crate) fn notice_storm(&self, vector: usize) {
        // SAFETY: as above.
        unsafe { (*self.vectors[vector].load(Acquire)).notice_storm() }
    }

    /// Interrupts that no object was connected for.
    pub fn unexpected(&self) -> u64 {
        self.unexpected_count.load(Relaxed)
    }
}

/// CPU `cpu`'s block, if there is such a CPU.
pub(crate) fn of<'c>(hal: HalRef<'c>, cpu: u32) -> Option<&'c PerCpu> {
    crate::hal::system(hal).cpus().get(cpu as usize)
}
