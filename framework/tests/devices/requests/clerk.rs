//! A driver with queues: reads wait for the bell, writes are done at once, control requests do all the rest.

use crate::bells::{self, Bells, Regs};
use framework::{File, prelude::*};
use hal_sim::{Explorer, Setup, Stats};
use ke::thread::{self, JoinHandle, ThreadOptions};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

pub const NAME: &str = "clerk#0";

/// Control code: how many requests have been served.
pub const COUNT: u32 = 1;
/// Control code: put away until somebody says `NEXT`.
pub const PUT_AWAY: u32 = 2;
/// Control code: completes what was put away first.
pub const NEXT: u32 = 3;
/// Control code: the driver drops the request.
pub const DROP: u32 = 4;

pub struct Clerk {
    regs: Regs,
    scope: Scope<Desk>,
    pub requests: IoQueue<Requests>,
    pub drawer: IoQueue<Drawer>,
    pub seen: Arc<Seen>,
}

/// What the tests look at, after the device is gone too.
#[derive(Default)]
pub struct Seen {
    pub served: AtomicU32,
    pub ready: AtomicU32,
    pub stopped: AtomicU32,
    pub resumed: AtomicU32,
    /// Who is in a callback of the scope.
    inside: AtomicU32,
}

impl Seen {
    /// Nobody else is at it.
    fn alone<R>(&self, f: impl FnOnce() -> R) -> R {
        assert_eq!(self.inside.fetch_add(1, SeqCst), 0, "callbacks of one scope overlap");
        let result = f();
        self.inside.fetch_sub(1, SeqCst);
        result
    }
}

/// Behind the scope's lock.
#[derive(Default)]
pub struct Desk {
    reader: Parked<Read>,
    keeps: bool,
}

impl DeviceAdd<Clerk> for Arc<Seen> {
    fn device_add(_: &mut DeviceInit<'_, Clerk>, _: &mut At<'_, Passive>) -> Result<Self> {
        Ok(Arc::default())
    }
}

/// In the register that says how the driver is to be: reads stay with the driver while the device sleeps.
pub const KEEPS: u32 = 50;

impl Device for Clerk {
    const NAME: &'static str = "clerk";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = ();
    type Added = Arc<Seen>;

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let regs: Regs = hw.map_bar(at, 0)?;
        hw.interrupt(Bell, ()).create()?;
        let keeps = regs.fail_at.read(at) == KEEPS;
        Ok(Clerk {
            regs,
            scope: Scope::new(Desk { keeps, ..Desk::default() }),
            requests: hw.io_queue(Requests).default_queue().create()?,
            drawer: hw.io_queue(Drawer).manual().create()?,
            seen: hw.added().clone(),
        })
    }
}

/// The default queue, in the device's scope.
pub struct Requests;

impl Serialized for Requests {
    type Device = Clerk;
    type Data = Desk;
    type Level = Dispatch;

    fn scope<'a>(&'a self, clerk: &'a Clerk) -> &'a Scope<Desk> {
        &clerk.scope
    }
}

impl EvtSerializedIo for Requests {
    fn evt_io_read(
        &self,
        clerk: &Clerk,
        desk: &mut Desk,
        request: Request<Read>,
        at: &mut At<'_, Dispatch>,
    ) -> Disposed {
        clerk.seen.alone(|| match desk.reader.park(request) {
            Ok(parked) => {
                clerk.regs.ring.write(at, 1);
                parked
            }
            Err(cancelled) => cancelled.fail(at, Status::Cancelled),
        })
    }

    fn evt_io_write(
        &self,
        clerk: &Clerk,
        _: &mut Desk,
        request: Request<Write>,
        at: &mut At<'_, Dispatch>,
    ) -> Disposed {
        clerk.seen.alone(|| {
            clerk.seen.served.fetch_add(1, SeqCst);
            let n = request.data().len();
            request.complete(at, n)
        })
    }

    fn evt_io_device_control(
        &self,
        clerk: &Clerk,
        _: &mut Desk,
        request: Request<Ioctl>,
        at: &mut At<'_, Dispatch>,
    ) -> Disposed {
        clerk.seen.alone(|| match request.code() {
            COUNT => request.complete(at, &clerk.seen.served.load(SeqCst).to_le_bytes()),
            PUT_AWAY => match request.forward(&clerk.drawer, at) {
                Ok(forwarded) => forwarded,
                Err(refused) => refused.request.fail(at, refused.why),
            },
            NEXT => match clerk.drawer.retrieve(at) {
                Some(AnyRequest::Control(put_away)) => {
                    let _done = put_away.complete(at, b"found");
                    request.complete(at, b"")
                }
                _ => request.fail(at, Status::Busy),
            },
            DROP => {
                drop(request);
                // It has to return one: of another request, which the types do not see.
                match clerk.drawer.retrieve(at) {
                    Some(AnyRequest::Control(other)) => other.complete(at, b""),
                    _ => panic!("the test puts one away first"),
                }
            }
            _ => request.fail(at, Status::InvalidRequest),
        })
    }

