//! The driver that ships, under every schedule within the bound.

mod common;

use common::start;
use edu::{Counters, Edu, EduError, EduFile, LONGEST_TRANSFER, USABLE_BUFFER};
use framework::{DeviceState, Pnp, prelude::*};
use hal_sim::{Explorer, Setup, Stats, model, run_once};
use ke::thread::{self, JoinHandle, ThreadOptions};
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// Within 3 deviations on one CPU, 2 on more.
fn explore(name: &str, cpus: usize, setup: impl Fn(&mut Setup) + 'static) -> Stats {
    explorer(name, cpus).run(setup)
}

fn explorer(name: &str, cpus: usize) -> Explorer {
    Explorer::new(&format!("edu {name} on {cpus}")).cpus(cpus).limit(Duration::from_secs(4))
}

/// Starts a thread; no allocation fails in these tests.
fn spawn(
    at: &mut At<'_, Passive>,
    name: &'static str,
    main: impl for<'c> FnOnce(&mut At<'c, Passive>) + Send + 'static,
) -> JoinHandle {
    thread::spawn(at, ThreadOptions::named(name), main).expect("the machine has memory")
}

fn open(pnp: &Pnp, n: u32) -> EduFile {
    EduFile::open(pnp, &format!("edu#{n}")).expect("the device is there")
}

/// Two devices, so that the first is served by a DPC and the second by a work item; `f` works on the one numbered `n`.
fn on_device(machine: &mut Setup, n: u32, f: impl FnOnce(&EduFile, &mut At<'_, Passive>) + Send + 'static) {
    for _ in 0..=n {
        machine.device(model::Edu::new());
    }
    machine.main(move |at| {
        let pnp = start::<Edu>(at);
        f(&open(&pnp, n), at);
        pnp.shut_down(at);
    });
}

#[test]
fn a_factorial_by_dpc() {
    for cpus in [1, 2] {
        explore("factorial by DPC", cpus, |machine| {
            on_device(machine, 0, |edu, at| {
                assert_eq!(edu.factorial(at, 5), Ok(120));
                assert_eq!(edu.counters(at), Ok(Counters { raised: 1, seen: 1 }));
            });
        });
    }
}

#[test]
fn a_factorial_by_work_item() {
    for cpus in [1, 2] {
        explore("factorial by work item", cpus, |machine| {
            on_device(machine, 1, |edu, at| assert_eq!(edu.factorial(at, 12), Ok(479_001_600)));
        });
    }
}

#[test]
fn dma_in_both_directions() {
    for cpus in [1, 2] {
        explore("DMA", cpus, |machine| {
            on_device(machine, 0, |edu, at| assert_eq!(edu.round_trip(at, 2, 9), Ok(())));
        });
    }
}

#[test]
fn raised_and_acknowledged() {
    for cpus in [1, 2] {
        explore("raise", cpus, |machine| {
            on_device(machine, 0, |edu, at| assert_eq!(edu.raise(at, 0x30), Ok(0x30)));
        });
    }
}

/// Another thread asks, and the device is stopped at whatever moment.
fn stopped_during<T: PartialEq + std::fmt::Debug + Send + 'static>(
    machine: &mut Setup,
    right: T,
    ask: fn(&EduFile, &mut At<'_, Passive>) -> Result<T, EduError>,
) {
    machine.device(model::Edu::new());
    machine.main(move |at| {
        let pnp = start::<Edu>(at);
        let edu = open(&pnp, 0);
        let user = edu.clone();
        let user = spawn(at, "user", move |at| match ask(&user, at) {
            Ok(answer) => assert_eq!(answer, right),
            Err(error) => assert!(is_gone(&error), "{error}"),
        });
        pnp.stop_device(at, "edu#0").expect("it is started");
        assert!(edu.factorial(at, 5).is_err_and(|error| is_gone(&error)));
        user.join(at).expect("no device is used here");
        pnp.shut_down(at);
    });
}

/// The device was stopped before or during the request.
fn is_gone(error: &EduError) -> bool {
    matches!(error, EduError::Request(Status::Gone | Status::NoQueue { .. }))
}

#[test]
fn stopped_during_a_factorial() {
    for cpus in [1, 2] {
        explore("stop during a factorial", cpus, |machine| {
            stopped_during(machine, 120, |edu, at| edu.factorial(at, 5));
        });
    }
}

#[test]
fn stopped_during_a_transfer() {
    for cpus in [1, 2] {
        explore("stop during a transfer", cpus, |machine| {
            stopped_during(machine, (), |edu, at| edu.round_trip(at, 2, 0));
        });
    }
}

/// The device goes on with what it was asked before the stop: that must not reach memory that was given back.
#[test]
fn started_again_after_a_stop_during_a_transfer() {
    // Two lives of a device are too many choices for a third deviation.
    explorer("restart", 1).bound(2).run(|machine| {
        machine.device(model::Edu::new());
        machine.main(|at| {
            let pnp = start::<Edu>(at);
            let edu = open(&pnp, 0);
            let user = edu.clone();
            let user = spawn(at, "user", move |at| match user.round_trip(at, 2, 1) {
                Ok(()) => {}
                // What was written before the stop is not what is read after it.
                Err(error) => assert!(is_gone(&error) || matches!(error, EduError::Different { .. }), "{error}"),
            });
            // Long enough for the transfer to begin, not to end.
            let _ = Event::new().wait_timeout(at, 1_000_000);
            pnp.stop_device(at, "edu#0").expect("it is started");
            pnp.start_device(at, "edu#0").expect("it can be started again");
            user.join(at).expect("no device is used here");
            assert_eq!(edu.round_trip(at, 2, 2), Ok(()));
            pnp.shut_down(at);
        });
    });
}

#[test]
fn removed_by_surprise_during_a_transfer() {
    for cpus in [1, 2] {
        explore("surprise", cpus, |machine| {
            let device = machine.device(model::Edu::new());
            machine.main(move |at| {
                let pnp = start::<Edu>(at);
                let edu = open(&pnp, 0);
                let user = spawn(at, "user", move |at| match edu.round_trip(at, 2, 0) {
                    Ok(()) => {}
                    Err(error) => assert!(is_gone(&error), "{error}"),
                });
                device.remove();
                let location = pnp.devices(at)[0].location;
                pnp.surprise_remove_device(at, "edu#0").expect("it was there");
                user.join(at).expect("no device is used here");
                // It might still have written: kept until it is known to have left.
                let quarantined = |at: &mut At<'_, Passive>| {
                    pnp.objects(at).iter().find(|row| row.of == "quarantine").map(|row| row.bytes)
                };
                assert_eq!(quarantined(at), Some(LONGEST_TRANSFER));
                pnp.left_the_bus(at, location);
                assert_eq!(quarantined(at), Some(0));
            });
        });
    }
}

