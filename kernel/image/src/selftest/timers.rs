//! Time: timers and waits with a time-out.

use super::{
    MILLISECOND, Outcome,
    crew::{await_event, ensure, on_every_cpu},
};
use alloc::{format, sync::Arc};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use ke::{At, Dispatch, Event, Passive, Timer, WaitError};

/// Each CPU has a clock of its own.
pub fn not_early(at: &mut At<'_, Passive>) -> Outcome {
    on_every_cpu(at, |_, at| {
        for after in [50_000, MILLISECOND, 5 * MILLISECOND] {
            let expiry = Arc::new((AtomicU64::new(0), Event::new()));
            let seen = expiry.clone();
            let timer = Timer::new(move |at: &mut At<'_, Dispatch>| {
                seen.0.store(at.now(), Relaxed);
                seen.1.set(at);
            });
            let start = at.now();
            ensure(!timer.start(at, after), || "a new timer said that it was armed".into())?;
            await_event(at, &expiry.1, "the timer's expiry")?;
            let passed = expiry.0.load(Relaxed) - start;
            ensure(passed >= after, || format!("a timer for {after} ns expired after {passed} ns"))?;
        }
        Ok(())
    })
}

pub fn cancel(at: &mut At<'_, Passive>) -> Outcome {
    let expired = Arc::new(AtomicBool::new(false));
    let seen = expired.clone();
    let timer = Timer::new(move |_: &mut At<'_, Dispatch>| seen.store(true, Relaxed));
    timer.start(at, 20 * MILLISECOND);
    let answers = [timer.cancel(at), timer.cancel(at)];
    // An armed timer has not expired, whatever the host does meanwhile, unless the 20 ms are over already.
    if answers[0] {
        ensure(!answers[1], || "a timer could be cancelled twice".into())?;
        time_passes(at, 40 * MILLISECOND)?;
        ensure(!expired.load(Relaxed), || "it expired after it had been cancelled".into())?;
    }
    ensure(answers[0] || expired.load(Relaxed), || "it was neither armed nor expired".into())
}

pub fn time_out(at: &mut At<'_, Passive>) -> Outcome {
    let start = at.now();
    time_passes(at, 3 * MILLISECOND)?;
    let passed = at.now() - start;
    ensure(passed >= 3 * MILLISECOND, || format!("a wait of 3 ms ended after {passed} ns"))
}

fn time_passes(at: &mut At<'_, Passive>, how_long: u64) -> Outcome {
    let never = Event::new();
    let waited = never.wait_timeout(at, how_long);
    ensure(waited == Err(WaitError::TimedOut), || format!("a wait for an event that nobody sets ended with {waited:?}"))
}
