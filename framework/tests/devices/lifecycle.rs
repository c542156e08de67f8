//! The life of a device: KMDF's order of callbacks, and what is undone when a step fails.

use crate::{
    bells::{Bells, start},
    logged::{
        D0_ENTRY, D0_EXIT, DISABLE, DOWN, ENABLE, INTERRUPTS, Logged, NAME, POST_INTERRUPTS, PRE_INTERRUPTS, PREPARE,
        RELEASE, SURPRISE, UP, connections, log, state, taken,
    },
};
use framework::{DeviceRef, DeviceState, Pnp, prelude::*};
use hal_sim::{Explorer, run_once};
use ke::{ConnectError, Connection, Interrupt as Core, Mode, ServiceRoutine, Source};
use std::sync::Arc;

#[test]
fn c18_the_whole_order_of_start_and_stop() {
    let trace = Explorer::new("order").record(|machine| {
        machine.device(Bells::default());
        machine.main(|at| {
            let pnp = start::<Logged<true>>(at);
            pnp.stop_device(at, NAME).expect("it is started");
            pnp.start_device(at, NAME).expect("it is stopped");
            pnp.remove_device(at, NAME).expect("it is there");
        });
    });
    let up =
        ["prepare", "d0 entry", "connect", "enable 0", "connect", "enable 1", "connect", "enable 2", "post interrupts"];
    let down = [
        "pre interrupts",
        "disable 2",
        "disconnect",
        "disable 1",
        "disconnect",
        "disable 0",
        "disconnect",
        "d0 exit",
        "release",
    ];
    assert_eq!(steps(&trace), [&up[..], &down, &up, &down].concat());
}

/// What the driver was told, and when its interrupts were connected and disconnected.
fn steps(trace: &hal_sim::Trace) -> Vec<String> {
    let told = |what: &str| {
        let value = what.strip_prefix("slot 1 BAR0+0x0c is written 0x")?;
        Some(match u32::from_str_radix(value, 16).expect("it is a number") {
            PREPARE => "prepare".to_owned(),
            D0_ENTRY => "d0 entry".to_owned(),
            POST_INTERRUPTS => "post interrupts".to_owned(),
            PRE_INTERRUPTS => "pre interrupts".to_owned(),
            D0_EXIT => "d0 exit".to_owned(),
            RELEASE => "release".to_owned(),
            disable if disable >= DISABLE => format!("disable {}", disable - DISABLE),
            enable => format!("enable {}", enable - ENABLE),
        })
    };
    let step = |what: &str| match what.split_once(" #") {
        Some(("Connect", _)) => Some("connect".to_owned()),
        Some(("Disconnect", _)) => Some("disconnect".to_owned()),
        _ => told(what),
    };
    trace.lines().iter().filter_map(|line| step(&line.what)).collect()
}

#[test]
fn c17_interrupts_connect_forward_and_disconnect_in_reverse() {
    run_once(2, |machine| {
        let bells = machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = start::<Logged<true>>(at);
            assert_eq!(log(&bells), [&[PREPARE], &UP[..]].concat());
            assert_eq!(state(&pnp, at), DeviceState::Started);
            assert_eq!(taken(&pnp, at), (4, 64), "three messages are a block of four vectors");

            pnp.stop_device(at, NAME).expect("it is started");
            assert_eq!(log(&bells), [&DOWN[..], &[RELEASE]].concat());
            assert_eq!(state(&pnp, at), DeviceState::Stopped);
            assert_eq!(taken(&pnp, at), (0, 0));
            assert_eq!(pnp.stop_device(at, NAME), Err(Status::NotStarted));

            pnp.start_device(at, NAME).expect("it is stopped");
            assert_eq!(log(&bells), [&[PREPARE], &UP[..]].concat());
            assert_eq!(pnp.start_device(at, NAME), Err(Status::CannotStart));

            pnp.remove_device(at, NAME).expect("it is there");
            assert_eq!(log(&bells), [&DOWN[..], &[RELEASE]].concat());
            assert_eq!(pnp.start_device(at, NAME), Err(Status::CannotStart));
            assert_eq!(pnp.remove_device(at, NAME), Err(Status::Gone));
        });
    });
}

/// Where the way up fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fails {
    /// The callback that logs this.
    At(u32),
    /// Interrupt `n`: its vector is in use.
    ToConnect(u32),
}

impl Fails {
    /// The way up to D0 as far as it gets, and back.
    fn log(self) -> Vec<u32> {
        let reached = match self {
            Fails::At(step) => UP.iter().position(|&each| each == step).expect("a step of the way to D0") + 1,
            Fails::ToConnect(n) => 1 + n as usize,
        };
        let mut log = UP[..reached].to_vec();
        let enabled = |n: u32| log.contains(&(ENABLE + n)) && self != Fails::At(ENABLE + n);
        let disabled: Vec<u32> = (0..INTERRUPTS).rev().filter(|&n| enabled(n)).map(|n| DISABLE + n).collect();
        log.extend(disabled);
        if self != Fails::At(D0_ENTRY) {
            log.push(D0_EXIT);
        }
        log
    }