#[test]
fn a_device_may_vanish_at_any_moment() {
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let states = seen.clone();
    explore("vanishing", 1, move |machine| {
        let states = states.clone();
        machine.device(model::Edu::new().may_vanish());
        machine.main(move |at| {
            let pnp = start::<Edu>(at);
            if let Ok(edu) = EduFile::open(&pnp, "edu#0") {
                let answer = edu.factorial(at, 5);
                assert!(answer == Ok(120) || answer.as_ref().is_err_and(is_gone), "{answer:?}");
            }
            let row = pnp.devices(at).into_iter().next();
            pnp.shut_down(at);
            if let Some(row) = row {
                pnp.left_the_bus(at, row.location);
                states.lock().expect("nobody panics with it").insert(row.state.to_string());
            }
        });
    });
    let states = seen.lock().expect("nobody panics with it");
    let expected = [DeviceState::Started, DeviceState::Failed(Status::Gone)];
    assert!(expected.iter().all(|state| states.contains(&state.to_string())), "{states:?}");
}

#[test]
fn a_device_that_hangs_is_given_up_and_so_is_who_comes_after() {
    explore("hanging", 1, |machine| {
        machine.device(model::Edu::new().hangs());
        machine.main(|at| {
            let pnp = start::<Edu>(at);
            let edu = open(&pnp, 0);
            assert_eq!(edu.factorial(at, 5), Err(EduError::Request(Status::TimedOut)));
            assert_eq!(edu.factorial(at, 5), Err(EduError::Request(Status::TimedOut)));
            pnp.shut_down(at);
        });
    });
}

