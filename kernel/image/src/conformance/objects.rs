//! The cases on DPC, work item and timer objects, and on serialization: with the probe's objects and its interrupt.

use super::{
    Case, Outcome, case,
    probe::{Probe, Subject},
    soft::await_that,
    turns::{Kind, Objects, PERIOD, Turns},
};
use crate::selftest::crew::{ensure, on_every_cpu};
use alloc::format;
use framework::{DeviceRef, Pnp};
use ke::{At, Event, Passive, SpinLock};

pub const CASES: &[Case] = &[
    case!(c10_a_serialized_dpc_overlaps_no_callback_of_its_scope, devices: 1),
    case!(c52_a_serialized_work_item_overlaps_no_callback_of_its_scope, devices: 1),
    case!(c80_a_timer_expires_once_and_not_after_it_was_stopped, devices: 1),
    case!(c81_a_periodic_timer_keeps_time_until_it_is_stopped, devices: 1),
    case!(c82_a_stop_that_waits_wins_against_a_callback_that_starts_it_again, devices: 1),
    case!(c83_a_passive_timer_runs_at_passive_and_is_waited_for, devices: 1),
    case!(c84_a_cancelled_dpc_object_does_not_run, devices: 1),
    case!(c85_a_flush_waits_for_the_work_item, devices: 1),
];

/// What every CPU does so often.
const ROUNDS: u64 = 200;

/// Every CPU queues the DPC object, arms the timer and raises the interrupt.
fn c10_a_serialized_dpc_overlaps_no_callback_of_its_scope(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probe = Subject::find(pnp, 0, at)?;
    let device = probe.device();
    on_every_cpu(at, move |_, at| {
        many_times(&device, at, |probe, at| {
            probe.raise(at);
            probe.objects.timer.start(at, 1);
            probe.objects.dpc.enqueue(at);
        })
    })?;
    probe.await_claim(at)?;
    let turns = probe.with(at, |objects, at| {
        objects.timer.stop_and_wait(at);
        (objects.swift.scope.enter(at, |turns, _| *turns), objects.swift.faults())
    })?;
    shared_without_faults(turns, &[Kind::Interrupt, Kind::Object, Kind::Timer])
}

/// Every CPU queues the work item and arms the passive timer.
fn c52_a_serialized_work_item_overlaps_no_callback_of_its_scope(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probe = Subject::find(pnp, 0, at)?;
    let device = probe.device();
    on_every_cpu(at, move |_, at| {
        many_times(&device, at, |probe, at| {
            probe.objects.passive_timer.start(at, 1);
            probe.objects.item.enqueue(at);
        })
    })?;
    await_that(at, |at| probe.with(at, |objects, at| passive_turns(objects, at).of(Kind::Timer) > 0) == Ok(true))
        .map_err(|why| format!("the timer had no turn {why}"))?;
    let turns = probe.with(at, |objects, at| {
        objects.passive_timer.stop_and_wait(at);
        objects.item.flush(at);
        (passive_turns(objects, at), objects.slow.faults())
    })?;
    shared_without_faults(turns, &[Kind::Object, Kind::Timer])
}

fn many_times(device: &DeviceRef<Probe>, at: &mut At<'_, Passive>, f: fn(&Probe, &mut At<'_, Passive>)) -> Outcome {
    for _ in 0..ROUNDS {
        device.with(at, f).map_err(|status| format!("{status}"))?;
    }
    Ok(())
}

fn shared_without_faults((turns, faults): (Turns, u32), kinds: &[Kind]) -> Outcome {
    ensure(faults == 0, || format!("{faults} of the callbacks were not alone, or at a wrong IRQL"))?;
    ensure(kinds.iter().all(|kind| turns.of(*kind) > 0), || format!("the turns were {turns:?}"))
}

fn passive_turns(objects: &Objects, at: &mut At<'_, Passive>) -> Turns {
    objects.slow.scope.enter(at, |turns, _| *turns)
}

fn timer_turns(objects: &Objects, at: &mut At<'_, Passive>) -> u64 {
    objects.swift.scope.enter(at, |turns, _| turns.of(Kind::Timer))
}

fn c80_a_timer_expires_once_and_not_after_it_was_stopped(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probe = Subject::find(pnp, 0, at)?;
    let (before, answers) = probe.with(at, |objects, at| {
        let started = objects.timer.start(at, 20 * PERIOD);
        (timer_turns(objects, at), [started, objects.timer.stop(at), objects.timer.stop(at)])
    })?;
    // The 20 ms may be over before it is stopped, if the host is slow.
    let once = u64::from(answers == [false; 3]);
    ensure(once == 1 || answers == [false, true, false], || format!("start and two stops answered {answers:?}"))?;
    pause(at, 40 * PERIOD);
    let then = probe.with(at, timer_turns)?;
    ensure(then == before + once, || format!("it expired {} times although it was stopped", then - before))?;
    probe.with(at, |objects, at| objects.timer.start(at, PERIOD))?;
    await_that(at, |at| probe.with(at, timer_turns) == Ok(then + 1)).map_err(|why| format!("no expiry came {why}"))?;
    pause(at, 5 * PERIOD);
    let last = probe.with(at, timer_turns)?;
    ensure(last == then + 1, || format!("it expired {} times", last - then))
}