    fn all() -> Vec<Fails> {
        UP.into_iter().map(Fails::At).chain((0..INTERRUPTS).map(Fails::ToConnect)).collect()
    }
}

/// An interrupt that takes a vector, so that nobody else can connect to it.
struct Occupant;

impl ServiceRoutine for Occupant {
    type State = ();
    type Level = Dirql;
    type Context = ();

    fn service(&self, (): &(), (): &mut (), _: &Core<Self>, _: &mut At<'_, Dirql>) -> Claim {
        Claim::NotMine
    }
    fn dpc(&self, (): &(), _: &Core<Self>, _: &mut At<'_, Dispatch>) {}
    fn work_item(&self, (): &(), _: &Core<Self>, _: &mut At<'_, Passive>) {}
    fn describe(&self) -> String {
        "occupant".to_owned()
    }
}

impl Source for Occupant {
    fn mask(&self, _: &mut At<'_, Dirql>) -> bool {
        true
    }
    fn unmask(&self, _: &mut At<'_, Dirql>) {}
}

/// Runs `f` while the vector of interrupt `n`, as it was when the device was started, is in use.
fn while_occupied(pnp: &Pnp, n: u32, at: &mut At<'_, Passive>, f: impl FnOnce(&mut At<'_, Passive>)) {
    let grant = pnp.interrupts(at)[n as usize].grant.expect("it is connected");
    let lock = InterruptLock::new(());
    lock.settle(grant.irql()).expect("nobody has settled it");
    let occupant = Core::new(Occupant, lock);
    pnp.stop_device(at, NAME).expect("it is started");
    let connection =
        Connection { cpu: grant.cpu, vector: grant.vector, mode: Mode::Latched, source: Arc::new(Occupant) };
    occupant.connect(at, connection, ()).expect("nobody uses the vector");
    f(at);
    occupant.disconnect(at).expect("it is connected");
}

#[test]
fn c20_a_step_that_fails_undoes_exactly_what_was_done() {
    for fails in Fails::all() {
        run_once(1, move |machine| {
            let bells = machine.device(Bells::default());
            machine.main(move |at| {
                let pnp = start::<Logged<true>>(at);
                let check = |status: Status, at: &mut At<'_, Passive>| {
                    assert_eq!(log(&bells), [&[PREPARE], &fails.log()[..], &[RELEASE]].concat(), "{fails:?}");
                    assert_eq!(state(&pnp, at), DeviceState::Failed(status));
                    assert_eq!((pnp.interrupts(at).len(), taken(&pnp, at)), (0, (0, 0)), "{fails:?}");
                };
                match fails {
                    Fails::At(step) => {
                        pnp.stop_device(at, NAME).expect("it is started");
                        log(&bells);
                        bells.with(|bells| bells.fail_at = step);
                        let status = pnp.start_device(at, NAME).expect_err("it fails");
                        assert_eq!(status, Status::Failed("planted"));
                        check(status, at);
                        bells.with(|bells| bells.fail_at = 0);
                    }
                    Fails::ToConnect(n) => while_occupied(&pnp, n, at, |at| {
                        log(&bells);
                        let status = pnp.start_device(at, NAME).expect_err("it fails");
                        assert!(matches!(status, Status::Connect(ConnectError::VectorTaken { .. })), "{status}");
                        check(status, at);
                    }),
                }
                pnp.start_device(at, NAME).expect("nothing fails now");
                assert_eq!(connections(&pnp, at), [(true, true); 3]);
                pnp.shut_down(at);
            });
        });
    }
}

#[test]
fn c20_a_prepare_that_fails_leaves_nothing() {
    run_once(1, |machine| {
        let bells = machine.device(Bells::failing_at(PREPARE));
        machine.main(move |at| {
            let pnp = start::<Logged<true>>(at);
            assert_eq!(log(&bells), [PREPARE]);
            assert_eq!(state(&pnp, at), DeviceState::Failed(Status::Failed("planted")));
            assert_eq!((pnp.interrupts(at).len(), taken(&pnp, at)), (0, (0, 0)));
            pnp.shut_down(at);
        });
    });
}

/// The same, on the way from low power: what fails there ends in the device being stopped.
#[test]
fn c20_a_wake_that_fails_undoes_exactly_what_was_done() {
    for step in UP {
        run_once(1, move |machine| {
            let bells = machine.device(Bells::default());
            machine.main(move |at| {
                let pnp = start::<Logged<true>>(at);
                pnp.power_down_device(at, NAME, PowerState::D3).expect("it is started");
                log(&bells);
                bells.with(|bells| bells.fail_at = step);
                assert_eq!(pnp.power_up_device(at, NAME), Err(Status::Failed("planted")));
                assert_eq!(log(&bells), [&Fails::At(step).log()[..], &[RELEASE]].concat());
                assert_eq!(state(&pnp, at), DeviceState::Failed(Status::Failed("planted")));
                assert_eq!((pnp.interrupts(at).len(), taken(&pnp, at)), (0, (0, 0)));
                bells.with(|bells| bells.fail_at = 0);
                pnp.start_device(at, NAME).expect("nothing fails now");
                pnp.shut_down(at);
            });
        });
    }
}

#[test]
fn c22_interrupts_made_in_prepare_hardware_go_in_reverse_after_it_is_released() {
    run_once(1, |machine| {
        machine.device(Bells::default());
        machine.main(|at| {
            let pnp = start::<Logged<true>>(at);
            let device: DeviceRef<Logged<true>> = pnp.device(NAME).expect("it started");
            let kept = device.with(at, |dev, _| dev.kept.clone()).expect("it is started");
            for _ in 0..2 {
                let messages: Vec<u16> = pnp.interrupts(at).iter().map(|row| row.message).collect();
                assert_eq!(messages, [0, 1, 2]);
                device.with(at, |dev, at| dev.ring(at, 2)).expect("it is started");
                let claimed = device.with(at, |dev, at| dev.claimed(at, 2));
                assert_eq!(claimed, Ok(1), "a fresh one");
                // That they are all there when `release_hardware` runs is asserted in it.
                pnp.stop_device(at, NAME).expect("it is started");
                assert_eq!(kept.take_dropped(), [2, 1, 0]);
                pnp.start_device(at, NAME).expect("it is stopped");
            }
            pnp.shut_down(at);
        });
    });
}

#[test]
fn c15_resources_that_nobody_wants_are_left_and_counted() {
    run_once(1, |machine| {
        machine.device(Bells::default());
        machine.main(|at| {
            let pnp = start::<Logged<true>>(at);
            assert_eq!(state(&pnp, at), DeviceState::Started);
            assert_eq!(pnp.devices(at)[0].unused_interrupts, 1, "three objects, four messages");
            let device: DeviceRef<Logged<true>> = pnp.device(NAME).expect("it started");
            for n in 0..INTERRUPTS {
                device.with(at, |dev, at| dev.ring(at, n)).expect("it is started");
                assert_eq!(device.with(at, |dev, at| dev.claimed(at, n as usize)), Ok(1));
            }
            pnp.stop_device(at, NAME).expect("it is started");
            assert_eq!(pnp.devices(at)[0].unused_interrupts, 0, "it has none now");
            pnp.shut_down(at);
        });
    });
}

#[test]
fn a_surprise_removal_does_not_call_the_disable_callbacks() {
    run_once(1, |machine| {
        let device = machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = start::<Logged<true>>(at);
            log(&device);
            pnp.surprise_remove_device(at, NAME).expect("it is there");
            assert_eq!(log(&device), [SURPRISE, PRE_INTERRUPTS, D0_EXIT, RELEASE]);
            assert_eq!(pnp.devices(at)[0].state, DeviceState::Removed);
        });
    });
}