#[test]
fn without_memory_for_dma_the_device_fails_and_nothing_leaks() {
    let failed = Arc::new(AtomicUsize::new(0));
    let count = failed.clone();
    explorer("out of memory", 1).failing_allocations().run(move |machine| {
        let failed = count.clone();
        machine.device(model::Edu::new());
        machine.main(move |at| {
            let pnp = start::<Edu>(at);
            match &pnp.devices(at)[0].state {
                DeviceState::Started => assert_eq!(open(&pnp, 0).factorial(at, 5), Ok(120)),
                state => {
                    assert!(matches!(state, DeviceState::Failed(Status::Dma(DmaError::OutOfMemory { .. }))), "{state}");
                    failed.fetch_add(1, Relaxed);
                    let again = pnp.start_device(at, "edu#0");
                    assert!(matches!(again, Ok(()) | Err(Status::Dma(_))), "{again:?}");
                }
            }
            pnp.shut_down(at);
        });
    });
    assert!(failed.load(Relaxed) > 0, "no schedule was short of memory");
}

#[test]
fn two_devices_at_once() {
    explore("two devices", 2, |machine| {
        for _ in 0..2 {
            machine.device(model::Edu::new());
        }
        machine.main(|at| {
            let pnp = start::<Edu>(at);
            let [first, second] = [0, 1].map(|n| open(&pnp, n));
            let other = spawn(at, "other", move |at| assert_eq!(second.factorial(at, 4), Ok(24)));
            assert_eq!(first.factorial(at, 5), Ok(120));
            other.join(at).expect("no device is used here");
            pnp.shut_down(at);
        });
    });
}

#[test]
fn what_the_device_would_not_survive_is_refused() {
    run_once(1, |machine| {
        on_device(machine, 0, |edu, at| {
            for len in [0, USABLE_BUFFER + 1, usize::MAX] {
                assert_eq!(edu.round_trip(at, len, 0), Err(EduError::OutOfBuffer { len }));
            }
            let too_long = [0; USABLE_BUFFER + 1];
            assert_eq!(edu.file().write(at, &too_long), Err(Status::InvalidRequest));
            assert_eq!(edu.file().read(at, &mut [0; USABLE_BUFFER + 1]), Err(Status::InvalidRequest));
            assert_eq!(edu.round_trip(at, USABLE_BUFFER, 3), Ok(()));
            assert_eq!(edu.raise(at, 0x101), Err(EduError::NotRaisable { bits: 0x101 }));
            assert_eq!(edu.raise(at, 0), Err(EduError::NotRaisable { bits: 0 }));
            assert_eq!(
                edu.file().control(at, edu::code::RAISE, &[1, 1, 0, 0], &mut [0; 4]),
                Err(Status::InvalidRequest)
            );
            assert_eq!(edu.file().control(at, edu::code::FACTORIAL, &[1], &mut [0; 4]), Err(Status::InvalidRequest));
        });
    });
}

#[test]
fn requests_of_many_threads_are_served_one_after_another() {
    for cpus in [1, 2, 3] {
        explore("rivals", cpus, |machine| {
            on_device(machine, 0, |edu, at| {
                let rival = edu.clone();
                let rival = spawn(at, "rival", move |at| assert_eq!(rival.factorial(at, 4), Ok(24)));
                assert_eq!(edu.factorial(at, 5), Ok(120));
                rival.join(at).expect("no device is used here");
            });
        });
    }
}

/// Another thread cancels: the answer is right, or there is none; the next request gets its own.
#[test]
fn a_request_is_cancelled_at_whatever_moment() {
    for cpus in [1, 2] {
        explore("cancelled", cpus, |machine| {
            on_device(machine, 0, |edu, at| {
                let pending = edu.file().submit_control(at, edu::code::FACTORIAL, &5u32.to_le_bytes(), 4);
                let pending = Arc::new(pending);
                let cancelled = pending.clone();
                let other = spawn(at, "other", move |at| _ = cancelled.cancel(at));
                assert_eq!(edu.factorial(at, 4), Ok(24));
                pending.wait(at).expect("no device is used here");
                let end = pending.take(at).expect("it is completed");
                assert!(matches!(end.result, Ok(4) | Err(Status::Cancelled)), "{:?}", end.result);
                assert!(end.result.is_err() || end.data == 120u32.to_le_bytes());
                other.join(at).expect("no device is used here");
            });
        });
    }
}
