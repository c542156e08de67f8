//! The Verifier: finds at run time what no type can see, and says which line did it (Driver Verifier with KMDF's own).
//!
//! - a guard that is forgotten: its lock stays held, the level raised, when the callback returns or the thread ends or waits;
//! - the same lock taken twice by who holds it; locks taken in opposite orders, even if no two of them have met yet;
//! - a callback that waits for itself; an ISR or DPC that runs too long.
//!
//! What it finds is a bug check ([`BugCheckKind::Verifier`](crate::bugcheck::BugCheckKind)) with the lines of both sides.
//!
//! Turned off, it costs nothing. A lock is verified by its own word, which lets no fast path succeed ([`crate::SpinLock`],
//! [`crate::InterruptLock`], [`crate::WaitLock`]); a callback, because connecting chose another dispatch word for it. So locks
//! and interrupts are covered that are made and connected while it is on: start devices anew after turning it on.
//!
//! ```
//! use ke::{At, Passive, verifier::{self, Verifier}};
//! fn patiently(at: &mut At<'_, Passive>) {
//!     verifier::start(at, Verifier { longest_dpc: 2_000_000_000, ..Verifier::default() });
//! }
//! ```

use crate::{
    at::At,
    bugcheck::BugCheckKind,
    hal::{self, HalRef},
    level::{Level, Passive},
    thread::Thread,
    ticket::TicketWord,
};
use alloc::boxed::Box;
use core::{
    fmt,
    panic::Location,
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

mod callback;
mod held;
mod order;
mod report;
mod site;
mod waits;

pub use callback::callback;
pub(crate) use callback::{Watched, watched};
pub(crate) use held::Held;
use order::{Order, Taken};
pub use report::{HeldText, held_text};
pub(crate) use site::{Callback, Site};
pub(crate) use waits::Waits;

/// What is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verifier {
    /// Nanoseconds that an ISR may run at DIRQL; `u64::MAX`: for ever.
    pub longest_isr: u64,
    /// Nanoseconds that a DPC may run.
    pub longest_dpc: u64,
}

impl Default for Verifier {
    /// A second each: an emulated CPU may be kept waiting by its host. NT's guidelines are 25 and 100 microseconds.
    fn default() -> Self {
        Verifier { longest_isr: 1_000_000_000, longest_dpc: 1_000_000_000 }
    }
}

impl Verifier {
    /// No limits of time: for a machine whose time is not its own.
    pub const UNTIMED: Verifier = Verifier { longest_isr: u64::MAX, longest_dpc: u64::MAX };
}

/// How the verifier stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifierInfo {
    /// Whether it is on.
    pub on: bool,
    /// Locks that it has met.
    pub locks: u32,
    /// Pairs of locks that were taken one under the other, and are remembered.
    pub orders: usize,
    /// Such pairs that were forgotten for newer ones.
    pub forgotten: usize,
}

/// A machine's verifier.
pub(crate) struct State {
    on: AtomicBool,
    longest_isr: AtomicU64,
    longest_dpc: AtomicU64,
    /// How many locks were given a number.
    locks: AtomicU32,
    /// Null until it is first turned on.
    order: AtomicPtr<Order>,
}

impl State {
    pub(crate) fn new() -> Self {
        State {
            on: AtomicBool::new(false),
            longest_isr: AtomicU64::new(u64::MAX),
            longest_dpc: AtomicU64::new(u64::MAX),
            locks: AtomicU32::new(0),
            order: AtomicPtr::default(),
        }
    }

    fn order(&self) -> Option<&Order> {
        // SAFETY: null, or made by `start` and not freed before this is.
        unsafe { self.order.load(Acquire).as_ref() }
    }

    /// The number of the lock whose `id` this is, with its kind.
    fn id_of(&self, id: &AtomicU32) -> u32 {
        let known = id.load(Relaxed);
        if known & NUMBER != 0 {
            return known;
        }
        let new = known | (self.locks.fetch_add(1, Relaxed) + 1) & NUMBER;
        match id.compare_exchange(known, new, AcqRel, Acquire) {
            Ok(_) => new,
            Err(first) => first,
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let order = *self.order.get_mut();
        if !order.is_null() {
            // SAFETY: made by `Box::into_raw`, and nobody else has it any more.
            drop(unsafe { Box::from_raw(order) });
        }
    }
}

/// In an id: which of all locks. What is above says of which kind it is.
const NUMBER: u32 = (1 << 28) - 1;

/// What the verifier calls a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Spin = 1,
    Interrupt = 2,
    Wait = 3,
    /// A run of a work item: a flush waits for it as for a lock.
    WorkItem = 4,
}

impl Kind {
    /// The id of a lock that has no number yet.
    pub(crate) const fn first_id(self) -> u32 {
        (self as u32) << NUMBER.count_ones()
    }
}

/// What was done at the site of a lock `id`.
fn name_of(id: u32, site: Site) -> &'static str {
    let is = |kind: Kind| id & !NUMBER == kind.first_id();
    match () {
        () if is(Kind::Spin) => "spin lock taken",
        () if is(Kind::Interrupt) => "interrupt lock taken",
        () if is(Kind::WorkItem) && site.is_line() => "flush",
        () if is(Kind::WorkItem) => "run",
        () => "wait lock taken",
    }
}

/// Turns the verifier on, or changes what is allowed. PASSIVE.
///
/// Locks are covered whose first turn comes from now on, and interrupts that are connected from now on.
pub fn start(at: &mut At<'_, Passive>, verifier: Verifier) {
    let state = &hal::system(at.hal).verifier;
    if state.order().is_none() {
        let order = Box::into_raw(Box::new(Order::new()));
        if state.order.compare_exchange(core::ptr::null_mut(), order, AcqRel, Relaxed).is_err() {
            // SAFETY: made just now, and nobody else has it.
            drop(unsafe { Box::from_raw(order) });
        }
    }
    state.longest_isr.store(verifier.longest_isr, Relaxed);
    state.longest_dpc.store(verifier.longest_dpc, Relaxed);
    state.on.store(true, Release);
}

