//! Cases 27 to 35: the critical section of an interrupt, and of a set of them.

use super::{
    Case, Outcome, case,
    soft::{Deferred, Wire, dawdle, nothing, soft, unconnected},
};
use crate::{
    selftest::crew::{Crew, ensure, spin_until},
    sweep::software::{Unmaskable, lock_of_class},
};
use alloc::{format, sync::Arc};
use core::{
    mem,
    sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};
use hal_x86_64::X86Hal;
use ke::{
    At, CeilingTooLow, ConnectError, Connection, CpuSet, Dirql, InterruptLock, Mode, Nested, Passive, SpinLock,
    hal::Hal, irql, thread::ThreadOptions,
};

pub const CASES: &[Case] = &[
    case!(c27_isr_and_synchronize_run_at_the_synchronize_irql),
    case!(c28_synchronize_returns_what_the_closure_returns_and_restores_the_level),
    case!(c29_shared_lock_runs_at_the_highest_dirql),
    case!(c31_a_lock_outside_the_set_keeps_its_own_level),
    case!(c33_a_lock_below_its_interrupt_is_refused),
    case!(c34_nesting_ascends_or_is_refused),
    case!(c34_nesting_from_two_cpus_does_not_deadlock, cpus: 2),
    case!(c35_a_lock_taken_before_the_first_connect_excludes, cpus: 2),
];

/// The level of this CPU in all its parts: the word, CR8, and what the token makes of them.
type Levels = (u8, u8, u8);

fn levels(at: &At<'_, Dirql>) -> Levels {
    (X86Hal.level(), X86Hal.task_priority(), at.irql())
}

fn at_passive() -> Outcome {
    let (level, task_priority) = (X86Hal.level(), X86Hal.task_priority());
    ensure((level, task_priority) == (0, 0), || format!("level word {level} and CR8 {task_priority} are left"))
}

fn c27_isr_and_synchronize_run_at_the_synchronize_irql(at: &mut At<'_, Passive>) -> Outcome {
    let lock: InterruptLock<Levels> = lock_of_class(8)?;
    let note = |seen: &mut Levels, _: &dyn Deferred<Dirql>, at: &mut At<'_, Dirql>| *seen = levels(at);
    let low = soft(at, at.cpu(), 5, &lock, note, nothing)?;
    low.raise();
    low.await_served(at, 1)?;
    let (isr, section) = lock.synchronize(at, |seen, at| (*seen, levels(at)));
    low.disconnect(at)?;
    ensure(isr == (5, 8, 8), || format!("word, CR8 and IRQL in the ISR were {isr:?}"))?;
    ensure(section == (0, 8, 8), || format!("word, CR8 and IRQL in `synchronize` were {section:?}"))?;
    at_passive()
}

fn c28_synchronize_returns_what_the_closure_returns_and_restores_the_level(at: &mut At<'_, Passive>) -> Outcome {
    let dispatch = SpinLock::new(());
    let highest: InterruptLock<u32> = lock_of_class(irql::DEVICE_HIGHEST)?;
    for level in irql::DEVICE_LOWEST..=irql::DEVICE_HIGHEST {
        let lock: InterruptLock<u32> = lock_of_class(level)?;
        for wanted in [0, 1, 2] {
            let got = lock.synchronize(at, |_, at| (wanted, at.irql()));
            ensure(got == (wanted, level), || format!("at IRQL {level}, {wanted} came back as {got:?}"))?;
            at_passive()?;
            let (got, after) = dispatch.with(at, |(), at| (lock.synchronize(at, |_, _| wanted), at.irql()));
            ensure((got, after) == (wanted, irql::DISPATCH), || format!("from DISPATCH: {got} and IRQL {after}"))?;
        }
        if level < irql::DEVICE_HIGHEST {
            let (nested, after) =
                lock.synchronize(at, |_, at| (highest.synchronize_nested(at, |_, at| at.irql()), at.irql()));
            ensure(nested == Ok(irql::DEVICE_HIGHEST) && after == level, || {
                format!("from IRQL {level} it ran at {nested:?}, and left IRQL {after}")
            })?;
        }
    }
    at_passive()
}

