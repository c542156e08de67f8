//! How long a callback may run.

use super::*;

/// Longer than the DPC may run: when the timer's clock fires in the midst of it, so much time has passed.
const A_WHILE: u64 = 5_000;

fn rings_beside_a_timer(dev: &Careless, at: &mut At<'_, Passive>) {
    let timer = ke::Timer::new(|_: &mut At<'_, Dispatch>| ());
    timer.start(at, A_WHILE);
    dev.err(Fault::Nothing, 0, at);
    timer.cancel(at);
}

#[test]
fn a_dpc_that_runs_too_long() {
    let failure = explorer("long DPC", 1).bound(1).expect_failure(on_device(|dev, at| {
        verifier::start(at, Verifier { longest_dpc: A_WHILE - 1, ..Verifier::UNTIMED });
        rings_beside_a_timer(dev, at);
    }));
    assert_says(&failure, "VERIFIER_VIOLATION", &["the DPC", "ToDpc", "ran for 5 us; it may for 4 us"]);
}

#[test]
fn a_dpc_that_takes_no_longer_than_it_may() {
    let stats = explorer("no longer", 1).bound(1).run(on_device(|dev, at| {
        verifier::start(at, Verifier { longest_dpc: A_WHILE, ..Verifier::UNTIMED });
        rings_beside_a_timer(dev, at);
    }));
    assert!(stats.complete, "{stats}");
}
