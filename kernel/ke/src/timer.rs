//! Timer objects (KTIMER with its DPC): once or again and again, exactly or with tolerance.
//!
//! A timer that may be late expires when others do: at the roundest time that it tolerates.
//!
//! **Invariant:** an armed timer is alive: its heap holds a reference. A run holds another; where the timer does not repeat, the
//! same.

use crate::{
    at::At,
    barrier,
    clock::{arm, disarm},
    core_lock::CoreLock,
    hal::{HalRef, Point},
    level::{AtMost, Dispatch, Level, MayWait, Passive},
    timer_heap::{Expiry, TimerKind, TimerNode},
    verifier::{self, Callback, Watched},
    work,
};
use alloc::{boxed::Box, sync::Arc};
use core::{
    any::type_name,
    fmt,
    hint::black_box,
    panic::Location,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// No timer expires more often: each expiry is an interrupt.
const SHORTEST_PERIOD: u64 = 100_000;

/// What a timer does when it expires.
pub trait TimerRoutine: Send + Sync + 'static {
    /// At DISPATCH.
    fn expired(&self, at: &mut At<'_, Dispatch>);
}

impl<F: Fn(&mut At<'_, Dispatch>) + Send + Sync + 'static> TimerRoutine for F {
    fn expired(&self, at: &mut At<'_, Dispatch>) {
        self(at);
    }
}

/// What a timer is, beside what it does (WDF_TIMER_CONFIG).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimerConfig {
    /// From one expiry to the next, in nanoseconds, until it is cancelled; at least 100 µs. Counted from the time that it was first
    /// due, so it does not drift; what is missed is skipped.
    pub period: Option<u64>,
    /// How late it may expire, in nanoseconds, so that several timers are one interrupt (KeSetCoalescableTimer).
    pub tolerable_delay: u64,
}

/// A timer (KTIMER with its DPC). An armed one keeps itself alive; one that repeats, until it is cancelled.
///
/// ```
/// use ke::{At, Passive, Timer, TimerRoutine};
/// /// In ten milliseconds; `true` when it was armed already and starts anew.
/// fn soon<R: TimerRoutine>(timer: &Timer<R>, at: &mut At<'_, Passive>) -> bool {
///     timer.start(at, 10_000_000)
/// }
/// ```
pub struct Timer<R: TimerRoutine> {
    object: Arc<Object<R>>,
}

struct Object<R> {
    node: TimerNode,
    /// The CPU whose heap it is in, if it is armed.
    cpu: CoreLock<u32>,
    config: TimerConfig,
    /// When it is due, to the nanosecond: written while it is in no heap, and under the lock of the one it is in.
    due: AtomicU64,
    routine: R,
}

impl<R: TimerRoutine> Timer<R> {
    /// A timer that expires once, at its time.
    pub fn new(routine: R) -> Self {
        Self::with(routine, TimerConfig::default())
    }

    /// A timer that is not armed.
    pub fn with(routine: R, config: TimerConfig) -> Self {
        let node = TimerNode::new(Self::kind(&config, false));
        let config = TimerConfig { period: config.period.map(|period| period.max(SHORTEST_PERIOD)), ..config };
        let object = Arc::new(Object { node, cpu: CoreLock::new(0), config, due: AtomicU64::new(0), routine });
        object.node.context.store(Arc::as_ptr(&object).cast_mut().cast(), Relaxed);
        Timer { object }
    }

    fn kind(config: &TimerConfig, watched: bool) -> &'static TimerKind {
        match (config.period.is_some(), watched) {
            (false, false) => const { &TimerKind { expire: end, run: run::<R> } },
            (true, false) => const { &TimerKind { expire: repeat::<R>, run: run::<R> } },
            (false, true) => const { &TimerKind { expire: end, run: run_watched::<R> } },
            (true, true) => const { &TimerKind { expire: repeat::<R>, run: run_watched::<R> } },
        }
    }

    /// Has its runs watched by the [verifier], or no longer, as that is on or off now. It is not armed. Any IRQL.
    pub fn follow_verifier<L: Level>(&self, at: &At<'_, L>) {
        self.object.node.set_kind(Self::kind(&self.object.config, verifier::is_enabled(at)));
    }

    /// What it does.
    pub fn routine(&self) -> &R {
        &self.object.routine
    }

    /// KeSetTimer: expires in `after` nanoseconds. `true`: it was armed already and starts anew. IRQL <= DISPATCH.
    #[track_caller]
    pub fn start<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>, after: u64) -> bool {
        at.point(Point::StartTimer, self.address(), Location::caller());
        let object = &self.object;
        let was_armed = object.cpu.with(at, |cpu, at| {
            let was_armed = disarm(at, &object.node, *cpu);
            if !was_armed {
                // The heap's own reference; `run` or `cancel` takes it back.
                let _ = Arc::into_raw(object.clone());
            }
            let deadline = object.due_at(at.now().saturating_add(after));
            // SAFETY: the heap's reference keeps it alive; it was disarmed above, under the lock that arms it.
            *cpu = unsafe { arm(at, &object.node, deadline) };
            was_armed
        });
        at.note_if(was_armed, Point::TimerUnqueued, self.address());
        was_armed
    }

    /// KeCancelTimer: `true`, it was armed and will not expire. `false`: it is not armed, or its routine has started; one that
    /// repeats is armed then, too. IRQL <= DISPATCH.
    #[track_caller]
    pub fn cancel<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> bool {
        at.point(Point::CancelTimer, self.address(), Location::caller());
        let object = &self.object;
        let was_armed = object.cpu.with(at, |cpu, at| disarm(at, &object.node, *cpu));
        if was_armed {
            // SAFETY: the heap's reference, left by `start`; this handle keeps the object alive.
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(object)) };
        }
        at.note_if(was_armed, Point::TimerUnqueued, self.address());
        was_armed
    }

    /// Waits until every run that has started before this call is over (KeFlushQueuedDpcs). PASSIVE.
    pub fn flush<L: MayWait>(&self, at: &mut At<'_, L>) {
        barrier::flush_queued_dpcs(&mut at.as_passive());
    }

    /// Its name for the simulator.
    fn address(&self) -> usize {
        Arc::as_ptr(&self.object).addr()
    }
}