/// The ISR at 5 makes the interrupt at 8 pending on its own CPU.
fn c29_shared_lock_runs_at_the_highest_dirql(at: &mut At<'_, Passive>) -> Outcome {
    #[derive(Default)]
    struct Seen {
        low: Levels,
        high: Levels,
        early: u32,
    }
    let lock: InterruptLock<Seen> = lock_of_class(8)?;
    let (here, runs) = (at.cpu(), Arc::new(AtomicU32::new(0)));
    let counted = runs.clone();
    let high = soft(
        at,
        here,
        8,
        &lock,
        move |seen: &mut Seen, _: &dyn Deferred<Dirql>, at: &mut At<'_, Dirql>| {
            seen.high = levels(at);
            counted.fetch_add(1, Relaxed);
        },
        nothing,
    )?;
    let (other, wire) = (high.interrupt.clone(), high.wire);
    let low = soft(
        at,
        here,
        5,
        &lock,
        move |seen: &mut Seen, _: &dyn Deferred<Dirql>, at: &mut At<'_, Dirql>| {
            seen.low = levels(at);
            other.routine().note_event();
            wire.pull();
            dawdle();
            seen.early = runs.load(Relaxed);
        },
        nothing,
    )?;
    low.raise();
    low.await_served(at, 1)?;
    high.await_served(at, 1)?;
    let Seen { low: in_low, high: in_high, early } = lock.synchronize(at, |seen, _| mem::take(seen));
    low.disconnect(at)?;
    high.disconnect(at)?;
    ensure(in_low == (5, 8, 8), || format!("word, CR8 and IRQL in the ISR of class 5 were {in_low:?}"))?;
    ensure(in_high == (8, 0, 8), || format!("word, CR8 and IRQL in the ISR of class 8 were {in_high:?}"))?;
    ensure(early == 0, || "the interrupt of class 8 was taken inside of the ISR of class 5".into())?;
    at_passive()
}

/// The interrupt at 9 has a lock of its own: it interrupts the set's ISR.
fn c31_a_lock_outside_the_set_keeps_its_own_level(at: &mut At<'_, Passive>) -> Outcome {
    let (set, own): (InterruptLock<u32>, InterruptLock<Levels>) = (lock_of_class(8)?, lock_of_class(9)?);
    let here = at.cpu();
    let note = |seen: &mut Levels, _: &dyn Deferred<Dirql>, at: &mut At<'_, Dirql>| *seen = levels(at);
    let highest = soft(at, here, 9, &own, note, nothing)?;
    let (other, wire) = (highest.interrupt.clone(), highest.wire);
    let low = soft(
        at,
        here,
        5,
        &set,
        move |nested: &mut u32, _: &dyn Deferred<Dirql>, _: &mut At<'_, Dirql>| {
            other.routine().note_event();
            wire.pull();
            dawdle();
            *nested = other.routine().served() as u32;
        },
        nothing,
    )?;
    low.raise();
    low.await_served(at, 1)?;
    highest.await_served(at, 1)?;
    let (nested, seen) = (set.synchronize(at, |nested, _| *nested), own.synchronize(at, |seen, _| *seen));
    low.disconnect(at)?;
    highest.disconnect(at)?;
    ensure(nested == 1, || "the interrupt of class 9 did not interrupt the ISR at the set's ceiling".into())?;
    ensure(seen.0 == 9 && seen.2 == 9, || format!("word, CR8 and IRQL of class 9 were {seen:?}"))?;
    ensure((set.ceiling(), own.ceiling()) == (8, 9), || "a ceiling has moved".into())
}

fn c33_a_lock_below_its_interrupt_is_refused(at: &mut At<'_, Passive>) -> Outcome {
    let lock: InterruptLock<u32> = lock_of_class(5)?;
    let high = unconnected(&lock, |_: &mut u32, _: &dyn Deferred<Dirql>, _: &mut At<'_, Dirql>| (), nothing);
    let connection = Connection { cpu: at.cpu(), vector: 0x8f, mode: Mode::Latched, source: Arc::new(Unmaskable) };
    let refused = high.connect(at, connection, ());
    let expected = Err(ConnectError::SynchronizeTooLow { irql: 8, ceiling: 5 });
    ensure(refused == expected && !high.is_connected(), || format!("connecting answered {refused:?}"))?;
    let settled = lock.settle(8);
    ensure(settled == Err(CeilingTooLow { line: 8, ceiling: 5 }), || format!("settling answered {settled:?}"))
}

/// The lower ISR goes up, the higher one is refused to go down, and to a level that is its own.
fn c34_nesting_ascends_or_is_refused(at: &mut At<'_, Passive>) -> Outcome {
    type Answers = (Option<Result<u8, Nested>>, Option<Result<u8, Nested>>, Levels);
    let (lower, higher): (InterruptLock<Answers>, InterruptLock<Answers>) = (lock_of_class(5)?, lock_of_class(8)?);
    let equal: InterruptLock<u32> = lock_of_class(5)?;
    let (here, up, down) = (at.cpu(), higher.clone(), lower.clone());
    let ascends = move |seen: &mut Answers, _: &dyn Deferred<Dirql>, at: &mut At<'_, Dirql>| {
        seen.0 = Some(up.synchronize_nested(at, |_, at| at.irql()));
        seen.1 = Some(equal.synchronize_nested(at, |_, at| at.irql()));
        seen.2 = levels(at);
    };
    let descends = move |seen: &mut Answers, _: &dyn Deferred<Dirql>, at: &mut At<'_, Dirql>| {
        seen.0 = Some(down.synchronize_nested(at, |_, at| at.irql()));
        seen.2 = levels(at);
    };
    let low = soft(at, here, 5, &lower, ascends, nothing)?;
    let high = soft(at, here, 8, &higher, descends, nothing)?;
    low.raise();
    low.await_served(at, 1)?;
    high.raise();
    high.await_served(at, 1)?;
    low.disconnect(at)?;
    high.disconnect(at)?;
    let seen = lower.synchronize(at, |seen, _| *seen);
    let not_higher = Err(Nested::NotHigher { here: 5, there: 5 });
    ensure(seen == (Some(Ok(8)), Some(not_higher), (5, 0, 5)), || format!("from class 5: {seen:?}"))?;
    let seen = higher.synchronize(at, |seen, _| *seen);
    let not_higher = Err(Nested::NotHigher { here: 8, there: 5 });
    ensure(seen == (Some(not_higher), None, (8, 0, 8)), || format!("from class 8: {seen:?}"))?;
    at_passive()
}

