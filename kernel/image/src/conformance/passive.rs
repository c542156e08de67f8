//! Cases 55 to 60: interrupts whose ISRs run at PASSIVE, and wait locks.

use super::{
    Case, Outcome, case,
    soft::{Deferred, nothing, soft},
};
use crate::{
    selftest::crew::{Crew, await_event, ensure},
    sweep::software::lock_of_class,
};
use alloc::{format, sync::Arc};
use core::{
    mem,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};
use ke::{At, Event, InterruptLock, Passive, WaitError, WaitLock, irql, thread::ThreadOptions};

pub const CASES: &[Case] = &[
    case!(c55_a_passive_isr_runs_at_passive_and_may_sleep),
    case!(c55_isrs_that_share_a_wait_lock_never_overlap),
    case!(c55_isrs_with_separate_wait_locks_do_overlap),
    case!(c57_a_wait_lock_is_tried_without_waiting),
    case!(c60_a_wait_lock_that_stays_taken_times_out),
];

/// Nanoseconds that an ISR sleeps.
const NAP: u64 = 1_000_000;

fn nap(at: &mut At<'_, Passive>) -> Result<(), WaitError> {
    Event::new().wait_timeout(at, NAP)
}

fn c55_a_passive_isr_runs_at_passive_and_may_sleep(at: &mut At<'_, Passive>) -> Outcome {
    type Seen = Option<(u8, Result<(), WaitError>, bool)>;
    let lock: InterruptLock<Seen, Passive> = lock_of_class(5)?;
    let isr = |seen: &mut Seen, _: &dyn Deferred<Passive>, at: &mut At<'_, Passive>| {
        let start = at.now();
        let slept = nap(at);
        *seen = Some((at.irql(), slept, at.now() - start >= NAP));
    };
    let sleeper = soft(at, at.cpu(), 5, &lock, isr, nothing)?;
    sleeper.raise();
    sleeper.await_served(at, 1)?;
    sleeper.disconnect(at)?;
    let seen = lock.synchronize(at, |seen, _| *seen);
    let expected = Some((irql::PASSIVE, Err(WaitError::TimedOut), true));
    ensure(seen == expected, || format!("IRQL, end of the sleep, and whether it was long enough: {seen:?}"))
}

/// Each sleeps in the middle: the other has every chance to come in.
fn c55_isrs_that_share_a_wait_lock_never_overlap(at: &mut At<'_, Passive>) -> Outcome {
    #[derive(Default)]
    struct Shared {
        is_busy: bool,
        overlaps: u32,
    }
    let lock: InterruptLock<Shared, Passive> = lock_of_class(5)?;
    let isr = |shared: &mut Shared, _: &dyn Deferred<Passive>, at: &mut At<'_, Passive>| {
        shared.overlaps += u32::from(mem::replace(&mut shared.is_busy, true));
        // It ends by its time.
        let _ = nap(at);
        shared.is_busy = false;
    };
    let one = soft(at, at.cpu(), 5, &lock, isr, nothing)?;
    let other = soft(at, 0, 6, &lock, isr, nothing)?;
    for round in 1..=5 {
        one.raise();
        other.raise();
        one.await_served(at, round)?;
        other.await_served(at, round)?;
    }
    one.disconnect(at)?;
    other.disconnect(at)?;
    let overlaps = lock.synchronize(at, |shared, _| shared.overlaps);
    ensure(overlaps == 0, || format!("{overlaps} ISRs found the other one at work"))
}

/// Each waits until the other has begun.
fn c55_isrs_with_separate_wait_locks_do_overlap(at: &mut At<'_, Passive>) -> Outcome {
    let begun: Arc<[Event; 2]> = Arc::default();
    let met = Arc::new(AtomicU32::new(0));
    let meeting = |me: usize| {
        let (begun, met) = (begun.clone(), met.clone());
        move |_: &mut u32, _: &dyn Deferred<Passive>, at: &mut At<'_, Passive>| {
            begun[me].set(at);
            let came = await_event(at, &begun[1 - me], "the other ISR");
            met.fetch_add(came.is_ok().into(), Relaxed);
        }
    };
    let (mine, yours): (InterruptLock<u32, Passive>, InterruptLock<u32, Passive>) =
        (lock_of_class(5)?, lock_of_class(5)?);
    let one = soft(at, at.cpu(), 5, &mine, meeting(0), nothing)?;
    let other = soft(at, 0, 6, &yours, meeting(1), nothing)?;
    one.raise();
    other.raise();
    one.await_served(at, 1)?;
    other.await_served(at, 1)?;
    one.disconnect(at)?;
    other.disconnect(at)?;
    let met = met.load(Relaxed);
    ensure(met == 2, || format!("{met} of 2 ISRs met the other one"))
}

fn c57_a_wait_lock_is_tried_without_waiting(at: &mut At<'_, Passive>) -> Outcome {
    let lock: InterruptLock<u32, Passive> = lock_of_class(5)?;
    ensure(lock.try_acquire(at).is_some(), || "a free lock was not given".into())?;
    let (theirs, held, done): (_, Arc<Event>, Arc<Event>) = (lock.clone(), Arc::default(), Arc::default());
    let (says, sees) = (held.clone(), done.clone());
    let mut crew = Crew::default();
    crew.start(at, ThreadOptions::named("conformance"), move |at| {
        theirs.synchronize(at, |_, at| {
            says.set(at);
            await_event(at, &sees, "the other thread's try")
        })
    })?;
    let came = await_event(at, &held, "the other thread's lock");
    let tried = lock.try_acquire(at).is_some();
    done.set(at);
    crew.finish(at)?;
    came?;
    ensure(!tried, || "a lock that another thread holds was given".into())?;
    ensure(lock.try_acquire(at).is_some(), || "a lock that was given back was not given".into())
}

fn c60_a_wait_lock_that_stays_taken_times_out(at: &mut At<'_, Passive>) -> Outcome {
    let lock = Arc::new(WaitLock::new(()));
    let held = lock.acquire(at);
    let wanted = lock.clone();
    let mut crew = Crew::default();
    crew.start(at, ThreadOptions::named("conformance"), move |at| {
        let start = at.now();
        let given = [0, NAP].map(|time_out| wanted.acquire_timeout(at, time_out).is_some());
        let passed = at.now() - start;
        ensure(given == [false; 2], || "a lock that another thread holds was given".into())?;
        ensure(passed >= NAP, || format!("a wait of {NAP} ns ended after {passed} ns"))
    })?;
    let outcome = crew.finish(at);
    drop(held);
    outcome?;
    ensure(lock.acquire_timeout(at, 0).is_some(), || "a lock that was given back was not given".into())
}
