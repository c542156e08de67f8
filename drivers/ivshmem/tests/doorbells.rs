//! The driver on a model of the device, by MSI-X, under every schedule within the bound.

use framework::{DeviceRef, DeviceState, Driver, Pnp, prelude::*};
use hal_sim::{Device, Explorer, Setup, model, run_once};
use ivshmem::Ivshmem;
use ke::thread::{self, ThreadOptions};
use std::time::Duration;

/// The device's number among the peers.
const HERE: u16 = 3;
const VECTORS: u8 = 4;

fn on_device(machine: &mut Setup, f: impl FnOnce(&Pnp, DeviceRef<Ivshmem>, &mut At<'_, Passive>) + Send + 'static) {
    on_model(machine, |pnp, device, _, at| f(pnp, device, at));
}

fn on_model(
    machine: &mut Setup,
    f: impl FnOnce(&Pnp, DeviceRef<Ivshmem>, &Device<model::Ivshmem>, &mut At<'_, Passive>) + Send + 'static,
) {
    let model = machine.device(model::Ivshmem::new(HERE, VECTORS));
    machine.main(move |at| {
        let pnp = Pnp::start(at, &hal_sim::platform(), &[Driver::of::<Ivshmem>()]);
        let device = pnp.device("ivshmem#0").expect("it is there");
        f(&pnp, device, &model, at);
        pnp.shut_down(at);
    });
}

fn explore(name: &str, cpus: usize, setup: impl Fn(&mut Setup) + 'static) {
    Explorer::new(&format!("ivshmem {name} on {cpus}")).cpus(cpus).limit(Duration::from_millis(500)).run(setup);
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

/// All vectors at once, on all CPUs: each has its own entry of the table, its own state and its own event.
#[test]
fn peers_ring_every_vector() {
    for cpus in [1, 2, 3] {
        explore("peers", cpus, |machine| {
            on_model(machine, |_, device, model, at| {
                model.with(|model| model.ring_later(&[1, 0, 2, 1]));
                let all = |dev: &Ivshmem, at: &mut At<'_, Passive>| {
                    for vector in [0, 1, 2] {
                        dev.wait(at, vector, 0).expect("it is not stopped meanwhile");
                    }
                };
                device.with(at, all).expect("it is started");
            });
        });
    }
}

/// Each entry of the table by itself, while peers ring: nothing is lost, and the next ring comes on the new CPU.
#[test]
fn a_vector_moves_to_another_cpu_while_it_is_rung() {
    explore("moves", 2, |machine| {
        on_model(machine, |pnp, device, model, at| {
            model.with(|model| model.ring_later(&[0, 1, 0]));
            for (vector, cpu) in [(0, 1), (1, 1), (0, 0)] {
                let moved = pnp.move_interrupt(at, "ivshmem#0", vector, &Affinity::cpu(cpu));
                assert_eq!(moved.expect("there are free vectors").cpu, cpu);
            }
            let work = |dev: &Ivshmem, at: &mut At<'_, Passive>| {
                for vector in [0, 1] {
                    // A peer's, whenever it came; then one that nobody can have rung before.
                    let before = dev.wait(at, vector, 0).expect("it is not stopped meanwhile");
                    dev.ring(at, HERE, vector);
                    assert!(dev.wait(at, vector, before).expect("it is not stopped meanwhile") > before);
                }
            };
            device.with(at, work).expect("it is started");
        });
    });
}

/// Whatever rang meanwhile: the table is programmed anew, and nothing is left masked.
#[test]
fn a_vector_rings_after_a_restart() {
    explore("restart", 2, |machine| {
        on_model(machine, |pnp, device, model, at| {
            model.with(|model| model.ring_later(&[0]));
            pnp.stop_device(at, "ivshmem#0").expect("it is started");
            pnp.start_device(at, "ivshmem#0").expect("it is stopped");
            let work = |dev: &Ivshmem, at: &mut At<'_, Passive>| {
                let before = dev.rings(at, 0).expect("there is a vector 0");
                dev.ring(at, HERE, 0);
                assert!(dev.wait(at, 0, before).expect("it is not stopped meanwhile") > before);
            };
            device.with(at, work).expect("it is started");
        });
    });
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
        machine.device(model::Ivshmem::new(HERE, VECTORS));
        machine.main(|at| {
            let driver = Driver::of::<Ivshmem>().on_lines("ivshmem#0");
            let pnp = Pnp::start(at, &hal_sim::platform(), &[driver]);
            let rows = pnp.devices(at);
            assert!(rows.iter().all(|row| !matches!(row.state, DeviceState::Started)), "{rows:?}");
            pnp.shut_down(at);
        });
    });
}

#[test]
fn what_is_written_to_the_shared_memory_is_there_up_to_its_end() {
    run_once(1, |machine| {
        on_device(machine, |_, device, at| {
            let work = |dev: &Ivshmem, at: &mut At<'_, Passive>| {
                assert_eq!((dev.word(at, 0), dev.set_word(at, 1, 0x1234_5678)), (Ok(0), Ok(())));
                assert_eq!((dev.word(at, 0), dev.word(at, 1)), (Ok(0), Ok(0x1234_5678)));
                // The model has 4 KiB.
                assert_eq!(dev.word(at, 1023), Ok(0));
                assert!(dev.word(at, 1024).is_err() && dev.set_word(at, 1024, 1).is_err());
            };
            device.with(at, work).expect("it is started");
        });
    });
}
