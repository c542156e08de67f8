//! Cases 68 and 70: the ladder of levels, and spin locks on it.

use super::{
    Case, Outcome, case,
    soft::{Deferred, dawdle, nothing, soft},
};
use crate::{
    selftest::crew::{Crew, ensure},
    sweep::software::lock_of_class,
};
use alloc::{format, sync::Arc, vec::Vec};
use core::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use hal_x86_64::X86Hal;
use ke::{
    At, CpuSet, Dirql, InterruptLock, Passive, SpinLock, flush_queued_dpcs, hal::Hal, irql, thread::ThreadOptions,
};

pub const CASES: &[Case] = &[
    case!(c68_raising_to_each_level_and_back_restores_it),
    case!(c68_a_level_holds_off_its_class_and_those_below),
    case!(c70_a_spin_lock_keeps_the_level_from_wherever_it_is_taken),
    case!(c70_a_held_spin_lock_is_taken_when_it_is_released_and_not_before, cpus: 2),
];

/// Step by step from PASSIVE to the highest device level, and down again: level word and CR8 at each step.
fn c68_raising_to_each_level_and_back_restores_it(at: &mut At<'_, Passive>) -> Outcome {
    let mut locks: Vec<InterruptLock<u32>> = Vec::new();
    for level in irql::DEVICE_LOWEST..=irql::DEVICE_HIGHEST {
        locks.push(lock_of_class(level)?);
    }
    /// The first lock's level that does not hold, on the way up or down.
    fn climb(locks: &[InterruptLock<u32>], at: &mut At<'_, Dirql>) -> Result<(), (u8, u8)> {
        let Some((next, above)) = locks.split_first() else { return Ok(()) };
        let level = next.ceiling();
        let below = at.irql();
        let climbed = next.synchronize_nested(at, |_, at| {
            climb(above, at)?;
            let now = (X86Hal.task_priority(), at.irql());
            if now == (level, level) { Ok(()) } else { Err(now) }
        });
        climbed.unwrap_or(Err((level, below)))?;
        let now = (X86Hal.task_priority(), at.irql());
        if now.1 == below { Ok(()) } else { Err(now) }
    }
    let (first, above) = locks.split_first().ok_or("there are no device levels")?;
    let from_passive = first.synchronize(at, |_, at| climb(above, at));
    ensure(from_passive.is_ok(), || format!("from PASSIVE, CR8 and IRQL became {from_passive:?}"))?;
    let dispatch = SpinLock::new(());
    let (from_dispatch, word) = dispatch.with(at, |(), at| {
        let climbed = first.synchronize(at, |_, at| climb(above, at));
        (climbed, (X86Hal.level(), X86Hal.task_priority()))
    });
    ensure(from_dispatch.is_ok(), || format!("from DISPATCH, CR8 and IRQL became {from_dispatch:?}"))?;
    ensure(word == (irql::DISPATCH, 0), || format!("back at DISPATCH, level word and CR8 were {word:?}"))?;
    let word = (X86Hal.level(), X86Hal.task_priority());
    ensure(word == (0, 0), || format!("back at PASSIVE, level word and CR8 were {word:?}"))
}