/// On one CPU the lower ISR always goes up to the lock that the higher ISR holds on the other.
fn c34_nesting_from_two_cpus_does_not_deadlock(at: &mut At<'_, Passive>) -> Outcome {
    const ROUNDS: u64 = 200;
    let (lower, higher): (InterruptLock<u64>, InterruptLock<u64>) = (lock_of_class(5)?, lock_of_class(8)?);
    let up = higher.clone();
    let ascends = move |own: &mut u64, _: &dyn Deferred<Dirql>, at: &mut At<'_, Dirql>| {
        *own += u64::from(up.synchronize_nested(at, |theirs, _| *theirs += 1).is_ok());
    };
    let down = lower.clone();
    let descends = move |own: &mut u64, _: &dyn Deferred<Dirql>, at: &mut At<'_, Dirql>| {
        *own += u64::from(down.synchronize_nested(at, |_, _| ()).is_err());
    };
    let low = soft(at, at.cpu(), 5, &lower, ascends, nothing)?;
    let high = soft(at, 0, 8, &higher, descends, nothing)?;
    for round in 1..=ROUNDS {
        high.raise();
        low.raise();
        high.await_served(at, round)?;
        low.await_served(at, round)?;
    }
    low.disconnect(at)?;
    high.disconnect(at)?;
    let counted = (lower.synchronize(at, |own, _| *own), higher.synchronize(at, |own, _| *own));
    ensure(counted == (ROUNDS, 2 * ROUNDS), || format!("{counted:?} runs under the locks, of {ROUNDS} rounds"))
}

/// Another CPU holds the lock, at the highest level, while this one connects, and until the interrupt has come.
fn c35_a_lock_taken_before_the_first_connect_excludes(at: &mut At<'_, Passive>) -> Outcome {
    /// What the other CPU waits for, and what it says.
    #[derive(Default)]
    struct Shared {
        /// The vector to pull; a system vector ends the wait.
        vector: AtomicU8,
        held_at: AtomicU8,
        is_early: AtomicBool,
    }
    let lock: InterruptLock<u32> = InterruptLock::new(0);
    let (here, shared, theirs) = (at.cpu(), Arc::new(Shared::default()), lock.clone());
    let other = shared.clone();
    let mut crew = Crew::default();
    crew.start(at, ThreadOptions::named("conformance").on(CpuSet::of([0])), move |at| {
        theirs.synchronize(at, |isrs, at| {
            other.held_at.store(at.irql(), Release);
            while other.vector.load(Acquire) == 0 {
                core::hint::spin_loop();
            }
            let vector = other.vector.load(Acquire);
            if vector >> 4 == 5 {
                Wire { cpu: here, vector }.pull();
                dawdle();
                other.is_early.store(*isrs != 0, Relaxed);
            }
        });
        Ok(())
    })?;
    let held = spin_until(at, "the other CPU did not take the lock", || shared.held_at.load(Acquire) != 0);
    let settled = lock.settle(5).map_err(|error| format!("{error}"));
    let count = |isrs: &mut u32, _: &dyn Deferred<Dirql>, _: &mut At<'_, Dirql>| *isrs += 1;
    let late = soft(at, here, 5, &lock, count, nothing);
    let vector = late.as_ref().map_or(u8::MAX, |late| late.wire.vector);
    if let Ok(late) = &late {
        late.interrupt.routine().note_event();
    }
    shared.vector.store(vector, Release);
    held.and(settled)?;
    let late = late?;
    late.await_served(at, 1)?;
    crew.finish(at)?;
    late.disconnect(at)?;
    let level = shared.held_at.load(Relaxed);
    ensure(level == irql::DEVICE_HIGHEST, || format!("before connecting it was held at IRQL {level}"))?;
    ensure(!shared.is_early.load(Relaxed), || "the ISR ran while the other CPU held the lock".into())?;
    let isrs = lock.synchronize(at, |isrs, _| *isrs);
    ensure(isrs == 1, || format!("the ISR ran {isrs} times, not once"))
}