    fn evt_cancel(&self, clerk: &Clerk, desk: &mut Desk, which: &Cancel, at: &mut At<'_, Dispatch>) {
        clerk.seen.alone(|| {
            if let Some(request) = desk.reader.take_if(which) {
                let _done = request.fail(at, Status::Cancelled);
            }
        });
    }

    fn evt_io_stop(&self, clerk: &Clerk, desk: &mut Desk, which: &Stop, at: &mut At<'_, Dispatch>) {
        clerk.seen.alone(|| {
            clerk.seen.stopped.fetch_add(1, SeqCst);
            if which.action() != StopAction::Suspend {
                return;
            }
            if desk.keeps {
                return which.acknowledge();
            }
            if let Some(request) = desk.reader.take_if(which) {
                let _back = request.requeue(at).expect("the queue does not deliver");
            }
        });
    }

    fn evt_io_resume(&self, clerk: &Clerk, _: &mut Desk, _: &Resume, at: &mut At<'_, Dispatch>) {
        clerk.seen.alone(|| {
            clerk.seen.resumed.fetch_add(1, SeqCst);
            clerk.regs.ring.write(at, 1);
        });
    }
}

/// Where requests are put away, of no scope.
pub struct Drawer;

impl EvtIo for Drawer {
    type Device = Clerk;
    type Level = Dispatch;

    fn evt_io_ready(&self, clerk: &Clerk, _: &mut At<'_, Dispatch>) {
        clerk.seen.ready.fetch_add(1, SeqCst);
    }
}

pub struct Bell;

impl EvtIsr for Bell {
    type Device = Clerk;
    type State = ();
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, clerk: &Clerk, _: &mut (), irq: &mut IsrCx<'_, Self>) -> Claim {
        let claim = clerk.regs.quiet(irq, 0);
        if claim == Claim::Mine {
            irq.queue_dpc();
        }
        claim
    }
}

impl EvtDpc for Bell {
    fn evt_dpc(&self, clerk: &Clerk, irq: &mut DpcCx<'_, Self>) {
        clerk.scope.enter(irq, |desk, at| {
            clerk.seen.alone(|| {
                if let Some(request) = desk.reader.take() {
                    clerk.seen.served.fetch_add(1, SeqCst);
                    let _done = request.complete(at, b"rung");
                }
            });
        });
    }
}

/// An exploration of `f` on a started clerk; `bells` makes its device. The clerk is shut down after it.
pub fn explore(
    name: &str,
    cpus: usize,
    bells: impl Fn() -> Bells + 'static,
    f: impl Fn(&Pnp, &File, &mut At<'_, Passive>) + Send + Sync + 'static,
) -> Stats {
    explorer(name, cpus).run(scenario(bells, f))
}

pub fn explorer(name: &str, cpus: usize) -> Explorer {
    Explorer::new(&format!("requests: {name} on {cpus}")).cpus(cpus).limit(Duration::from_secs(3))
}

pub fn scenario(
    bells: impl Fn() -> Bells + 'static,
    f: impl Fn(&Pnp, &File, &mut At<'_, Passive>) + Send + Sync + 'static,
) -> impl Fn(&mut Setup) {
    let f = Arc::new(f);
    move |machine| {
        let f = f.clone();
        machine.device(bells());
        machine.main(move |at| {
            let pnp = bells::start::<Clerk>(at);
            let file = pnp.open(NAME).expect("the clerk is there");
            f(&pnp, &file, at);
            pnp.shut_down(at);
        });
    }
}

pub use framework::Pnp;

/// Starts a thread; no allocation fails in these tests.
pub fn spawn(at: &mut At<'_, Passive>, main: impl for<'c> FnOnce(&mut At<'c, Passive>) + Send + 'static) -> JoinHandle {
    thread::spawn(at, ThreadOptions::named("other"), main).expect("the machine has memory")
}

/// Waits for a thread that uses no device by reference.
pub fn join(thread: JoinHandle, at: &mut At<'_, Passive>) {
    thread.join(at).expect("it uses no device by reference");
}
