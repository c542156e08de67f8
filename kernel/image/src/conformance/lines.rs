//! Cases 61 to 65: lines with several interrupt objects, made of software and of a device on its real line.

use super::{
    Case, Outcome, case,
    probe::Subject,
    soft::{Deferred, Wire, await_that, nothing, unconnected},
};
use crate::{
    selftest::crew::ensure,
    sweep::software::{Unmaskable, lock_of_class},
};
use alloc::{format, string::String, sync::Arc};
use framework::{Pnp, Status};
use ke::{At, ConnectError, Connection, Dirql, Interrupt, InterruptLock, Line, Mode, Passive, STORM, ServiceRoutine};

pub const CASES: &[Case] = &[
    case!(c61_a_level_chain_stops_at_the_first_claim, devices: 1),
    case!(c61_devices_of_one_line_claim_what_is_their_own, devices: 3),
    case!(c61_an_edge_chain_is_asked_until_a_whole_pass_claims_nothing),
    case!(c63_a_line_is_not_shared_unless_all_agree_on_it_and_on_the_mode),
    case!(c63_a_device_that_does_not_share_is_refused_and_unwound, devices: 1),
    case!(c65_a_line_that_nobody_claims_is_masked_until_it_is_forgiven, devices: 1),
];

fn c61_a_level_chain_stops_at_the_first_claim(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probe = Subject::find(pnp, 0, at)?;
    for (claims, expected) in [([true, true, true], [1, 0, 0]), ([false, true, true], [1, 1, 0])] {
        let started = probe.restart(at, |plan| (plan.objects, plan.claims) = (2, claims));
        started.map_err(|status| format!("{status}"))?;
        probe.raise(at)?;
        let asked = probe.await_claim(at)?;
        ensure(asked == expected, || format!("with claims {claims:?} they were asked {asked:?} times"))?;
    }
    probe.stop(at).map_err(|status| format!("{status}"))?;
    probe.recover(at)
}

/// The first on the line is asked for everybody, the last for itself alone.
fn c61_devices_of_one_line_claim_what_is_their_own(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probes = [Subject::find(pnp, 0, at)?, Subject::find(pnp, 1, at)?, Subject::find(pnp, 2, at)?];
    for probe in &probes {
        probe.restart(at, |_| ()).map_err(|status| format!("{status}"))?;
    }
    for probe in &probes {
        probe.raise(at)?;
        probe.await_claim(at)?;
    }
    let asked = [0, 1, 2].map(|n| probes[n].plan(at, |plan| plan.asked[0]));
    ensure(asked == [3, 2, 1], || format!("for one interrupt of each they were asked {asked:?} times"))
}

/// A line of class 5 whose interrupts the program raises.
fn soft_line<R: ServiceRoutine<Context = ()>>(
    at: &mut At<'_, Passive>,
    mode: Mode,
    first: &Arc<Interrupt<R>>,
    share: bool,
) -> Result<(Arc<Line>, Wire), String> {
    let cpu = at.cpu();
    for vector in (0x50..=0x5f).rev() {
        let line = Line::new(cpu, vector, mode, Arc::new(Unmaskable));
        match first.connect_line(at, &line, mode, share, ()) {
            Ok(()) => return Ok((line, Wire { cpu, vector })),
            Err(ConnectError::VectorTaken { .. }) => {}
            Err(error) => return Err(format!("{error}")),
        }
    }
    Err("all vectors of class 5 are taken".into())
}

fn c61_an_edge_chain_is_asked_until_a_whole_pass_claims_nothing(at: &mut At<'_, Passive>) -> Outcome {
    let lock: InterruptLock<u32> = lock_of_class(5)?;
    let isr = |_: &mut u32, _: &dyn Deferred<Dirql>, _: &mut At<'_, Dirql>| ();
    let (first, second) = (unconnected(&lock, isr, nothing), unconnected(&lock, isr, nothing));
    let (line, wire) = soft_line(at, Mode::Latched, &first, true)?;
    second.connect_line(at, &line, Mode::Latched, true, ()).map_err(|error| format!("{error}"))?;
    for each in [&first, &second] {
        each.routine().note_event();
    }
    // One edge for both: they came together.
    wire.pull();
    let served = await_that(at, |_| first.routine().served() + second.routine().served() == 2);
    let seen = (line.count(), first.count(), second.count());
    first.disconnect(at);
    second.disconnect(at);
    served.map_err(|why| format!("not both were asked {why}"))?;
    ensure(seen == (1, 2, 2), || format!("edges, and how often each was asked: {seen:?}, not twice each for one edge"))
}

