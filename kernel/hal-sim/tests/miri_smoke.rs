//! The core on the simulated machine where Miri can watch: threads pass a baton, no assembly.
//!
//! `cargo +nightly miri test -p hal-sim --test miri_smoke`

use hal_sim::{Explorer, Granularity, Setup, Switcher};
use ke::{
    At, Dispatch, Dpc, Event, Importance, WaitLock, flush_queued_dpcs,
    thread::{self, ThreadOptions},
};
use std::sync::Arc;

/// A thread, a DPC on the other CPU, an event, a wait lock.
fn scenario(machine: &mut Setup) {
    machine.main(|at| {
        let (lock, rung) = (Arc::new(WaitLock::new(0)), Arc::new(Event::new()));
        let (their_lock, bell) = (lock.clone(), rung.clone());
        let helper = thread::spawn(at, ThreadOptions::named("helper"), move |at| *their_lock.acquire(at) += 1);
        let routine = move |_: [usize; 2], at: &mut At<'_, Dispatch>| bell.set(at);
        let dpc = Dpc::with(routine, Importance::High, Some(1));
        assert!(dpc.insert(at));
        *lock.acquire(at) += 1;
        rung.wait(at).expect("no device is used");
        helper.expect("the host has memory").join(at).expect("no device is used");
        flush_queued_dpcs(at);
        assert_eq!(*lock.acquire(at), 2);
    });
}

#[test]
fn the_core_runs_on_batons() {
    let explorer = Explorer::new("smoke").cpus(2).granularity(Granularity::Fine).switcher(Switcher::Batons);
    let schedules = if cfg!(miri) { 3 } else { 20 };
    let stats = explorer.bound(0).random(schedules).limit(std::time::Duration::from_secs(3600)).run(scenario);
    assert_eq!((stats.schedules, stats.random), (1, schedules));
}
