//! Moving an interrupt to another CPU while its device goes on: nothing is lost, nothing comes on the old CPU afterwards.

use hal_sim::{
    Device, Explorer,
    model::{BusAccess, Identity, Model, PciModel, Step},
};
use io::{Bus, PciDevice};
use ke::{
    At, Claim, ConnectError, Connection, Dirql, Dispatch, Event, Interrupt, InterruptLock, Mode, Passive,
    ServiceRoutine,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

const OLD: u8 = 0x51;
const NEW: u8 = 0x62;
const EVENTS: u32 = 3;

/// Rings as often as it was told to, and remembers what nobody has taken.
#[derive(Debug, Default)]
struct Bell {
    to_come: u32,
    pending: u32,
}

impl PciModel for Bell {
    fn identity(&self) -> Identity {
        Identity { msi_messages: 1, ..Identity::new(0x1234, 0xbe11) }
    }
}

impl Model for Bell {
    fn read(&mut self, _: usize, _: u64, _: usize, _: &mut BusAccess<'_>) -> u64 {
        0
    }
    fn write(&mut self, _: usize, _: u64, _: usize, _: u64, _: &mut BusAccess<'_>) {}
    fn steps(&self, steps: &mut Vec<Step>) {
        if self.to_come > 0 {
            steps.push(Step::soon(0, "rings"));
        }
    }
    fn step(&mut self, _: u32, bus: &mut BusAccess<'_>) {
        self.to_come -= 1;
        self.pending += 1;
        bus.interrupt(0);
    }
    fn interrupt_status(&self) -> u64 {
        0
    }
}

struct Ringing;

struct Heard {
    bell: Device<Bell>,
    rings: AtomicU32,
    all: Event,
}

impl ServiceRoutine for Ringing {
    type State = ();
    type Level = Dirql;
    type Context = Arc<Heard>;

    fn service(&self, heard: &Arc<Heard>, _: &mut (), this: &Interrupt<Self>, at: &mut At<'_, Dirql>) -> Claim {
        let rings = heard.bell.access(|bell, _| std::mem::take(&mut bell.pending));
        heard.rings.fetch_add(rings, SeqCst);
        this.queue_dpc(at);
        if rings == 0 { Claim::NotMine } else { Claim::Mine }
    }
    fn dpc(&self, heard: &Arc<Heard>, _: &Interrupt<Self>, at: &mut At<'_, Dispatch>) {
        if heard.rings.load(SeqCst) == EVENTS {
            heard.all.set(at);
        }
    }
    fn work_item(&self, _: &Arc<Heard>, _: &Interrupt<Self>, _: &mut At<'_, Passive>) {}
    fn describe(&self) -> String {
        "bell".to_owned()
    }
}

fn interrupt() -> Arc<Interrupt<Ringing>> {
    let lock = InterruptLock::new(());
    lock.settle(NEW >> 4).expect("nobody has settled it");
    Interrupt::new(Ringing, lock)
}

fn connect(
    at: &mut At<'_, Passive>,
    bell: Device<Bell>,
) -> (Arc<PciDevice>, Arc<Interrupt<Ringing>>, Arc<io::MessageSource>, Arc<Heard>) {
    let bus = Bus::enumerate(at, &hal_sim::platform());
    let function = bus.devices()[0].clone();
    function.set_bus_master(at, true).expect("it is there");
    let message = at.msi_message(0, OLD);
    let sources = function.program_messages(at, &[Some(message)]).expect("it has one message");
    let source = Arc::new(sources.into_iter().next().expect("one was asked for"));
    let interrupt = interrupt();
    let heard = Arc::new(Heard { bell, rings: AtomicU32::new(0), all: Event::new() });
    let connection = Connection { cpu: 0, vector: OLD, mode: Mode::Latched, source: source.clone() };
    interrupt.connect(at, connection, heard.clone()).expect("the vector is free");
    source.switch_on(at).expect("it is there");
    (function, interrupt, source, heard)
}

#[test]
fn an_interrupt_moves_to_another_cpu_while_it_rings() {
    let explorer = Explorer::new("moving while it rings").cpus(2).limit(Duration::from_secs(1)).random(200);
    explorer.run(|machine| {
        let bell = machine.device(Bell::default());
        machine.main(move |at| {
            let (function, interrupt, source, heard) = connect(at, bell.clone());
            bell.with(|bell| bell.to_come = EVENTS);
            let reprogram = |at: &mut At<'_, Passive>, message| source.reprogram(at, message).expect("it is there");
            interrupt.move_to(at, 1, NEW, reprogram).expect("the vector is free");
            let info = interrupt.info(at).expect("it is connected");
            assert_eq!((info.cpu, info.vector, info.irql), (1, NEW, NEW >> 4));
            let before = info.counts[0];
            heard.all.wait(at).expect("nothing goes away");
            let info = interrupt.info(at).expect("it is connected");
            assert_eq!(info.counts[0], before, "nothing comes on the old CPU any more");
            assert_eq!(heard.rings.load(SeqCst), EVENTS);
            function.disable_messages(at).expect("it is there");
            assert!(interrupt.disconnect(at).is_some());
        });
    });
}

#[test]
fn a_move_that_cannot_be_changes_nothing() {
    Explorer::new("a refused move").cpus(1).bound(1).limit(Duration::from_secs(1)).run(|machine| {
        let bell = machine.device(Bell::default());
        machine.main(move |at| {
            let unconnected = interrupt();
            let nothing = |_: &mut At<'_, Passive>, _| panic!("a refused move tells the device nothing");
            assert_eq!(unconnected.move_to(at, 0, NEW, nothing), Err(ConnectError::NotConnected));
            let (function, interrupt, _, heard) = connect(at, bell.clone());
            assert_eq!(interrupt.move_to(at, 7, NEW, nothing), Err(ConnectError::NoSuchCpu { cpu: 7, cpus: 1 }));
            assert_eq!(interrupt.move_to(at, 0, 0x2e, nothing), Err(ConnectError::NotADeviceVector(0x2e)));
            let too_high = Err(ConnectError::SynchronizeTooLow { irql: 9, ceiling: NEW >> 4 });
            assert_eq!(interrupt.move_to(at, 0, 0x91, nothing), too_high);
            assert_eq!(interrupt.move_to(at, 0, OLD, nothing), Err(ConnectError::VectorTaken { cpu: 0, vector: OLD }));
            bell.with(|bell| bell.to_come = EVENTS);
            heard.all.wait(at).expect("nothing goes away");
            function.disable_messages(at).expect("it is there");
            assert!(interrupt.disconnect(at).is_some());
        });
    });
}