fn c81_a_periodic_timer_keeps_time_until_it_is_stopped(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    const TICKS: u32 = 10;
    let probe = Subject::find(pnp, 0, at)?;
    let start = at.now();
    let before = probe.with(at, |objects, at| {
        let before = objects.ticks();
        objects.tick.start(at, PERIOD);
        before
    })?;
    let ticks = |at: &mut At<'_, Passive>| probe.with(at, |objects, _| objects.ticks() - before);
    await_that(at, |at| ticks(at).is_ok_and(|ticks| ticks >= TICKS))
        .map_err(|why| format!("no 10 ticks came {why}"))?;
    let stops = probe.with(at, |objects, at| [objects.tick.stop_and_wait(at), objects.tick.stop(at)])?;
    let (counted, passed) = (ticks(at)?, at.now() - start);
    pause(at, 5 * PERIOD);
    let later = ticks(at)?;
    ensure(stops == [true, false], || format!("the two stops answered {stops:?}"))?;
    ensure(u64::from(counted) * PERIOD <= passed, || format!("{counted} ticks of a millisecond in {passed} ns"))?;
    ensure(later == counted, || format!("{} ticks came after the stop", later - counted))
}

fn c82_a_stop_that_waits_wins_against_a_callback_that_starts_it_again(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probe = Subject::find(pnp, 0, at)?;
    for _ in 0..20 {
        let (stopped, ticks) = probe.with(at, |objects, at| {
            objects.again.start(at, PERIOD / 10);
            pause(at, PERIOD);
            (objects.again.stop_and_wait(at), objects.ticks())
        })?;
        ensure(stopped, || "it was not armed, although its callback always arms it".into())?;
        pause(at, PERIOD);
        let later = probe.with(at, |objects, _| objects.ticks())?;
        ensure(later == ticks, || format!("it expired {} times after the stop", later - ticks))?;
    }
    Ok(())
}

fn c83_a_passive_timer_runs_at_passive_and_is_waited_for(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probe = Subject::find(pnp, 0, at)?;
    let turns = |at: &mut At<'_, Passive>| probe.with(at, |objects, at| passive_turns(objects, at).of(Kind::Timer));
    let before = turns(at)?;
    probe.with(at, |objects, at| objects.passive_timer.start(at, PERIOD))?;
    await_that(at, |at| turns(at) == Ok(before + 1)).map_err(|why| format!("no expiry came {why}"))?;
    let (stopped, faults) =
        probe.with(at, |objects, at| (objects.passive_timer.stop_and_wait(at), objects.slow.faults()))?;
    ensure(!stopped, || "it was armed after it had expired".into())?;
    ensure(faults == 0, || "it did not run at PASSIVE".into())
}

fn c84_a_cancelled_dpc_object_does_not_run(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probe = Subject::find(pnp, 0, at)?;
    let turns =
        |objects: &Objects, at: &mut At<'_, Passive>| objects.swift.scope.enter(at, |turns, _| turns.of(Kind::Object));
    let (answers, ran) = probe.with(at, |objects, at| {
        let before = turns(objects, at);
        let answers = SpinLock::new(()).with(at, |(), at| {
            [objects.dpc.enqueue(at), objects.dpc.enqueue(at), objects.dpc.cancel(at), objects.dpc.cancel(at)]
        });
        let waited = objects.dpc.cancel_and_wait(at);
        ((answers, waited), turns(objects, at) - before)
    })?;
    ensure(answers == ([true, false, true, false], false), || format!("the answers were {answers:?}"))?;
    ensure(ran == 0, || format!("it ran {ran} times"))
}

fn c85_a_flush_waits_for_the_work_item(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probe = Subject::find(pnp, 0, at)?;
    let (queued, ran) = probe.with(at, |objects, at| {
        let before = passive_turns(objects, at).of(Kind::Object);
        let queued = objects.item.enqueue(at);
        objects.item.flush(at);
        (queued, passive_turns(objects, at).of(Kind::Object) - before)
    })?;
    ensure(queued && ran == 1, || format!("queued: {queued}; it ran {ran} times until the flush returned"))
}

/// Lets time pass.
fn pause(at: &mut At<'_, Passive>, time: u64) {
    // Nobody sets it.
    let _ = Event::new().wait_timeout(at, time);
}
