//! Devices that sleep, and interrupts that stay connected meanwhile but reach nobody.

use crate::{
    bells::{Bells, start},
    lively::{self, Lively, on, ring_if_there},
    logged::{DISABLE, DOWN, Logged, NAME, RELEASE, UP, connections, log, state, taken},
};
use framework::{DeviceRef, DeviceState, Driver, Pnp, prelude::*};
use hal_sim::{Explorer, run_once};
use ke::thread::{self, ThreadOptions};
use std::time::Duration;

const GONE: (bool, bool) = (false, false);
const KEPT: (bool, bool) = (true, false);
const ACTIVE: (bool, bool) = (true, true);

#[test]
fn c24_a_device_that_is_not_pageable_keeps_its_interrupts_connected_while_it_sleeps() {
    run_once(2, |machine| {
        let bells = machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = start::<Logged<false>>(at);
            let device: DeviceRef<Logged<false>> = pnp.device(NAME).expect("it started");
            log(&bells);
            let grants = |at: &mut At<'_, Passive>| pnp.interrupts(at).iter().map(|row| row.grant).collect::<Vec<_>>();
            let before = grants(at);
            pnp.power_down_device(at, NAME, PowerState::D3).expect("it is started");
            assert_eq!(log(&bells), DOWN);
            assert_eq!(connections(&pnp, at), [KEPT; 3]);
            assert_eq!(state(&pnp, at), DeviceState::LowPower(PowerState::D3));
            assert_eq!(device.with(at, |_, _| ()), Err(Status::NotStarted), "it is there, and asleep");
            pnp.power_up_device(at, NAME).expect("it sleeps");
            assert_eq!(log(&bells), UP);
            assert_eq!((connections(&pnp, at), grants(at)), (vec![ACTIVE; 3], before));
            device.with(at, |dev, at| dev.ring(at, 0)).expect("it is awake");

            pnp.power_down_device(at, NAME, PowerState::D2).expect("it is started");
            log(&bells);
            pnp.remove_device(at, NAME).expect("it is there");
            assert_eq!(log(&bells), [RELEASE], "the rest was done on the way to sleep");
            assert_eq!(taken(&pnp, at), (0, 0));
        });
    });
}

#[test]
fn c24_the_driver_disables_it_and_it_stays_connected() {
    run_once(1, |machine| {
        machine.device(Bells::default());
        machine.main(|at| {
            let pnp = start::<Logged<false>>(at);
            let device: DeviceRef<Logged<false>> = pnp.device(NAME).expect("it started");
            device.with(at, |dev, at| dev.bells[1].disable(at)).expect("it is awake").expect("it can be disabled");
            assert_eq!(connections(&pnp, at), [ACTIVE, KEPT, ACTIVE]);
            pnp.power_down_device(at, NAME, PowerState::D3).expect("it is started");
            pnp.power_up_device(at, NAME).expect("it sleeps");
            assert_eq!(connections(&pnp, at), [ACTIVE, KEPT, ACTIVE], "it stays disabled");
            device.with(at, |dev, at| dev.bells[1].enable(at)).expect("it is awake").expect("it can be enabled");
            assert_eq!(connections(&pnp, at), [ACTIVE; 3]);
            pnp.shut_down(at);
        });
    });
}

#[test]
fn c25_soft_disconnect_keeps_the_object_and_the_device_sleeps() {
    run_once(1, |machine| {
        let bells = machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = start::<Logged<true>>(at);
            log(&bells);
            pnp.power_down_device(at, NAME, PowerState::D1).expect("it is started");
            assert_eq!(log(&bells), DOWN);
            assert_eq!(connections(&pnp, at), [GONE, GONE, KEPT]);
            assert_eq!(taken(&pnp, at), (4, 64), "what it was assigned stays");
            pnp.power_up_device(at, NAME).expect("it sleeps");
            assert_eq!(log(&bells), UP);
            assert_eq!(connections(&pnp, at), [ACTIVE; 3]);
            pnp.shut_down(at);
        });
    });
}

