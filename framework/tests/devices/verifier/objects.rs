//! Guards forgotten in the callbacks of objects and queues.

use super::place;
use crate::bells::{self, Bells};
use framework::{Pnp, prelude::*};
use hal_sim::{Explorer, FaultKind};

struct Sloppy {
    spin: SpinLock<u32>,
    dpc: Dpc<ForgetsInDpc>,
    timer: Timer<ForgetsInTimer>,
}

impl Device for Sloppy {
    const NAME: &'static str = "sloppy";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
        hw.io_queue(ForgetsInQueue).default_queue().create()?;
        Ok(Sloppy { spin: SpinLock::new(0), dpc: hw.dpc(ForgetsInDpc), timer: hw.timer(ForgetsInTimer).create() })
    }
}

struct ForgetsInDpc;
struct ForgetsInTimer;
struct ForgetsInQueue;

impl EvtDpcFunc for ForgetsInDpc {
    type Device = Sloppy;

    fn evt_dpc_func(&self, dev: &Sloppy, at: &mut At<'_, Dispatch>) {
        std::mem::forget(dev.spin.acquire(at)); // forgets in a DPC
    }
}

impl EvtTimerFunc for ForgetsInTimer {
    type Device = Sloppy;
    type Level = Dispatch;

    fn evt_timer_func(&self, dev: &Sloppy, at: &mut At<'_, Dispatch>) {
        std::mem::forget(dev.spin.acquire(at)); // forgets in a timer
    }
}

impl EvtIo for ForgetsInQueue {
    type Device = Sloppy;
    type Level = Dispatch;

    fn evt_io_write(&self, dev: &Sloppy, request: Request<Write>, at: &mut At<'_, Dispatch>) -> Disposed {
        std::mem::forget(dev.spin.acquire(at)); // forgets in a queue
        request.complete(at, 0)
    }
}

/// The verifier names the line that ends in `mark` and the callback, when `f` has had it called.
#[track_caller]
fn named(mark: &str, callback: &str, f: fn(&Pnp, &Sloppy, &mut At<'_, Passive>)) {
    let failure = Explorer::new(mark).expect_failure(move |machine| {
        machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = bells::start::<Sloppy>(at);
            let device = pnp.device::<Sloppy>("sloppy#0").expect("it is there");
            device.with(at, |dev, at| f(&pnp, dev, at)).expect("it is started");
            pnp.shut_down(at);
        });
    });
    assert_eq!(failure.kind(), FaultKind::BugCheck);
    for words in [place("objects.rs", include_str!("objects.rs"), mark).as_str(), callback, "forgotten"] {
        assert!(failure.message().contains(words), "{words} is not in {}", failure.message());
    }
}

#[test]
fn in_a_dpc_object() {
    named("forgets in a DPC", "ForgetsInDpc", |_, dev, at| _ = dev.dpc.enqueue(at));
}

#[test]
fn in_a_timer() {
    named("forgets in a timer", "ForgetsInTimer", |_, dev, at| {
        dev.timer.start(at, 1_000);
        // Nobody sets it: the timer expires meanwhile.
        let _ = Event::new().wait_timeout(at, 1_000_000);
    });
}

#[test]
fn in_a_queue_callback() {
    named("forgets in a queue", "evt_io_write of", |pnp, _, at| {
        let _never_returns = pnp.open("sloppy#0").map(|file| file.write(at, b""));
    });
}