#[test]
fn buffers_of_a_device_that_does_not_answer_are_kept_until_it_has_left() {
    run_once(1, |machine| {
        let device = machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = start::<Logged<true>>(at);
            let location = pnp.devices(at)[0].location;
            device.remove();
            pnp.surprise_remove_device(at, NAME).expect("it was there");
            assert_eq!(taken(&pnp, at), (0, 64), "in quarantine");
            assert_eq!(pnp.problems(at), [Status::Bus(io::Error::Gone(location))]);
            pnp.left_the_bus(at, location);
            assert_eq!(taken(&pnp, at), (0, 0));
        });
    });
}

#[test]
fn a_reference_from_outside_is_refused_once_the_device_is_stopped() {
    run_once(1, |machine| {
        machine.device(Bells::default());
        machine.main(|at| {
            let pnp = start::<Logged<true>>(at);
            let device = pnp.device::<Logged<true>>(NAME).expect("the device is a `Logged`");
            assert_eq!(device.with(at, |dev, at| dev.claimed(at, 0)), Ok(0));
            pnp.stop_device(at, NAME).expect("it is started");
            assert_eq!(device.with(at, |_, _| ()), Err(Status::Gone));
            pnp.start_device(at, NAME).expect("it is stopped");
            assert_eq!(device.with(at, |_, _| ()), Ok(()));
            assert!(pnp.device::<Logged<true>>("logged#1").is_none());
            assert_eq!(pnp.stop_device(at, "logged#1"), Err(Status::NoSuchDevice));
            pnp.shut_down(at);
            assert_eq!(device.with(at, |_, _| ()), Err(Status::Gone));
        });
    });
}

#[test]
fn functions_without_a_driver_are_listed() {
    run_once(1, |machine| {
        machine.device(hal_sim::model::Edu::new());
        machine.device(Bells::default());
        machine.main(|at| {
            let pnp = start::<Logged<true>>(at);
            let rows = pnp.devices(at);
            assert_eq!(rows[0].state, DeviceState::NoDriver);
            assert_eq!((rows[0].ids.vendor, rows[0].name.as_deref()), (0x1234, None));
            assert_eq!((&rows[1].state, rows[1].name.as_deref()), (&DeviceState::Started, Some(NAME)));
            pnp.shut_down(at);
        });
    });
}
