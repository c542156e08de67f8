//! From a vector to the code that connecting chose for it.
//!
//! Every CPU has a table of 256 heads. A head's first word is the dispatch routine; the entry stub calls it with the head
//! alone, so the routine for a lone owner is one monomorphized leaf with the driver's ISR inlined.
//!
//! **Invariant:** a head is the first field of the object that its dispatch routine expects, made from a pointer to the
//! whole object, and alive while a slot points at it.

use crate::{
    dpc_queue,
    hal::{self, HalWord, from_word},
    percpu::pending,
};
use core::{
    mem,
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, SeqCst},
    },
};

/// What an entry stub calls, at the head's level, interrupts on. (It unwinds on the simulated machine alone.)
pub type DispatchRoutine = unsafe extern "sysv64-unwind" fn(*const Head, HalWord);

/// The first words of whatever a vector dispatches to. Offsets are in [`crate::percpu::offset`].
#[repr(C)]
pub struct Head {
    pub(crate) dispatch: AtomicPtr<()>,
    pub(crate) level: AtomicU32,
    /// An interrupt came while it was masked where the source cannot mask.
    pub(crate) latched: AtomicBool,
    /// The vector of a slot that it is in, for a replay.
    pub(crate) vector: AtomicU8,
    /// Interrupts: the CPU that takes the vector counts.
    count: AtomicU64,
    /// The dispatch routine that ends a storm.
    storm: DispatchRoutine,
    name: &'static str,
}

impl Head {
    /// The core's own: no storms.
    pub(crate) fn own(routine: DispatchRoutine, level: u8, name: &'static str) -> Self {
        Self::new(routine, routine, level, name)
    }

    pub(crate) fn new(routine: DispatchRoutine, storm: DispatchRoutine, level: u8, name: &'static str) -> Self {
        Head {
            dispatch: AtomicPtr::new(routine as *mut ()),
            level: AtomicU32::new(u32::from(level)),
            latched: AtomicBool::new(false),
            vector: AtomicU8::new(0),
            count: AtomicU64::new(0),
            storm,
            name,
        }
    }

    /// The IRQL in service.
    pub fn level(&self) -> u8 {
        self.level.load(Relaxed) as u8
    }

    /// What it is, for a bug check.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Interrupts so far.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// One more: in service, so nobody else counts meanwhile.
    #[inline(always)]
    pub(crate) fn count_one(&self) {
        self.count.store(self.count.load(Relaxed) + 1, Relaxed);
    }

    /// From the next interrupt on, it is a storm. Any IRQL; whoever masks or unmasks at the same time may undo it.
    pub(crate) fn notice_storm(&self) {
        self.set_routine(self.storm);
    }

    pub(crate) fn set_routine(&self, routine: DispatchRoutine) {
        // Sequentially consistent, like what `latch` does: see there.
        self.dispatch.store(routine as *mut (), SeqCst);
    }

    pub(crate) fn dispatch_routine(&self) -> DispatchRoutine {
        // SAFETY: only `new` and `set_routine` store here, both a `DispatchRoutine`.
        unsafe { mem::transmute::<*mut (), DispatchRoutine>(self.dispatch.load(Acquire)) }
    }
}

/// A vector that nothing is connected to.
///
/// # Safety
/// As every [`DispatchRoutine`].
pub(crate) unsafe extern "sysv64-unwind" fn unexpected(_: *const Head, word: HalWord) {
    // SAFETY: the stub passes what it was given.
    let hal = unsafe { from_word(word) };
    hal::percpu(hal).unexpected_count.fetch_add(1, Relaxed);
}

/// The interrupt at DISPATCH from another CPU: it has left DPCs in the inbox, or wants this CPU to reschedule.
///
/// # Safety
/// As every [`DispatchRoutine`].
pub(crate) unsafe extern "sysv64-unwind" fn dispatch_ipi(_: *const Head, word: HalWord) {
    // SAFETY: the stub passes what it was given.
    let hal = unsafe { from_word(word) };
    if hal::percpu(hal).sched.take_request() {
        hal.set_pending(pending::RESCHEDULE);
    }
    hal.disable_interrupts();
    dpc_queue::empty_inbox(hal);
    hal.enable_interrupts();
}

/// The one-shot clock.
///
/// # Safety
/// As every [`DispatchRoutine`].
pub(crate) unsafe extern "sysv64-unwind" fn clock(_: *const Head, word: HalWord) {
    // SAFETY: the stub passes what it was given.
    let hal = unsafe { from_word(word) };
    hal::percpu(hal).timers.on_clock(hal);
}

/// An interrupt that is masked here because its source cannot mask: remembered, for the unmask to replay.
///
/// The unmask stores the routine, then takes what is remembered; here it is remembered, then the routine looked at. So when
/// this was entered just before an unmask, one of the two sees the other, and the interrupt is replayed.
///
/// # Safety
/// As every [`DispatchRoutine`].
pub(crate) unsafe extern "sysv64-unwind" fn latch(head: *const Head, word: HalWord) {
    // SAFETY: a head in a slot is alive, and the stub passes what it was given.
    let (head, hal) = unsafe { (&*head, from_word(word)) };
    head.latched.store(true, SeqCst);
    let unmasked = head.dispatch.load(SeqCst) != latch as *mut ();
    if unmasked && head.latched.swap(false, SeqCst) {
        hal.send_vector(hal.cpu(), head.vector.load(Relaxed));
    }
}
