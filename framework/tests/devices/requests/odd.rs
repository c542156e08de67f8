//! Requests in odd places: in a queue that outlives a run of its device, dropped in an ISR, put back where they would come out
//! at once, kept by a driver that is to give them back.

use super::clerk::explorer;
use crate::bells::{self, Bells, Regs};
use framework::{File, Pnp, prelude::*};
use hal_sim::{FaultKind, Setup};

const NAME: &str = "odd#0";

/// Control code: put back into the queue that gave it.
const PUT_BACK: u32 = 1;
/// Control code: kept, whatever happens: there is no `evt_cancel`.
const KEEP: u32 = 2;
/// Control code: served at once, with four bytes.
const ANSWER: u32 = 3;
/// A write of this is kept, whatever happens.
const KEPT: &[u8] = b"keep";

struct Odd {
    regs: Regs,
    irq: Interrupt<Bell>,
    kept: SpinLock<Parked<Ioctl>>,
    kept_write: SpinLock<Parked<Write>>,
}

struct Added;

impl DeviceAdd<Odd> for Added {
    fn device_add(init: &mut DeviceInit<'_, Odd>, _: &mut At<'_, Passive>) -> Result<Self> {
        init.io_queue(Requests).default_queue().create()?;
        assert!(matches!(
            init.io_queue(Requests).default_queue().create().map(drop),
            Err(Status::QueueTaken { kind: None })
        ));
        Ok(Added)
    }
}

impl Device for Odd {
    const NAME: &'static str = "odd";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = ();
    type Added = Added;

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let regs = hw.map_bar(at, 0)?;
        let irq = hw.interrupt(Bell, Parked::new()).create()?;
        hw.io_queue(Requests).takes(RequestKind::Write).not_power_managed().create()?;
        Ok(Odd { regs, irq, kept: SpinLock::default(), kept_write: SpinLock::default() })
    }
}

struct Requests;

impl EvtIo for Requests {
    type Device = Odd;
    type Level = Dispatch;

    /// The ISR gets it.
    fn evt_io_read(&self, odd: &Odd, request: Request<Read>, at: &mut At<'_, Dispatch>) -> Disposed {
        match odd.irq.synchronize(at, |slot, _| slot.park(request)) {
            // The line above parks what is dropped
            Ok(parked) => {
                odd.regs.ring.write(at, 1);
                parked
            }
            Err(refused) => refused.fail(at, Status::Busy),
        }
    }

    fn evt_io_write(&self, odd: &Odd, request: Request<Write>, at: &mut At<'_, Dispatch>) -> Disposed {
        if request.data() != KEPT {
            let n = request.data().len();
            return request.complete(at, n);
        }
        match odd.kept_write.acquire(at).park(request) {
            Ok(parked) => parked,
            Err(_dropped_here) => panic!("the tests keep one"),
        }
    }

    fn evt_io_device_control(&self, odd: &Odd, request: Request<Ioctl>, at: &mut At<'_, Dispatch>) -> Disposed {
        match request.code() {
            PUT_BACK => match request.requeue(at) {
                Ok(back) => back,
                Err(refused) => refused.request.fail(at, refused.why),
            },
            KEEP => match odd.kept.acquire(at).park(request) {
                // The line above parks what it keeps
                Ok(parked) => parked,
                Err(_dropped_here) => panic!("the tests keep one"),
            },
            ANSWER => request.complete(at, b"four"),
            _ => request.fail(at, Status::InvalidRequest),
        }
    }
}

struct Bell;

impl EvtIsr for Bell {
    type Device = Odd;
    type State = Parked<Read>;
    type Level = Dirql;
    type Deferred = Nothing;

    /// Drops the request, at DIRQL.
    fn evt_isr(&self, odd: &Odd, slot: &mut Parked<Read>, irq: &mut IsrCx<'_, Self>) -> Claim {
        drop(slot.take());
        odd.regs.quiet(irq, 0)
    }
}

fn scenario(f: impl Fn(&Pnp, &File, &mut At<'_, Passive>) + Send + Sync + Copy + 'static) -> impl Fn(&mut Setup) {
    move |machine| {
        machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = bells::start::<Odd>(at);
            let file = pnp.open(NAME).expect("it is there");
            f(&pnp, &file, at);
            pnp.shut_down(at);
        });
    }
}