/// By a message: what comes is dropped. By a line that another device shares: this one is not asked, the other is.
#[test]
fn c25_an_inactive_interrupt_does_not_reach_the_driver() {
    for on_lines in ["", "lively#0,lively#1"] {
        for cpus in [1, 2] {
            let explorer = Explorer::new(&format!("inactive on {cpus}, lines: {on_lines}")).cpus(cpus);
            explorer.limit(Duration::from_secs(2)).run(move |machine| {
                let bells = [machine.device(Bells::default()), machine.device(Bells::default())];
                bells.iter().for_each(|device| machine.wire(device, 16));
                machine.main(move |at| {
                    let driver = Driver::of::<Lively>().on_lines(on_lines);
                    let pnp = Pnp::start(at, &hal_sim::platform(), &[driver]);
                    let [quiet, other]: [DeviceRef<Lively>; 2] =
                        ["lively#0", "lively#1"].map(|name| pnp.device(name).expect("it started"));
                    on(&quiet, at, |dev, at| {
                        dev.ring(at, 0).expect("nobody stops it");
                        assert!(dev.first.report_inactive(at));
                        assert!(!dev.first.report_inactive(at), "it is inactive already");
                        assert!(!dev.first.queue_dpc(at), "what is inactive has no DPC");
                        if on_lines.is_empty() {
                            dev.ring_alone(at, 0);
                        }
                    });
                    bells[0].access(|bells, bus| bells.quiet(bus));
                    let asked = |at: &mut At<'_, Passive>| pnp.interrupts(at)[0].counts.iter().sum::<u64>();
                    let before = asked(at);
                    on(&other, at, |dev, at| dev.ring(at, 0)).expect("nobody stops it");
                    assert_eq!(asked(at), before, "its ISR was not asked");
                    on(&quiet, at, |dev, at| {
                        assert_eq!(dev.claimed(at), 1);
                        assert!(dev.first.report_active(at));
                        dev.ring(at, 0).expect("nobody stops it");
                        assert_eq!(dev.claimed(at), 2);
                    });
                    pnp.shut_down(at);
                });
            });
        }
    }
}

#[test]
fn c21_a_disable_that_fails_stops_nothing_and_is_reported() {
    run_once(1, |machine| {
        let bells = machine.device(Bells::default());
        machine.main(move |at| {
            let planted = Status::Failed("planted");
            let pnp = start::<Logged<false>>(at);
            for sleeps in [true, false] {
                log(&bells);
                bells.with(|bells| bells.fail_at = DISABLE + 1);
                let down = match sleeps {
                    true => pnp.power_down_device(at, NAME, PowerState::D3),
                    false => pnp.stop_device(at, NAME),
                };
                assert_eq!(down, Err(planted.clone()));
                assert_eq!(log(&bells), [&DOWN[..], &[RELEASE]].concat(), "C, B and A, and the device stops");
                assert_eq!(state(&pnp, at), DeviceState::Failed(planted.clone()));
                assert_eq!((pnp.interrupts(at).len(), taken(&pnp, at)), (0, (0, 0)));
                bells.with(|bells| bells.fail_at = 0);
                pnp.start_device(at, NAME).expect("nothing fails now");
            }
            assert_eq!(pnp.problems(at), [planted.clone(), planted]);
            pnp.shut_down(at);
        });
    });
}

#[test]
fn only_what_sleeps_wakes_and_only_what_is_started_sleeps() {
    run_once(1, |machine| {
        let bells = machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = start::<Logged<true>>(at);
            assert_eq!(pnp.power_down_device(at, NAME, PowerState::D0), Err(Status::NotALowPowerState(PowerState::D0)));
            log(&bells);
            assert_eq!(pnp.power_up_device(at, NAME), Ok(()));
            assert_eq!(log(&bells), [], "it is awake");
            pnp.power_down_device(at, NAME, PowerState::D1).expect("it is started");
            pnp.stop_device(at, NAME).expect("it sleeps");
            assert_eq!(log(&bells), [&DOWN[..], &[RELEASE]].concat());
            assert_eq!(pnp.power_up_device(at, NAME), Err(Status::NotStarted));
            assert_eq!(pnp.power_down_device(at, NAME, PowerState::D3), Err(Status::NotStarted));
            pnp.shut_down(at);
        });
    });
}

/// The assertions are in the callbacks: none runs while the device sleeps.
#[test]
fn a_device_falls_asleep_while_it_is_used() {
    for cpus in [1, 2] {
        let explorer = Explorer::new(&format!("sleep while used on {cpus}")).cpus(cpus);
        explorer.limit(Duration::from_secs(2)).run(|machine| {
            machine.device(Bells::default());
            machine.main(|at| {
                let pnp = start::<Lively>(at);
                let device: DeviceRef<Lively> = pnp.device(lively::NAME).expect("it started");
                let user = device.clone();
                let ring = move |at: &mut At<'_, Passive>| ring_if_there(&user, at, 0);
                let user = thread::spawn(at, ThreadOptions::named("user"), ring).expect("the host has memory");
                pnp.power_down_device(at, lively::NAME, PowerState::D3).expect("it is started");
                pnp.power_up_device(at, lively::NAME).expect("it sleeps");
                user.join(at).expect("no device is used here");
                on(&device, at, |dev, at| dev.ring(at, 0)).expect("nobody stops it");
                pnp.shut_down(at);
            });
        });
    }
}
