//! Stop and restart with other vectors.

use crate::{
    bells::{Bells, start},
    lively::{self, Lively, on, ring_if_there},
    logged::{DOWN, Logged, NAME, PREPARE, RELEASE, UP, connections, log, taken},
};
use framework::{DeviceRef, prelude::*};
use hal_sim::{Explorer, run_once};
use ke::thread::{self, ThreadOptions};
use std::time::Duration;

#[test]
fn a_rebalance_gives_other_vectors_and_connects_what_was_connected() {
    run_once(2, |machine| {
        let bells = machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = start::<Logged<true>>(at);
            let device: DeviceRef<Logged<true>> = pnp.device(NAME).expect("it started");
            let grants = |at: &mut At<'_, Passive>| pnp.interrupts(at).iter().map(|row| row.grant).collect::<Vec<_>>();
            let before = grants(at);
            log(&bells);
            pnp.rebalance_device(at, NAME).expect("there are vectors");
            assert_eq!(log(&bells), [&DOWN[..], &[RELEASE, PREPARE], &UP[..]].concat());
            let after = grants(at);
            assert_eq!(connections(&pnp, at), [(true, true); 3]);
            assert!(before.iter().all(|grant| !after.contains(grant)), "{before:?}, then {after:?}");
            assert_ne!(before[0].map(|grant| grant.cpu), after[0].map(|grant| grant.cpu), "the other CPU has room");
            assert_eq!(taken(&pnp, at), (4, 64), "the old ones were given back");
            device.with(at, |dev, at| dev.ring(at, 1)).expect("it is started again");
            pnp.stop_device(at, NAME).expect("it is started");
            assert_eq!(pnp.rebalance_device(at, NAME), Err(Status::NotStarted));
            pnp.shut_down(at);
        });
    });
}

/// Nothing is lost that was not on its way when the device stopped, and no callback runs while it is stopped.
#[test]
fn a_rebalance_while_the_device_is_used() {
    Explorer::new("rebalance while used").cpus(2).limit(Duration::from_secs(2)).run(|machine| {
        machine.device(Bells::default());
        machine.main(|at| {
            let pnp = start::<Lively>(at);
            let device: DeviceRef<Lively> = pnp.device(lively::NAME).expect("it started");
            let user = device.clone();
            let ring = move |at: &mut At<'_, Passive>| ring_if_there(&user, at, 0);
            let user = thread::spawn(at, ThreadOptions::named("user"), ring).expect("the host has memory");
            pnp.rebalance_device(at, lively::NAME).expect("there are vectors");
            user.join(at).expect("no device is used here");
            on(&device, at, |dev, at| dev.ring(at, 0)).expect("nobody stops it");
            pnp.shut_down(at);
        });
    });
}