impl<R> Object<R> {
    /// It is due at `due`: when it is to expire.
    #[inline]
    fn due_at(&self, due: u64) -> u64 {
        self.due.store(due, Relaxed);
        if self.config.tolerable_delay == 0 { due } else { roundest(due, self.config.tolerable_delay) }
    }
}

/// The time from `due` to `delay` later that is a multiple of the highest power of two: timers that tolerate much agree on it.
fn roundest(due: u64, delay: u64) -> u64 {
    let latest = due.saturating_add(delay);
    // The highest bit that changes between the last time that is too early and the latest: in between it becomes 1, with zeros
    // behind it.
    let changes = due.saturating_sub(1) ^ latest;
    latest & u64::MAX << changes.checked_ilog2().unwrap_or(0)
}

/// The first time after `now` that lies whole periods after `due`.
fn following(due: u64, period: u64, now: u64) -> u64 {
    let missed = now.saturating_sub(due) / period;
    due.saturating_add(period.saturating_mul(missed + 1))
}

/// # Safety
/// None beyond the type; the context is not used.
unsafe fn end(_: *const (), _: HalRef<'_>) -> Expiry {
    Expiry::Run
}

/// # Safety
/// `context` is the object of a [`Timer`] that has left its heap, whose lock is held.
unsafe fn repeat<R: TimerRoutine>(context: *const (), hal: HalRef<'_>) -> Expiry {
    // SAFETY: by the contract, with the heap's reference.
    let object = unsafe { &*context.cast::<Object<R>>() };
    let Some(period) = object.config.period else { return Expiry::Run };
    // SAFETY: as above. This is the reference of the run.
    unsafe { Arc::increment_strong_count(context.cast::<Object<R>>()) };
    hal.point(Point::StartTimer, context.addr(), Location::caller());
    Expiry::RunAndRepeat(object.due_at(following(object.due.load(Relaxed), period, hal.now())))
}

/// # Safety
/// `context` is the object of a [`Timer`] that has expired, with a reference; this is at DISPATCH.
unsafe fn run<R: TimerRoutine>(context: *const (), hal: HalRef<'_>) {
    // SAFETY: by the contract; the clock DPC's own token is not used meanwhile.
    let (object, mut at) = unsafe { (Arc::from_raw(context.cast::<Object<R>>()), At::<Dispatch>::mint(hal)) };
    at.note(Point::TimerStart, context.addr());
    object.routine.expired(&mut at);
    at.note(Point::TimerEnd, context.addr());
    if let Some(object) = Arc::into_inner(object) {
        work::drop_at_passive(&mut at, Box::new(object));
    }
}

/// As [`run`], watched; the driver's code stays in the one.
///
/// # Safety
/// As [`run`].
unsafe fn run_watched<R: TimerRoutine>(context: *const (), hal: HalRef<'_>) {
    let callback = const { &Callback { what: Watched::Dpc, name: type_name::<R> } };
    // SAFETY: the same contract.
    verifier::watched(hal, callback, || unsafe {
        black_box::<unsafe fn(*const (), HalRef<'_>)>(run::<R>)(context, hal)
    });
}

impl<R: TimerRoutine> work::DropAtPassive for Object<R> {
    fn drop_at_passive(self: Box<Self>, _: &mut At<'_, Passive>) {}
}

impl<R: TimerRoutine> fmt::Debug for Timer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("armed", &self.object.node.is_armed()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_timer_expires_at_the_roundest_time_that_it_tolerates() {
        for (due, delay, expiry) in [(7, 0, 7), (7, 1, 8), (9, 6, 12), (9, 7, 16), (1_000, 100, 1_024), (0, 5, 4)] {
            assert_eq!(roundest(due, delay), expiry, "{due} to {delay} later");
        }
        assert_eq!(roundest(u64::MAX - 1, 10), u64::MAX - 1);
        for due in 1..200u64 {
            for delay in 0..70 {
                let best = (due..=due + delay).max_by_key(|time| time.trailing_zeros());
                assert_eq!(Some(roundest(due, delay)), best, "{due} to {delay} later");
            }
        }
    }

    #[test]
    fn periods_count_from_when_it_was_due_and_those_that_are_missed_are_skipped() {
        assert_eq!(following(100, 10, 100), 110, "in time");
        assert_eq!(following(100, 10, 109), 110, "late, but before the next");
        assert_eq!(following(100, 10, 110), 120, "as late as the next");
        assert_eq!(following(100, 10, 137), 140);
        assert_eq!(following(u64::MAX - 1, 10, u64::MAX - 1), u64::MAX);
    }
}
