//! Moving interrupts to other CPUs while their devices ring.

use crate::{
    bells::{Bells, start},
    lively::{Lively, NAME, on, with_second},
};
use framework::{DeviceRef, Driver, Pnp, prelude::*};
use hal_sim::{Explorer, run_once};
use ke::{
    ConnectError,
    thread::{self, ThreadOptions},
};
use std::time::Duration;

/// Rings that wait to be served, while the interrupt moves there and back: none is lost, or a wait would not end.
fn rings_while_it_moves(pnp: Pnp, at: &mut At<'_, Passive>) {
    let device: DeviceRef<Lively> = pnp.device(NAME).expect("it started");
    let user = device.clone();
    let ringer = move |at: &mut At<'_, Passive>| {
        on(&user, at, |dev, at| (0..2).for_each(|_| dev.ring(at, 0).expect("nobody stops it")));
    };
    let ringer = thread::spawn(at, ThreadOptions::named("ringer"), ringer).expect("the host has memory");
    on(&device, at, |dev, at| {
        for cpu in [1, 0] {
            let granted = dev.first.set_affinity(at, &Affinity::cpu(cpu)).expect("there are free vectors");
            let info = dev.first.info(at).expect("it is assigned");
            assert_eq!((granted.cpu, info.grant()), (cpu, granted));
        }
    });
    ringer.join(at).expect("no device is used here");
    let row = &pnp.interrupts(at)[0];
    assert_eq!(on(&device, at, Lively::claimed), 2);
    assert_eq!(row.counts.iter().sum::<u64>() - row.unclaimed, 2, "the counts follow it");
    let vectors = pnp.objects(at).into_iter().find(|row| row.kind == "Vector");
    assert_eq!(vectors.map(|row| row.count), Some(1), "the old vectors were given back");
    pnp.shut_down(at);
}

#[test]
fn a_message_moves_while_its_device_rings() {
    Explorer::new("move a message").cpus(2).limit(Duration::from_secs(2)).run(|machine| {
        machine.device(Bells::default());
        machine.main(|at| {
            let pnp = start::<Lively>(at);
            rings_while_it_moves(pnp, at);
        });
    });
}

#[test]
fn a_line_moves_while_its_device_rings() {
    Explorer::new("move a line").cpus(2).limit(Duration::from_secs(2)).run(|machine| {
        let device = machine.device(Bells::default());
        machine.wire(&device, 16);
        machine.main(move |at| {
            let pnp = Pnp::start(at, &hal_sim::platform(), &[Driver::of::<Lively>().on_lines("lively#0")]);
            rings_while_it_moves(pnp, at);
        });
    });
}

#[test]
fn who_cannot_move_stays_where_it_is() {
    run_once(2, |machine| {
        machine.device(with_second());
        machine.device(Bells::default());
        machine.main(|at| {
            let pnp = start::<Lively>(at);
            let to = |cpu| Affinity::cpu(cpu);
            assert_eq!(pnp.move_interrupt(at, NAME, 0, &to(1)), Err(Status::OneBlock { messages: 2 }));
            let refused = pnp.move_interrupt(at, "lively#1", 0, &to(7)).expect_err("there is no CPU 7");
            assert!(matches!(refused, Status::NoVector(_)), "{refused}");
            let missing = Status::NoSuchResource { what: "interrupt", number: 1 };
            assert_eq!(pnp.move_interrupt(at, "lively#1", 1, &to(1)), Err(missing));
            let other: DeviceRef<Lively> = pnp.device("lively#1").expect("it started");
            on(&other, at, |dev, at| {
                dev.first.disable(at).expect("it can be disabled");
                let refused = dev.first.set_affinity(at, &to(1));
                assert_eq!(refused, Err(Status::Connect(ConnectError::NotConnected)));
                dev.first.enable(at).expect("it can be enabled");
                assert_eq!(dev.ring(at, 0), Ok(()));
                assert_eq!(dev.first.policy().affinity, to(0));
            });
            let moved = pnp.move_interrupt(at, "lively#1", 0, &to(1)).expect("there are free vectors");
            assert_eq!(moved.cpu, 1);
            pnp.stop_device(at, "lively#1").expect("it is started");
            assert_eq!(pnp.move_interrupt(at, "lively#1", 0, &to(1)), Err(Status::NotStarted));
            pnp.shut_down(at);
        });
    });
}