fn c63_a_line_is_not_shared_unless_all_agree_on_it_and_on_the_mode(at: &mut At<'_, Passive>) -> Outcome {
    let lock: InterruptLock<u32> = lock_of_class(5)?;
    let isr = |_: &mut u32, _: &dyn Deferred<Dirql>, _: &mut At<'_, Dirql>| ();
    for (first_shares, second_shares) in [(true, false), (false, true), (false, false)] {
        let (first, second) = (unconnected(&lock, isr, nothing), unconnected(&lock, isr, nothing));
        let (line, wire) = soft_line(at, Mode::Latched, &first, first_shares)?;
        let Wire { cpu, vector } = wire;
        let refused = second.connect_line(at, &line, Mode::Latched, second_shares, ());
        let other_mode = second.connect_line(at, &line, Mode::LevelSensitive, true, ());
        let connection = Connection { cpu, vector, mode: Mode::Latched, source: Arc::new(Unmaskable) };
        let alone = second.connect(at, connection, ());
        first.routine().note_event();
        wire.pull();
        let served = await_that(at, |_| first.routine().served() == 1);
        first.disconnect(at);
        ensure(refused == Err(ConnectError::NotShared { cpu, vector }), || format!("sharing answered {refused:?}"))?;
        ensure(other_mode == Err(ConnectError::OtherMode { line: Mode::Latched }), || {
            format!("the other mode answered {other_mode:?}")
        })?;
        ensure(alone == Err(ConnectError::VectorTaken { cpu, vector }), || format!("its vector answered {alone:?}"))?;
        ensure(!second.is_connected(), || "the second is connected all the same".into())?;
        served.map_err(|why| format!("the first one's interrupt did not come {why}"))?;
    }
    Ok(())
}

fn c63_a_device_that_does_not_share_is_refused_and_unwound(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probe = Subject::find(pnp, 0, at)?;
    let refused = probe.restart(at, |plan| (plan.objects, plan.shares) = (2, [true, false, true]));
    let steps = probe.steps(at);
    probe.recover(at)?;
    ensure(matches!(refused, Err(Status::Connect(ConnectError::NotShared { .. }))), || {
        format!("starting it answered {refused:?}")
    })?;
    let last = steps.last().map(|(step, _)| *step);
    ensure(last == Some(super::probe::Step::ReleaseHardware), || format!("the start ended with {last:?}"))?;
    probe.raise(at)?;
    let asked = probe.await_claim(at)?;
    ensure(asked == [1, 0, 0], || format!("after the refusal one interrupt asked {asked:?} times"))
}

fn c65_a_line_that_nobody_claims_is_masked_until_it_is_forgiven(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    let probe = Subject::find(pnp, 0, at)?;
    let started = probe.restart(at, |plan| (plan.objects, plan.claims) = (2, [false; 3]));
    started.map_err(|status| format!("{status}"))?;
    let before = probe.line(at)?;
    probe.raise(at)?;
    let masked = await_that(at, |at| probe.line(at).is_ok_and(|line| line.stormed));
    let line = probe.line(at)?;
    probe.plan(at, |plan| plan.claims = [true; 3]);
    pnp.forgive_line(at, line.line.gsi).map_err(|status| format!("{status}"))?;
    probe.await_claim(at)?;
    let after = probe.line(at)?;
    probe.stop(at).map_err(|status| format!("{status}"))?;
    probe.recover(at)?;
    masked.map_err(|why| format!("the line was not masked {why}"))?;
    let unclaimed = line.unclaimed - before.unclaimed;
    ensure(unclaimed == u64::from(STORM), || format!("it was masked after {unclaimed} interrupts, not {STORM}"))?;
    let named = line.members.iter().filter(|name| name.contains("ProbeInterrupt")).count();
    ensure(named >= 2, || format!("those on it are {:?}", line.members))?;
    ensure(!after.stormed, || "it was forgiven, and is masked again".into())
}
