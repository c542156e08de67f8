//! Case 53: a DPC that does not end, and a CPU that gives no time to threads; and of case 65 the storm whose interrupts are
//! all claimed, which the watchdog notices.

use crate::support::{AtDirql, GSI, MACHINES, card_on, coarse, explorer, line};
use hal_sim::Setup;
use ke::{
    At, Dispatch, Dpc, Event, Mode, SpinLock, StormCause, WaitError,
    verifier::{self, Verifier},
    watchdog::{self, Watchdog, WatchdogInfo},
};
use std::{
    mem,
    sync::{Arc, Mutex},
};

const TICK: u64 = 1_000;
const WATCHDOG: Watchdog = Watchdog { tick: TICK, idle_tick: 10 * TICK, single: 3, cumulative: 20, storm: 1_000_000 };

/// What the bug check of `scenario` says: the first schedule ends in one. It is a deadlock, so the verifier is on from where
/// the scenario turns it on.
fn bug_check_of(name: &str, cpus: usize, scenario: impl Fn(&mut Setup) + 'static) -> String {
    let found = explorer(name, cpus).without_verifier().bound(1).random(0).explore(scenario);
    let said = found.expect_err("the watchdog finds it").to_string();
    assert!(said.contains("DPC_WATCHDOG_VIOLATION"), "{said}");
    said
}

/// Spins at DISPATCH for good, as code does that waits for a bit which never comes.
fn never_ends(at: &mut At<'_, Dispatch>) {
    let lock = SpinLock::new(());
    mem::forget(lock.acquire(at));
    drop(lock.acquire(at));
}

fn never_ends_in_a_dpc(_: [usize; 2], at: &mut At<'_, Dispatch>) {
    never_ends(at);
}

#[test]
fn c53_a_dpc_that_does_not_end_is_named() {
    for cpus in MACHINES {
        let said = bug_check_of("c53 single", cpus, |machine| {
            machine.main(|at| {
                watchdog::start(at, WATCHDOG);
                Dpc::new(never_ends_in_a_dpc).insert(at);
                Event::new().wait(at).expect("no device goes away here");
            });
        });
        assert!(said.contains("never_ends_in_a_dpc") && said.contains("has run for 4 clock ticks"), "{said}");
    }
}

#[test]
fn c53_a_dpc_that_does_not_end_on_an_idle_cpu_is_named() {
    let said = bug_check_of("c53 idle", 2, |machine| {
        machine.main(|at| {
            watchdog::start(at, WATCHDOG);
            // Both CPUs are idle when it comes.
            let dpc = Dpc::new(never_ends_in_a_dpc);
            let timer = ke::Timer::new(move |at: &mut At<'_, Dispatch>| {
                dpc.insert(at);
            });
            timer.start(at, 100 * TICK);
            Event::new().wait(at).expect("no device goes away here");
        });
    });
    assert!(said.contains("never_ends_in_a_dpc"), "{said}");
}

#[test]
fn c53_a_cpu_that_stays_at_dispatch_is_noticed() {
    let said = bug_check_of("c53 cumulative", 1, |machine| {
        machine.main(|at| {
            watchdog::start(at, WATCHDOG);
            let lock = SpinLock::new(());
            lock.with(at, |_, at| never_ends(at));
        });
    });
    assert!(said.contains("at DISPATCH or above for 21 clock ticks"), "{said}");
}

#[test]
fn c53_the_line_is_named_that_has_raised() {
    let line = line!() + 6;
    let said = bug_check_of("c53 line", 1, |machine| {
        machine.main(|at| {
            watchdog::start(at, WATCHDOG);
            verifier::start(at, Verifier::UNTIMED);
            let lock = SpinLock::new(());
            let mut guard = lock.acquire(at);
            let (_, at) = guard.parts();
            // What it waits for meanwhile is no lock that the verifier knows.
            let polled = Event::new();
            while !polled.is_set(at) {}
        });
    });
    let named = format!("held here: the spin lock taken at kernel/hal-sim/tests/conformance/watchdog.rs:{line}");
    assert!(said.contains(&named), "{said}");
}

#[test]
fn c53_a_machine_whose_threads_get_on_is_not_guilty() {
    for cpus in MACHINES {
        coarse("c53 not guilty", cpus, |machine| {
            machine.main(|at| {
                watchdog::start(at, WATCHDOG);
                for _ in 0..3 {
                    let waited = Event::new().wait_timeout(at, u64::from(WATCHDOG.cumulative) * TICK);
                    assert_eq!(waited, Err(WaitError::TimedOut));
                }
                // Off: else the machine would never come to rest.
                watchdog::stop(at);
            });
        });
    }
}

#[test]
fn c53_what_is_used_up_can_be_asked_in_a_dpc() {
    coarse("c53 query", 1, |machine| {
        machine.main(|at| {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let asks = seen.clone();
            let dpc = Dpc::new(move |_: [usize; 2], at: &mut At<'_, Dispatch>| {
                asks.lock().expect("nobody panics with it").push(watchdog::query(at));
            });
            dpc.insert(at);
            watchdog::start(at, WATCHDOG);
            dpc.insert(at);
            ke::flush_queued_dpcs(at);
            watchdog::stop(at);
            let seen = seen.lock().expect("as above");
            assert_eq!(seen[0], None, "it was off");
            let Some(WatchdogInfo { dpc_ticks, single, cpu_ticks, cumulative }) = seen[1] else { panic!("it is on") };
            assert_eq!((dpc_ticks, single, cumulative), (0, WATCHDOG.single, WATCHDOG.cumulative));
            // Ticks may have found the section in which it was started, or queued.
            assert!(cpu_ticks <= 3, "{cpu_ticks}");
        });
    });
}

#[test]
fn c65_a_claimed_storm_is_masked_until_it_is_forgiven() {
    // In the time of 20 ticks, 20 are the most. When ticks come early, 60 may be spread over enough of them to be none.
    for (events, bound, storm) in [(15, 1, None), (60, 0, Some(StormCause::TooFast))] {
        explorer("c65 too fast", 1).bound(bound).random(0).run(move |machine| {
            let card = card_on(machine, GSI);
            machine.main(move |at| {
                let sharer = AtDirql::new(card.clone());
                let line = line(at, Mode::LevelSensitive, 0);
                sharer.join(at, &line);
                watchdog::start(at, WATCHDOG);
                for _ in 0..events {
                    sharer.start(1);
                    sharer.finish(at);
                }
                let waited = Event::new().wait_timeout(at, 30 * TICK);
                assert_eq!(waited, Err(WaitError::TimedOut));
                watchdog::stop(at);
                // The next one is masked, or served.
                sharer.expect(1);
                sharer.card.access(|card, bus| card.raise(bus));
                ke::flush_queued_dpcs(at);
                assert_eq!(line.storm(), storm);
                assert_eq!(sharer.served(), events + u32::from(storm.is_none()));
                line.forgive(at);
                sharer.finish(at);
                sharer.leave(at);
            });
        });
    }
}
