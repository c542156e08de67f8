//! The driver under every schedule within the bound.

use framework::{DeviceRef, Driver, Pnp, prelude::*};
use hal_sim::{Explorer, Setup, model, run_once};
use ke::thread::{self, ThreadOptions};
use std::time::Duration;
use twins::{Counters, SLOW, Twin};

/// Two devices; `f` has the driver's references to them.
fn with_twins(machine: &mut Setup, f: impl FnOnce(&Pnp, [DeviceRef<Twin>; 2], &mut At<'_, Passive>) + Send + 'static) {
    machine.device(model::Edu::new());
    machine.device(model::Edu::new());
    machine.main(move |at| {
        let pnp = Pnp::start(at, &hal_sim::platform(), &[Driver::of::<Twin>()]);
        let twins = ["twins#0", "twins#1"].map(|name| pnp.device(name).expect("both have started"));
        f(&pnp, twins, at);
        pnp.shut_down(at);
    });
}

fn explore(name: &str, cpus: usize, setup: impl Fn(&mut Setup) + 'static) {
    Explorer::new(&format!("twins {name} on {cpus}")).cpus(cpus).limit(Duration::from_secs(2)).run(setup);
}

fn counters(twin: &DeviceRef<Twin>, at: &mut At<'_, Passive>) -> Counters {
    twin.with(at, |twin, at| twin.counters(at)).expect("it is started")
}

#[test]
fn both_are_served_and_never_at_once() {
    for cpus in [1, 2] {
        explore("both raise", cpus, |machine| {
            with_twins(machine, |_, [first, second], at| {
                let other = move |at: &mut At<'_, Passive>| {
                    assert_eq!(second.with(at, |twin, at| twin.raise(at, 2)), Ok(Ok(())));
                };
                let other = thread::spawn(at, ThreadOptions::named("other"), other).expect("there is memory");
                assert_eq!(first.with(at, |twin, at| twin.raise(at, 1)), Ok(Ok(())));
                other.join(at).expect("no device is used here");
                assert_eq!(counters(&first, at), Counters { served: 2, overlaps: 0 });
            });
        });
    }
}

#[test]
fn one_stops_while_the_other_is_served() {
    explore("one stops", 2, |machine| {
        with_twins(machine, |pnp, [first, second], at| {
            let other = move |at: &mut At<'_, Passive>| {
                assert_eq!(second.with(at, |twin, at| twin.raise(at, 2)), Ok(Ok(())));
                assert_eq!(counters(&second, at).overlaps, 0);
            };
            let other = thread::spawn(at, ThreadOptions::named("other"), other).expect("there is memory");
            pnp.stop_device(at, "twins#0").expect("it is started");
            assert!(first.with(at, |twin, at| twin.counters(at)).is_err(), "it is stopped");
            other.join(at).expect("no device is used here");
        });
    });
}

/// Virtual time: two ISRs, one after the other, each with its pause.
#[test]
fn two_interrupts_at_once_take_two_pauses() {
    run_once(2, |machine| {
        with_twins(machine, |_, [first, second], at| {
            let before = at.now();
            let other = move |at: &mut At<'_, Passive>| {
                assert_eq!(second.with(at, |twin, at| twin.raise(at, 2)), Ok(Ok(())));
            };
            let other = thread::spawn(at, ThreadOptions::named("other"), other).expect("there is memory");
            assert_eq!(first.with(at, |twin, at| twin.raise(at, 1)), Ok(Ok(())));
            other.join(at).expect("no device is used here");
            assert!(at.now() >= before + 2 * SLOW);
        });
    });
}

#[test]
fn nobody_has_the_lock_when_nothing_happens() {
    run_once(1, |machine| {
        with_twins(machine, |_, [first, _], at| {
            let tried = first.with(at, |twin, at| twin.try_counters(at));
            assert_eq!(tried, Ok(Some(Counters::default())));
        });
    });
}