/// At 8, interrupts of the classes 5 and 8 wait and one of class 9 comes; afterwards the higher comes before the lower.
fn c68_a_level_holds_off_its_class_and_those_below(at: &mut At<'_, Passive>) -> Outcome {
    let here = at.cpu();
    let turn = Arc::new(AtomicU32::new(0));
    let noting = |turn: &Arc<AtomicU32>| {
        let turn = turn.clone();
        move |mine: &mut u32, _: &dyn Deferred<Dirql>, _: &mut At<'_, Dirql>| *mine = turn.fetch_add(1, Relaxed) + 1
    };
    let (low, equal, high): (InterruptLock<u32>, InterruptLock<u32>, InterruptLock<u32>) =
        (lock_of_class(5)?, lock_of_class(8)?, lock_of_class(9)?);
    let five = soft(at, here, 5, &low, noting(&turn), nothing)?;
    let eight = soft(at, here, 8, &equal, noting(&turn), nothing)?;
    let nine = soft(at, here, 9, &high, noting(&turn), nothing)?;
    let section: InterruptLock<()> = lock_of_class(8)?;
    let meanwhile = section.synchronize(at, |(), _| {
        five.raise();
        eight.raise();
        nine.raise();
        dawdle();
        [five.served(), eight.served(), nine.served()]
    });
    for each in [&low, &equal, &high] {
        // Its interrupt is over when the lock is free.
        each.synchronize(at, |_, _| ());
    }
    five.await_served(at, 1)?;
    let turns = [&low, &equal, &high].map(|lock| lock.synchronize(at, |mine, _| *mine));
    five.disconnect(at)?;
    eight.disconnect(at)?;
    nine.disconnect(at)?;
    ensure(meanwhile == [0, 0, 1], || format!("at IRQL 8, those of classes 5, 8 and 9 came {meanwhile:?} times"))?;
    ensure(turns == [3, 2, 1], || format!("those of classes 5, 8 and 9 came in the turns {turns:?}"))
}

fn c70_a_spin_lock_keeps_the_level_from_wherever_it_is_taken(at: &mut At<'_, Passive>) -> Outcome {
    let (outer, inner) = (SpinLock::new(0u32), SpinLock::new(0u32));
    let level = |at: u8| move |seen: u8| ensure(seen == at, || format!("IRQL {seen} where {at} must be"));
    let (at_dispatch, at_passive) = (level(irql::DISPATCH), level(irql::PASSIVE));
    // By guard and by closure, at PASSIVE and at DISPATCH, in each combination.
    let mut guard = outer.acquire(at);
    let (value, raised) = guard.parts();
    *value += 1;
    at_dispatch(raised.irql())?;
    inner.with(raised, |value, at| {
        *value += 1;
        at_dispatch(at.irql())
    })?;
    at_dispatch(raised.irql())?;
    drop(inner.acquire(raised));
    at_dispatch(raised.irql())?;
    drop(guard);
    at_passive(at.irql())?;
    outer.with(at, |value, at| {
        *value += 1;
        drop(inner.acquire(at));
        at_dispatch(at.irql())
    })?;
    at_passive(at.irql())?;
    let values = outer.with(at, |outer, at| (*outer, *inner.acquire(at)));
    at_passive(X86Hal.level().max(X86Hal.task_priority()))?;
    ensure(values == (2, 1), || format!("the values are {values:?}"))
}

fn c70_a_held_spin_lock_is_taken_when_it_is_released_and_not_before(at: &mut At<'_, Passive>) -> Outcome {
    let shared = Arc::new((SpinLock::new(0u32), AtomicBool::new(false)));
    let theirs = shared.clone();
    let mut crew = Crew::default();
    let early = shared.0.with(at, |value, at| {
        // A thread cannot be started here, but a DPC of the other CPU takes the lock as well.
        let (lock, tries) = (theirs.clone(), theirs.clone());
        let taker = ke::Dpc::with(
            move |_: [usize; 2], at: &mut At<'_, ke::Dispatch>| {
                lock.1.store(true, Release);
                *lock.0.acquire(at) += 1;
            },
            ke::Importance::High,
            Some(0),
        );
        let queued = taker.insert(at);
        while queued && !tries.1.load(Acquire) {
            core::hint::spin_loop();
        }
        dawdle();
        (queued, *value)
    });
    flush_queued_dpcs(at);
    let theirs = shared.clone();
    crew.start(at, ThreadOptions::named("conformance").on(CpuSet::of([0])), move |at| {
        *theirs.0.acquire(at) += 1;
        Ok(())
    })?;
    crew.finish(at)?;
    let value = *shared.0.acquire(at);
    ensure(early == (true, 0), || format!("queued, and taken while it was held: {early:?}"))?;
    ensure(value == 2, || format!("it was taken {value} times, not twice"))
}
