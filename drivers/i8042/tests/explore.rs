//! The driver on a model of the controller, under every schedule within the bound: keyboard and mouse have one buffer and two
//! edges, and neither may lose its own.

use framework::{DeviceRef, DeviceState, Driver, Pnp, prelude::*};
use hal_sim::{Explorer, Setup, model, run_once};
use i8042::{
    I8042,
    decode::{Key, Movement},
};
use ke::thread::{self, ThreadOptions};
use std::time::Duration;

const KEYBOARD: &str = "i8042#0";
const MOUSE: &str = "i8042#1";

const A: Key = Key { code: 0x1e, down: true };
const A_UP: Key = Key { code: 0x1e, down: false };
const ENTER: Key = Key { code: 0xe01c, down: true };

fn on_controller(
    machine: &mut Setup,
    controller: model::I8042,
    f: impl FnOnce(&Pnp, DeviceRef<I8042>, DeviceRef<I8042>, &mut At<'_, Passive>) + Send + 'static,
) {
    machine.isa_device(controller);
    machine.main(move |at| {
        let pnp = Pnp::start(at, &hal_sim::platform(), &[Driver::of::<I8042>()]);
        let states: Vec<_> = pnp.acpi_devices(at).into_iter().map(|row| row.state).collect();
        assert_eq!(states, [DeviceState::Started, DeviceState::Started]);
        let [keyboard, mouse] = [KEYBOARD, MOUSE].map(|name| pnp.device(name).expect("it is there"));
        f(&pnp, keyboard, mouse, at);
        pnp.shut_down(at);
    });
}

fn explore(name: &str, cpus: usize, setup: impl Fn(&mut Setup) + 'static) {
    Explorer::new(&format!("i8042 {name} on {cpus}")).cpus(cpus).limit(Duration::from_millis(500)).run(setup);
}

fn next_key(keyboard: &DeviceRef<I8042>, at: &mut At<'_, Passive>) -> Key {
    keyboard.with(at, |dev, at| dev.read_key(at)).expect("it is started").expect("and is not stopped")
}

fn next_movement(mouse: &DeviceRef<I8042>, at: &mut At<'_, Passive>) -> Movement {
    mouse.with(at, |dev, at| dev.read_movement(at)).expect("it is started").expect("and is not stopped")
}

#[test]
fn keys_come_in_order() {
    for cpus in [1, 2] {
        explore("keys", cpus, |machine| {
            let controller = model::I8042::new().types(&[&[0x1e], &[0x9e], &[0xe0, 0x1c]]);
            on_controller(machine, controller, |_, keyboard, _, at| {
                assert_eq!([A, A_UP, ENTER].map(|_| next_key(&keyboard, at)), [A, A_UP, ENTER]);
            });
        });
    }
}

#[test]
fn keys_and_movements_come_out_of_one_buffer() {
    for cpus in [1, 2] {
        explore("keys and movements", cpus, |machine| {
            let controller = model::I8042::new().types(&[&[0x1e], &[0x9e]]).moves(&[[0x08, 5, 3]]);
            on_controller(machine, controller, |_, keyboard, mouse, at| {
                let move_mouse = move |at: &mut At<'_, Passive>| {
                    assert_eq!(next_movement(&mouse, at), Movement { right: 5, up: 3, buttons: 0 });
                };
                let other = thread::spawn(at, ThreadOptions::named("mouse"), move_mouse).expect("there is memory");
                assert_eq!([A, A_UP].map(|_| next_key(&keyboard, at)), [A, A_UP]);
                other.join(at).expect("no device is used here");
            });
        });
    }
}

#[test]
fn a_slow_controller_is_waited_for() {
    for cpus in [1, 2] {
        explore("slow", cpus, |machine| {
            let controller = model::I8042::new().slow().types(&[&[0x1e]]).moves(&[[0x09, 1, 0]]);
            on_controller(machine, controller, |_, keyboard, mouse, at| {
                assert_eq!(next_key(&keyboard, at), A);
                assert_eq!(next_movement(&mouse, at), Movement { right: 1, up: 0, buttons: 1 });
            });
        });
    }
}

#[test]
fn keys_come_while_the_mouse_stops_and_starts() {
    explore("mouse restarts", 1, |machine| {
        let controller = model::I8042::new().types(&[&[0x1e], &[0x9e]]).moves(&[[0x08, 1, 1]]);
        on_controller(machine, controller, |pnp, keyboard, mouse, at| {
            pnp.stop_device(at, MOUSE).expect("it is started");
            assert_eq!(next_key(&keyboard, at), A);
            pnp.start_device(at, MOUSE).expect("it is stopped");
            assert_eq!(next_key(&keyboard, at), A_UP);
            drop(mouse);
        });
    });
}

#[test]
fn a_stop_wakes_who_waits_for_a_key() {
    explore("stop", 2, |machine| {
        on_controller(machine, model::I8042::new(), |pnp, keyboard, _, at| {
            let wait = move |at: &mut At<'_, Passive>| {
                let key = keyboard.with(at, |dev, at| dev.read_key(at));
                assert!(matches!(key, Ok(Err(_)) | Err(Status::Gone)), "{key:?}");
            };
            let other = thread::spawn(at, ThreadOptions::named("reader"), wait).expect("there is memory");
            pnp.stop_device(at, KEYBOARD).expect("it is started");
            other.join(at).expect("no device is used here");
        });
    });
}

#[test]
fn many_keys_and_movements_are_counted() {
    run_once(2, |machine| {
        let keys = vec![&[0x1e, 0x9e][..]; 20];
        let controller = model::I8042::new().types(&keys).moves(&[[0x08, 1, 255]; 20]);
        on_controller(machine, controller, |_, keyboard, mouse, at| {
            for _ in 0..20 {
                assert_eq!([A, A_UP].map(|_| next_key(&keyboard, at)), [A, A_UP]);
                assert_eq!(next_movement(&mouse, at), Movement { right: 1, up: 255, buttons: 0 });
            }
            let counts = [keyboard, mouse].map(|dev| dev.with(at, |dev, at| dev.counters(at)).expect("it is started"));
            // An answer to the command that lets it report comes first.
            assert_eq!(counts.map(|count| (count.bytes, count.dropped)), [(41, 0), (61, 0)]);
        });
    });
}
