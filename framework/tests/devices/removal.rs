//! A device is removed by surprise, at every point of what it is used for: while its ISR, its DPC, its work items run and a
//! thread waits inside. A wait that the removal meets ends with `Gone`, nobody comes in afterwards, and no callback runs after
//! `d0_exit`: that is asserted in them all.

use crate::{
    bells::start,
    lively::{self, Counts, Lively, ring_if_there, with_second},
};
use framework::{DeviceRef, Pnp, prelude::*};
use hal_sim::{Explorer, Stats};
use ke::thread::{self, ThreadOptions};
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

/// How the device goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Going {
    /// It still answers when it is removed.
    Answering,
    /// It is pulled out, then removed.
    Pulled,
    /// It leaves by itself, at any point, and is removed at another.
    ByItself,
}

impl Counts {
    fn all(&self) -> [u32; 2] {
        [self.dpcs.load(SeqCst), self.items.load(SeqCst)]
    }
}

fn explore(going: Going, explorer: &Explorer) -> Stats {
    explorer.run(move |machine| {
        let bells = machine.device(with_second());
        machine.main(move |at| {
            let pnp = Arc::new(start::<Lively>(at));
            let device: DeviceRef<Lively> = pnp.device(lively::NAME).expect("the driver serves it");
            bells.with(|bells| bells.may_leave = going == Going::ByItself);
            let remove = {
                let (pnp, device) = (pnp.clone(), device.clone());
                move |at: &mut At<'_, Passive>| {
                    if going == Going::Pulled {
                        bells.remove();
                    }
                    removed(&pnp, &device, at);
                }
            };
            let remover = thread::spawn(at, ThreadOptions::named("remover"), remove).expect("the host has memory");
            // One ring is served by DPC and work item, the other by the interrupt's own work item.
            ring_if_there(&device, at, 0);
            ring_if_there(&device, at, 1);
            remover.join(at).expect("no device is used here");
            assert_eq!(device.with(at, |_, _| ()), Err(Status::Gone));
            pnp.shut_down(at);
            pnp.left_the_bus(at, io::Location::new(0, 0, 1, 0));
        });
    })
}

fn removed(pnp: &Pnp, device: &DeviceRef<Lively>, at: &mut At<'_, Passive>) {
    let counts = device.with(at, |dev, _| dev.counts().clone()).expect("it is started");
    pnp.surprise_remove_device(at, lively::NAME).expect("it was there");
    assert_eq!(device.with(at, |_, _| ()), Err(Status::Gone), "nobody comes in any more");
    let before = counts.all();
    ke::flush_queued_dpcs(at);
    assert_eq!(counts.all(), before, "no callback runs any more");
}

#[test]
fn removed_at_every_point() {
    for going in [Going::Answering, Going::Pulled, Going::ByItself] {
        for cpus in [1, 2] {
            // One deviation: removed at any one point of the use, and all of these.
            let explorer = Explorer::new(&format!("removed once, {going:?} on {cpus}")).cpus(cpus);
            let stats = explore(going, &explorer.bound(1).random(0).limit(Duration::from_secs(20)));
            assert!(stats.complete, "{stats}");
        }
    }
}

#[test]
fn removed_at_every_point_with_something_else_in_between() {
    for going in [Going::Answering, Going::Pulled, Going::ByItself] {
        let explorer = Explorer::new(&format!("removed, {going:?}")).cpus(2);
        explore(going, &explorer.limit(Duration::from_secs(1)));
    }
}
