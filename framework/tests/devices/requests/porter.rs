//! Queues by how they give out requests and where their callbacks run: a scope of the queue's own at PASSIVE, a parallel queue at
//! PASSIVE and one at DISPATCH, neither of a scope.

use super::clerk::{explorer, join, spawn};
use crate::bells::{self, Bells};
use framework::{Dispatching, File, prelude::*};
use hal_sim::Explorer;
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

const NAME: &str = "porter#0";
/// Nanoseconds that a callback at PASSIVE takes.
const NAP: u64 = 1_000;

struct Porter {
    nap: Event,
    /// Who is in a callback of each queue, and the most there ever were.
    busy: [Busy; 3],
}

#[derive(Default)]
struct Busy {
    now: AtomicU32,
    most: AtomicU32,
}

impl Busy {
    fn enter(&self) {
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, SeqCst);
    }
}

impl Device for Porter {
    const NAME: &'static str = "porter";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
        hw.io_queue(Serial(Scope::new(0))).takes(RequestKind::Read).parallel(9).create()?;
        hw.io_queue(AtPassive).takes(RequestKind::Write).parallel(2).create()?;
        hw.io_queue(AtDispatch).takes(RequestKind::Control).parallel(usize::MAX).create()?;
        let refused = [
            hw.io_queue(AtDispatch).takes(RequestKind::Control).create().map(drop),
            hw.io_queue(AtDispatch).parallel(0).create().map(drop),
        ];
        let taken = Status::QueueTaken { kind: Some(RequestKind::Control) };
        assert!(matches!(&refused, [Err(status), Err(Status::Failed(_))] if *status == taken), "{refused:?}");
        Ok(Porter { nap: Event::new(), busy: Default::default() })
    }
}

/// Of a scope of its own, at PASSIVE.
struct Serial(Scope<u32, Passive>);

impl Serialized for Serial {
    type Device = Porter;
    type Data = u32;
    type Level = Passive;

    fn scope<'a>(&'a self, _: &'a Porter) -> &'a Scope<u32, Passive> {
        &self.0
    }
}

impl EvtSerializedIo for Serial {
    fn evt_io_read(&self, dev: &Porter, n: &mut u32, request: Request<Read>, at: &mut At<'_, Passive>) -> Disposed {
        dev.busy[0].enter();
        assert_eq!(at.irql(), 0);
        let _ = dev.nap.wait_timeout(at, NAP);
        *n += 1;
        dev.busy[0].leave();
        // Completed inside of the scope, the next one comes in when it is left.
        request.complete(at, &n.to_le_bytes())
    }
}

struct AtPassive;

impl EvtIo for AtPassive {
    type Device = Porter;
    type Level = Passive;

    fn evt_io_write(&self, dev: &Porter, request: Request<Write>, at: &mut At<'_, Passive>) -> Disposed {
        dev.busy[1].enter();
        let _ = dev.nap.wait_timeout(at, NAP);
        dev.busy[1].leave();
        request.complete(at, 0)
    }
}

struct AtDispatch;

impl EvtIo for AtDispatch {
    type Device = Porter;
    type Level = Dispatch;

    fn evt_io_device_control(&self, dev: &Porter, request: Request<Ioctl>, at: &mut At<'_, Dispatch>) -> Disposed {
        dev.busy[2].enter();
        // Somebody may come in here.
        dev.nap.set(at);
        dev.busy[2].leave();
        request.complete(at, b"")
    }
}

/// Runs `submit` in three threads, under every schedule; the most callbacks of queue `n` that there were at a time.
fn most_at_a_time(
    explorer: Explorer,
    n: usize,
    submit: fn(&File, &mut At<'_, Passive>) -> Result<usize>,
) -> HashSet<u32> {
    let most = Arc::new(Mutex::new(HashSet::new()));
    let seen = most.clone();
    explorer.run(move |machine| {
        let seen = seen.clone();
        machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = bells::start::<Porter>(at);
            let file = pnp.open(NAME).expect("the porter is there");
            let others = [(); 2].map(|()| {
                let theirs = file.clone();
                spawn(at, move |at| _ = submit(&theirs, at).expect("it is served"))
            });
            submit(&file, at).expect("it is served");
            others.into_iter().for_each(|other| join(other, at));
            let porter = pnp.device::<Porter>(NAME).expect("it is there");
            let most = porter.with(at, |porter, _| porter.busy[n].most.load(SeqCst)).expect("it is started");
            seen.lock().expect("nobody panics with it").insert(most);
            pnp.shut_down(at);
        });
    });
    let most = most.lock().expect("nobody panics with it");
    most.clone()
}

#[test]
fn callbacks_of_a_scope_never_overlap() {
    let read: fn(&File, &mut At<'_, Passive>) -> Result<usize> = |file, at| file.read(at, &mut [0; 4]);
    for cpus in [1, 2, 3] {
        assert_eq!(most_at_a_time(explorer("a scope at PASSIVE", cpus), 0, read), [1].into());
    }
}

#[test]
fn callbacks_of_no_scope_overlap_up_to_the_queues_limit() {
    let write: fn(&File, &mut At<'_, Passive>) -> Result<usize> = |file, at| file.write(at, b"");
    let most = most_at_a_time(explorer("no scope at PASSIVE", 2), 1, write);
    assert!(most.contains(&2) && !most.contains(&3), "{most:?}");
    let control: fn(&File, &mut At<'_, Passive>) -> Result<usize> = |file, at| file.control(at, 0, &[], &mut []);
    let most = most_at_a_time(explorer("no scope at DISPATCH", 2), 2, control);
    assert!(most.contains(&1) && most.contains(&2), "{most:?}");
    assert_eq!(most_at_a_time(explorer("no scope at DISPATCH", 1), 2, control), [1].into());
}

/// Requests that are submitted at DISPATCH reach callbacks at PASSIVE by a work item.
#[test]
fn a_passive_queue_is_served_from_dispatch() {
    explorer("submitted at DISPATCH", 2).run(|machine| {
        machine.device(Bells::default());
        machine.main(|at| {
            let pnp = bells::start::<Porter>(at);
            let file = pnp.open(NAME).expect("the porter is there");
            let all = at.at_dispatch(|at| [(); 3].map(|()| file.submit_read(at, 4)));
            let mut counted = all.map(|pending| {
                pending.wait(at).expect("it uses no device by reference");
                pending.take(at).expect("it is completed").data[0]
            });
            counted.sort();
            assert_eq!(counted, [1, 2, 3]);
            let info = pnp.queues(at)[0].info;
            assert_eq!((info.dispatching, info.accepts, info.delivers), (Dispatching::Parallel(9), true, true));
            pnp.shut_down(at);
        });
    });
}