fn explore(name: &str, f: impl Fn(&Pnp, &File, &mut At<'_, Passive>) + Send + Sync + Copy + 'static) {
    for cpus in [1, 2] {
        explorer(name, cpus).run(scenario(f));
    }
}

/// What the verifier would not let pass.
fn explore_unverified(name: &str, f: impl Fn(&Pnp, &File, &mut At<'_, Passive>) + Send + Sync + Copy + 'static) {
    for cpus in [1, 2] {
        explorer(name, cpus).without_verifier().run(scenario(f));
    }
}

fn end(pending: &framework::Pending, at: &mut At<'_, Passive>) -> Result<usize> {
    pending.wait(at).expect("it uses no device by reference");
    pending.take(at).expect("it is completed").result
}

#[test]
fn a_request_that_is_dropped_at_dirql_is_completed_below_dispatch() {
    explore_unverified("dropped at DIRQL", |_, file, at| {
        assert_eq!(file.read(at, &mut [0; 4]), Err(Status::Abandoned));
        assert_eq!(file.write(at, b"on"), Ok(2), "the queue goes on");
    });
}

#[test]
fn a_queue_of_device_add_keeps_what_waits_over_a_restart() {
    explore("restart", |pnp, file, at| {
        pnp.stop_device(at, NAME).expect("it is started");
        let [first, second] = [(); 2].map(|()| file.submit_control(at, ANSWER, &[], 4));
        assert_eq!(pnp.queues(at)[0].info.waiting, 2);
        assert!(second.cancel(at));
        pnp.start_device(at, NAME).expect("it is stopped");
        assert_eq!(end(&first, at), Ok(4));
        assert_eq!(end(&second, at), Err(Status::Cancelled));
        pnp.stop_device(at, NAME).expect("it is started");
        let last = file.submit_control(at, ANSWER, &[], 4);
        pnp.remove_device(at, NAME).expect("it is there");
        assert_eq!(end(&last, at), Err(Status::Gone));
        assert_eq!(file.write(at, b"late"), Err(Status::NoQueue { kind: RequestKind::Write }));
    });
}

#[test]
fn what_would_come_out_again_at_once_is_not_put_back() {
    explore("put back", |_, file, at| {
        let put_back = file.control(at, PUT_BACK, &[], &mut []);
        assert!(matches!(put_back, Err(Status::Failed(_))), "{put_back:?}");
        assert_eq!(file.write(at, b"on"), Ok(2), "the queue goes on");
    });
}

/// It does not hold up its device for ever: the stop says so, and the request goes with the device.
#[test]
fn a_request_that_a_driver_keeps_is_told_of_and_ends_with_the_device() {
    explore_unverified("kept", |pnp, file, at| {
        let kept = file.submit_control(at, KEEP, &[], 0);
        let stopped = pnp.stop_device(at, NAME);
        assert!(matches!(stopped, Err(Status::RequestsKept { count: 1, .. })), "{stopped:?}");
        assert_eq!(end(&kept, at), Err(Status::Abandoned));
        pnp.start_device(at, NAME).expect("it is stopped");
        assert_eq!(file.write(at, b"on"), Ok(2));
    });
}

/// Kept through a sleep because nobody asked for it, it is told of when the device is removed.
#[test]
fn a_removal_in_sleep_asks_for_what_the_driver_keeps() {
    explore_unverified("kept in sleep", |pnp, file, at| {
        pnp.power_down_device(at, NAME, PowerState::D3).expect("it is started");
        assert_eq!(file.write(at, b"on"), Ok(2), "the queue does not mind");
        let before = at.now();
        let kept = file.submit_write(at, KEPT);
        let removed = pnp.remove_device(at, NAME);
        assert!(matches!(removed, Err(Status::RequestsKept { count: 1, .. })), "{removed:?}");
        assert!(at.now() - before < 15_000_000_000, "it was asked once");
        assert_eq!(end(&kept, at), Err(Status::Abandoned));
        assert_eq!(pnp.problems(at).len(), 1);
    });
}

/// A device that cannot sleep because of a request is stopped instead.
#[test]
fn a_request_that_a_driver_keeps_does_not_sleep() {
    explore_unverified("kept awake", |pnp, file, at| {
        let kept = file.submit_control(at, KEEP, &[], 0);
        let slept = pnp.power_down_device(at, NAME, PowerState::D3);
        assert!(matches!(slept, Err(Status::RequestsKept { count: 1, .. })), "{slept:?}");
        assert_eq!(end(&kept, at), Err(Status::Abandoned));
    });
}

/// The verifier's sentence about `f`, which names the line before `mark`.
#[track_caller]
fn reported(mark: &str, f: impl Fn(&Pnp, &File, &mut At<'_, Passive>) + Send + Sync + Copy + 'static) -> String {
    let failure = explorer(mark, 1).expect_failure(scenario(f));
    assert_eq!(failure.kind(), FaultKind::BugCheck);
    let before = include_str!("odd.rs").lines().position(|line| line.trim() == mark);
    let line = format!("odd.rs:{}:", before.expect("the mark has a line of its own"));
    assert!(failure.message().contains(&line), "{line} is not in {}", failure.message());
    failure.message().into()
}

#[test]
fn the_verifier_says_where_a_request_was_parked_that_is_never_completed() {
    let said = reported("// The line above parks what it keeps", |pnp, file, at| {
        file.submit_control(at, KEEP, &[], 0);
        let _never_returns = pnp.stop_device(at, NAME);
    });
    assert!(said.contains("still has 1 of its requests"), "{said}");
}

#[test]
fn the_verifier_says_where_a_request_was_parked_that_is_dropped() {
    let said = reported("// The line above parks what is dropped", |_, file, at| _ = file.read(at, &mut [0; 4]));
    assert!(said.contains("dropped a request"), "{said}");
}
