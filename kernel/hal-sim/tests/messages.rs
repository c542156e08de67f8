//! MSI-X through the real bus code: a message that finds its entry masked is pending, and comes once the mask is gone.

use hal_sim::{Device, Explorer, FaultKind, Granularity, Setup, model::Ivshmem};
use io::{Bus, MessageSource, PciDevice};
use ke::{
    At, Claim, Connection, Dirql, Dispatch, Event, Interrupt, InterruptLock, Mode, Passive, ServiceRoutine,
    thread::{self, ThreadOptions},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

const VECTORS: [u8; 2] = [0x51, 0x52];
/// Nanoseconds.
const A_WHILE: u64 = 1_000_000;

#[derive(Default)]
struct Rung {
    count: AtomicU32,
    event: Event,
}

struct Counting;

impl ServiceRoutine for Counting {
    type State = u32;
    type Level = Dirql;
    type Context = Arc<Rung>;

    fn service(&self, rung: &Arc<Rung>, count: &mut u32, this: &Interrupt<Self>, at: &mut At<'_, Dirql>) -> Claim {
        *count += 1;
        rung.count.fetch_add(1, SeqCst);
        this.queue_dpc(at);
        Claim::Mine
    }

    fn dpc(&self, rung: &Arc<Rung>, _: &Interrupt<Self>, at: &mut At<'_, Dispatch>) {
        rung.event.set(at);
    }

    fn work_item(&self, _: &Arc<Rung>, _: &Interrupt<Self>, _: &mut At<'_, Passive>) {}

    fn describe(&self) -> String {
        "message".to_owned()
    }
}

/// A message of a function, connected.
struct Message {
    interrupt: Arc<Interrupt<Counting>>,
    rung: Arc<Rung>,
}

impl Message {
    fn connect(at: &mut At<'_, Passive>, source: MessageSource, vector: u8) -> Self {
        let lock = InterruptLock::new(0);
        lock.settle(vector >> 4).expect("nobody has settled it");
        let message = Message { interrupt: Interrupt::new(Counting, lock), rung: Arc::default() };
        let connection = Connection { cpu: 0, vector, mode: Mode::Latched, source: Arc::new(source) };
        message.interrupt.connect(at, connection, message.rung.clone()).expect("the vector is free");
        message
    }

    fn rings(&self) -> u32 {
        self.rung.count.load(SeqCst)
    }

    fn wait(&self, at: &mut At<'_, Passive>) {
        self.rung.event.wait(at).expect("no device goes away here");
    }
}

/// Connects both messages of the function; `f` works with them, then they are taken apart.
fn with_messages(
    machine: &mut Setup,
    f: impl FnOnce(&mut At<'_, Passive>, &Device<Ivshmem>, &[Message; 2]) + Send + 'static,
) {
    let device = machine.device(Ivshmem::new(0, VECTORS.len() as u8));
    machine.main(move |at| {
        let bus = Bus::enumerate(at, &hal_sim::platform());
        let function: Arc<PciDevice> = bus.devices()[0].clone();
        function.enable(at).expect("it is there");
        function.set_bus_master(at, true).expect("it is there");
        let messages = VECTORS.map(|vector| Some(at.msi_message(0, vector)));
        let sources = function.program_messages(at, &messages).expect("it has two messages");
        let mut sources = sources.into_iter();
        let messages = VECTORS.map(|vector| Message::connect(at, sources.next().expect("one for each"), vector));
        f(at, &device, &messages);
        for message in &messages {
            assert!(message.interrupt.disconnect(at).is_some());
        }
        function.disable_messages(at).expect("it is there");
    });
}

fn explore(name: &str, cpus: usize, setup: impl Fn(&mut Setup) + 'static) {
    let explorer = Explorer::new(name).cpus(cpus).granularity(Granularity::Fine);
    explorer.limit(Duration::from_millis(250)).random(100).run(setup);
}

#[test]
fn what_is_masked_is_pending_and_comes_once() {
    for cpus in [1, 2] {
        explore("MSI-X masked", cpus, |machine| {
            with_messages(machine, |at, device, [first, second]| {
                let masked = first.interrupt.mask(at);
                device.with(|device| device.ring_later(&[0, 0, 1]));
                second.wait(at);
                assert_eq!((first.rings(), second.rings()), (0, 1));
                drop(masked);
                first.wait(at);
                // It ends with the barrier that a flush is, so nothing more was on its way.
                ke::flush_queued_dpcs(at);
                assert_eq!((first.rings(), second.rings()), (1, 1));
            });
        });
    }
}

#[test]
fn masks_race_with_messages_and_none_is_lost() {
    for cpus in [1, 2, 3] {
        explore("MSI-X mask race", cpus, |machine| {
            with_messages(machine, |at, device, [first, second]| {
                device.with(|device| device.ring_later(&[1, 0]));
                drop(first.interrupt.mask(at));
                drop(second.interrupt.mask(at));
                first.wait(at);
                second.wait(at);
                assert_eq!((first.rings(), second.rings()), (1, 1));
            });
        });
    }
}

/// Masks are counted: whoever gives up the last one opens the entry, on whichever CPU.
#[test]
fn masks_of_two_threads_on_one_message_lose_nothing() {
    for cpus in [1, 2, 3] {
        explore("MSI-X masks of two threads", cpus, |machine| {
            with_messages(machine, |at, device, [first, _]| {
                device.with(|device| device.ring_later(&[0]));
                let interrupt = first.interrupt.clone();
                let other = ThreadOptions::named("other");
                let other = thread::spawn(at, other, move |at| drop(interrupt.mask(at)));
                let masked = first.interrupt.mask(at);
                other.expect("there is memory").join(at).expect("no device goes away here");
                // One that was on its way has arrived, and no other comes while this mask is held.
                ke::flush_queued_dpcs(at);
                let before = first.rings();
                device.with(|device| device.ring_later(&[0]));
                assert!(Event::new().wait_timeout(at, A_WHILE).is_err(), "nobody sets it");
                assert_eq!(first.rings(), before);
                drop(masked);
                while first.rings() == before {
                    first.wait(at);
                    first.rung.event.clear(at);
                }
            });
        });
    }
}

/// What a function that uses its table otherwise than the specification allows would do is anybody's guess.
#[test]
fn an_entry_that_changes_while_it_is_in_use_fails_the_run() {
    let failure = Explorer::new("MSI-X entry in use").bound(0).expect_failure(|machine| {
        machine.device(Ivshmem::new(0, 1));
        machine.main(|at| {
            let bus = Bus::enumerate(at, &hal_sim::platform());
            let function = bus.devices()[0].clone();
            function.enable(at).expect("it is there");
            let message = at.msi_message(0, VECTORS[0]);
            let _sources = function.program_messages(at, &[Some(message)]).expect("it has a message");
            let table = function.map_bar(at, 1).expect("its table is there");
            table.register::<u32>(12).expect("the mask is in it").write(at, 0);
            table.register::<u32>(8).expect("the data is in it").write(at, 0x61);
        });
    });
    assert_eq!(failure.kind(), FaultKind::DeviceAbort);
    assert!(failure.message().contains("entry 0 changes"), "{}", failure.message());
}