/// Turns the verifier off: a verified lock is an ordinary one from its next turn on. PASSIVE.
pub fn stop(at: &mut At<'_, Passive>) {
    hal::system(at.hal).verifier.on.store(false, Release);
}

/// Whether the verifier is on. Any IRQL.
pub fn is_enabled<L: Level>(at: &At<'_, L>) -> bool {
    is_on(at.hal)
}

/// How it stands. Any IRQL.
pub fn status<L: Level>(at: &At<'_, L>) -> VerifierInfo {
    let state = &hal::system(at.hal).verifier;
    let (orders, forgotten) = state.order().map_or((0, 0), Order::counts);
    VerifierInfo { on: state.on.load(Relaxed), locks: state.locks.load(Relaxed), orders, forgotten }
}

/// Reports a violation that a layer above has found: `what` is a sentence with what happened, where, and what to do. Nothing happens
/// while the verifier is off. Any IRQL.
///
/// ```
/// use ke::{At, Dispatch, verifier};
/// fn check(at: &mut At<'_, Dispatch>, completed: bool, handler: &str) {
///     if !completed {
///         verifier::report(at, format_args!("{handler} dropped a request that it never completed"));
///     }
/// }
/// ```
pub fn report<L: Level>(at: &mut At<'_, L>, what: fmt::Arguments<'_>) {
    if is_on(at.hal) {
        at.hal.bug_check(BugCheckKind::Verifier, what);
    }
}

/// On, on a machine that lives.
pub(crate) fn is_on(hal: HalRef<'_>) -> bool {
    hal::system(hal).verifier.on.load(Acquire) && !hal.dead()
}

/// A spin lock or interrupt lock is about to be waited for. At DISPATCH or above.
pub(crate) fn before_turn(hal: HalRef<'_>, word: &TicketWord, site: Site) {
    let state = &hal::system(hal).verifier;
    let held = &hal::percpu(hal).held;
    held.purge(hal);
    let new = Taken { id: state.id_of(word.id()), site };
    for taken in held.from(hal, 0) {
        if taken.id == new.id {
            report::twice(hal, taken, site);
        }
        note_order(hal, state, taken, new);
    }
}

/// Its turn begins: this CPU holds it. At DISPATCH or above.
pub(crate) fn turn_begins(hal: HalRef<'_>, word: &TicketWord, site: Site) {
    let id = hal::system(hal).verifier.id_of(word.id());
    hal::percpu(hal).held.push(hal, word, Taken { id, site });
}

/// A wait lock, or a run of a work item, is about to be waited for. PASSIVE.
pub(crate) fn before_wait(hal: HalRef<'_>, id: &AtomicU32, site: Site) {
    let state = &hal::system(hal).verifier;
    let new = Taken { id: state.id_of(id), site };
    for taken in hal::current_thread(hal).waits.from(0) {
        note_order(hal, state, taken, new);
    }
}

/// Runs `f`, the work item `id`, while the verifier is on: whoever flushes it waits for whatever it waits for.
pub(crate) fn work_item(hal: HalRef<'_>, id: &AtomicU32, callback: &'static Callback, f: impl FnOnce()) {
    // The item may be gone when it has run.
    let id = hal::system(hal).verifier.id_of(id);
    let waits = &hal::current_thread(hal).waits;
    waits.push(Taken { id, site: Site::callback(callback) });
    watched(hal, callback, f);
    waits.remove(id);
}

/// The running thread owns a wait lock.
pub(crate) fn wait_lock_taken(hal: HalRef<'_>, id: &AtomicU32, site: Site) {
    let id = hal::system(hal).verifier.id_of(id);
    hal::current_thread(hal).waits.push(Taken { id, site });
}

/// The running thread gives a wait lock up. Any IRQL.
pub(crate) fn wait_lock_released(hal: HalRef<'_>, id: &AtomicU32) {
    hal::current_thread(hal).waits.remove(id.load(Relaxed));
}

/// The thread, which runs, takes a wait lock that it owns.
pub(crate) fn report_recursion(hal: HalRef<'_>, thread: &Thread, id: &AtomicU32, site: Site) -> ! {
    let id = id.load(Relaxed);
    report::recursion(hal, thread, thread.waits.from(0).find(|taken| taken.id == id), site)
}

/// A thread is about to end, at PASSIVE: what it owns nobody can give up any more.
pub(crate) fn check_thread_end(hal: HalRef<'_>, thread: &Thread) {
    if !is_on(hal) {
        return;
    }
    let held = callback::held_at_passive(hal);
    if let Some(taken) = held.or_else(|| thread.waits.from(0).next()) {
        report::forgotten(hal, "thread", format_args!("{}", thread.name()), taken);
    }
}

/// The running work item wants to wait for itself, and will not.
pub(crate) fn note_own_flush(hal: HalRef<'_>, name: fmt::Arguments<'_>, location: &'static Location<'static>) {
    if is_on(hal) {
        report::own_flush(hal, name, location);
    }
}

/// A callback of an interrupt, called `name`, asks for what waits for its own end and cannot be refused.
pub(crate) fn report_own_wait(hal: HalRef<'_>, name: fmt::Arguments<'_>, location: &'static Location<'static>) -> ! {
    report::own_wait(hal, name, location)
}

fn note_order(hal: HalRef<'_>, state: &State, from: Taken, to: Taken) {
    if let Some(cycle) = state.order().and_then(|order| order.note(from, to)) {
        report::order(hal, cycle);
    }
}
