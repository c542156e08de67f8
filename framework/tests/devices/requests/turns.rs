//! A queue's callbacks and those of other objects: of one scope they take turns, of none they overlap.

use super::clerk::{explorer, join, spawn};
use crate::bells::{self, Bells};
use framework::prelude::*;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
};

const NAME: &str = "turner#0";
/// Nanoseconds that a callback at PASSIVE takes.
const NAP: u64 = 1_000;

struct Turner {
    scope: Scope<u32>,
    at_passive: Scope<u32, Passive>,
    in_turn: Dpc<InTurn>,
    plain: Dpc<Plain>,
    item: WorkItem<Item>,
    bell: Event,
    /// How many are in a callback at DISPATCH, and at PASSIVE.
    inside: [AtomicU32; 2],
    /// Two were at once.
    met: AtomicBool,
}

impl Turner {
    /// The body of a callback at `L`: `middle` is where others may come in.
    fn body<L: Level>(&self, at: &mut At<'_, L>, middle: impl FnOnce(&mut At<'_, L>)) {
        let inside = &self.inside[usize::from(L::IRQL == Passive::IRQL)];
        if inside.fetch_add(1, SeqCst) > 0 {
            self.met.store(true, SeqCst);
        }
        middle(at);
        inside.fetch_sub(1, SeqCst);
    }
}

impl Device for Turner {
    const NAME: &'static str = "turner";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
        hw.io_queue(Reads).takes(RequestKind::Read).create()?;
        hw.io_queue(Writes).takes(RequestKind::Write).create()?;
        Ok(Turner {
            scope: Scope::new(0),
            at_passive: Scope::new(0),
            in_turn: hw.dpc(InTurn),
            plain: hw.dpc(Plain),
            item: hw.work_item(Item),
            bell: Event::new(),
            inside: Default::default(),
            met: AtomicBool::new(false),
        })
    }
}

macro_rules! of_scope {
    ($($handler:ident, $scope:ident: $level:ident;)*) => {$(
        struct $handler;

        impl Serialized for $handler {
            type Device = Turner;
            type Data = u32;
            type Level = $level;

            fn scope<'a>(&'a self, dev: &'a Turner) -> &'a Scope<u32, $level> {
                &dev.$scope
            }
        }
    )*};
}
of_scope! {
    Reads, scope: Dispatch;
    InTurn, scope: Dispatch;
    Writes, at_passive: Passive;
    Item, at_passive: Passive;
}

impl EvtSerializedIo for Reads {
    fn evt_io_read(&self, dev: &Turner, n: &mut u32, request: Request<Read>, at: &mut At<'_, Dispatch>) -> Disposed {
        *n += 1;
        dev.body(at, |at| dev.bell.set(at));
        request.complete(at, b"")
    }
}

impl EvtSerializedDpcFunc for InTurn {
    fn evt_dpc_func(&self, dev: &Turner, n: &mut u32, at: &mut At<'_, Dispatch>) {
        *n += 1;
        dev.body(at, |at| dev.bell.set(at));
    }
}

struct Plain;

impl EvtDpcFunc for Plain {
    type Device = Turner;

    fn evt_dpc_func(&self, dev: &Turner, at: &mut At<'_, Dispatch>) {
        dev.body(at, |at| dev.bell.set(at));
    }
}

impl EvtSerializedIo for Writes {
    fn evt_io_write(&self, dev: &Turner, n: &mut u32, request: Request<Write>, at: &mut At<'_, Passive>) -> Disposed {
        *n += 1;
        dev.body(at, |at| _ = dev.bell.wait_timeout(at, NAP));
        request.complete(at, 0)
    }
}

impl EvtSerializedWorkItemFunc for Item {
    fn evt_work_item_func(&self, dev: &Turner, n: &mut u32, at: &mut At<'_, Passive>) {
        *n += 1;
        dev.body(at, |at| _ = dev.bell.wait_timeout(at, NAP));
    }
}

/// Whether callbacks overlap in some schedule when another thread does `enqueue` while this one reads and writes.
fn overlap(name: &str, cpus: usize, enqueue: fn(&Turner, &mut At<'_, Passive>)) -> bool {
    let ever = Arc::new(AtomicBool::new(false));
    let seen = ever.clone();
    explorer(name, cpus).run(move |machine| {
        let seen = seen.clone();
        machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = bells::start::<Turner>(at);
            let turner = pnp.device::<Turner>(NAME).expect("it is there");
            let file = pnp.open(NAME).expect("it is there");
            let theirs = turner.clone();
            let other = spawn(at, move |at| theirs.with(at, enqueue).expect("it is started"));
            assert_eq!((file.read(at, &mut []), file.write(at, b"")), (Ok(0), Ok(0)));
            join(other, at);
            let met = turner.with(at, |dev, _| dev.met.load(SeqCst)).expect("it is started");
            seen.fetch_or(met, SeqCst);
            pnp.shut_down(at);
        });
    });
    ever.load(SeqCst)
}

#[test]
fn c10_a_serialized_dpc_never_overlaps_a_queue_callback_of_its_scope_and_a_plain_one_does() {
    for cpus in [2, 3] {
        assert!(!overlap("serialized DPC and queue", cpus, |dev, at| _ = dev.in_turn.enqueue(at)));
        assert!(overlap("plain DPC and queue", cpus, |dev, at| _ = dev.plain.enqueue(at)));
    }
}

#[test]
fn c52_a_serialized_work_item_never_overlaps_a_queue_callback_of_its_scope() {
    for cpus in [1, 2, 3] {
        assert!(!overlap("serialized work item and queue", cpus, |dev, at| _ = dev.item.enqueue(at)));
    }
}
