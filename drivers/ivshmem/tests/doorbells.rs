//! The driver on a device of the tests' own, under every schedule within the bound. The simulated bus gives it MSI; the
//! real device has MSI-X, which is the same to the driver.

use framework::{DeviceRef, DeviceState, Driver, Pnp, prelude::*};
use hal_sim::{
    Explorer, Setup,
    model::{Bar, BusAccess, Identity, Model, PciModel},
    run_once,
};
use ivshmem::Ivshmem;
use ke::thread::{self, ThreadOptions};
use std::time::Duration;

/// The device's number among the peers.
const HERE: u16 = 3;
const VECTORS: u8 = 4;

/// A device whose only peer is itself.
struct Lonely;

impl PciModel for Lonely {
    fn identity(&self) -> Identity {
        Identity { bars: vec![Bar::memory32(0x100)], msi_messages: VECTORS, ..Identity::new(0x1af4, 0x1110) }
    }
}

impl Model for Lonely {
    fn read(&mut self, _: usize, offset: u64, _: usize, _: &mut BusAccess<'_>) -> u64 {
        if offset == 0x08 { HERE.into() } else { u64::MAX }
    }

    fn write(&mut self, _: usize, offset: u64, _: usize, value: u64, bus: &mut BusAccess<'_>) {
        let (peer, vector) = (value >> 16, value as u8);
        if offset == 0x0c && peer == u64::from(HERE) && vector < VECTORS {
            bus.interrupt(vector);
        }
    }
}

fn on_device(machine: &mut Setup, f: impl FnOnce(&Pnp, DeviceRef<Ivshmem>, &mut At<'_, Passive>) + Send + 'static) {
    machine.device(Lonely);
    machine.main(move |at| {
        let pnp = Pnp::start(at, &hal_sim::platform(), &[Driver::of::<Ivshmem>()]);
        let device = pnp.device("ivshmem#0").expect("it is there");
        f(&pnp, device, at);
        pnp.shut_down(at);
    });
}

fn explore(name: &str, cpus: usize, setup: impl Fn(&mut Setup) + 'static) {
    Explorer::new(&format!("ivshmem {name} on {cpus}")).cpus(cpus).limit(Duration::from_secs(2)).run(setup);
}

#[test]
fn each_vector_counts_its_own_rings() {
    run_once(2, |machine| {
        on_device(machine, |_, device, at| {
            let work = |dev: &Ivshmem, at: &mut At<'_, Passive>| {
                assert_eq!(dev.vectors(), u16::from(VECTORS));
                assert_eq!(dev.position(at), Ok(HERE));
                for (vector, rings) in [(0, 1), (2, 3), (3, 2)] {
                    for seen in 0..rings {
                        dev.ring(at, HERE, vector);
                        assert_eq!(dev.wait(at, vector, seen), Ok(seen + 1));
                    }
                }
                let all: Vec<_> = (0..dev.vectors()).map(|n| dev.rings(at, n)).collect();
                assert_eq!(all, [Ok(1), Ok(0), Ok(3), Ok(2)]);
            };
            device.with(at, work).expect("it is started");
        });
    });
}

#[test]
fn two_vectors_wake_their_own_waiters() {
    for cpus in [1, 2] {
        explore("two vectors", cpus, |machine| {
            on_device(machine, |_, device, at| {
                let other = device.clone();
                let other = move |at: &mut At<'_, Passive>| {
                    assert_eq!(other.with(at, |dev, at| dev.wait(at, 1, 0)), Ok(Ok(1)));
                };
                let other = thread::spawn(at, ThreadOptions::named("other"), other).expect("there is memory");
                let both = |dev: &Ivshmem, at: &mut At<'_, Passive>| {
                    dev.ring(at, HERE, 1);
                    dev.ring(at, HERE, 0);
                    dev.wait(at, 0, 0)
                };
                assert_eq!(device.with(at, both), Ok(Ok(1)));
                other.join(at).expect("no device is used here");
            });
        });
    }
}

#[test]
fn a_stop_wakes_who_waits_for_a_ring() {
    explore("stop", 2, |machine| {
        on_device(machine, |pnp, device, at| {
            let other = move |at: &mut At<'_, Passive>| {
                let waited = device.with(at, |dev, at| dev.wait(at, 0, 0));
                assert!(matches!(waited, Ok(Err(Status::Gone)) | Err(Status::Gone)), "{waited:?}");
            };
            let other = thread::spawn(at, ThreadOptions::named("other"), other).expect("there is memory");
            pnp.stop_device(at, "ivshmem#0").expect("it is started");
            other.join(at).expect("no device is used here");
        });
    });
}

#[test]
fn another_peers_vector_and_one_that_is_not_there() {
    run_once(1, |machine| {
        on_device(machine, |_, device, at| {
            let work = |dev: &Ivshmem, at: &mut At<'_, Passive>| {
                dev.ring(at, HERE + 1, 0);
                assert_eq!(dev.rings(at, 0), Ok(0));
                let missing = Status::NoSuchResource { what: "vector", number: VECTORS.into() };
                assert_eq!(dev.rings(at, VECTORS.into()), Err(missing));
            };
            device.with(at, work).expect("it is started");
        });
    });
}

#[test]
fn without_messages_it_refuses_to_start() {
    run_once(1, |machine| {
        machine.device(Lonely);
        machine.main(|at| {
            let driver = Driver::of::<Ivshmem>().on_lines("ivshmem#0");
            let pnp = Pnp::start(at, &hal_sim::platform(), &[driver]);
            let rows = pnp.devices(at);
            assert!(rows.iter().all(|row| !matches!(row.state, DeviceState::Started)), "{rows:?}");
            pnp.shut_down(at);
        });
    });
}
