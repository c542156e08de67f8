//! What a queue knows about its requests and about who serves them. Everything here is under the queue's lock.

use crate::{
    Device, RequestKind,
    device::DeviceObject,
    request::{Irp, Packet},
};
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::mem;
use ke::{Event, ThreadId};

/// How a queue gives out its requests (WDF_IO_QUEUE_DISPATCH_TYPE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatching {
    /// The next one when the driver has done with the last.
    Sequential,
    /// Up to so many at a time.
    Parallel(usize),
    /// When the driver asks for one.
    Manual,
}

/// How a queue is doing (WdfIoQueueGetState).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueInfo {
    /// How it gives out its requests.
    pub dispatching: Dispatching,
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that the driver has.
    pub given: usize,
    /// Whether it takes new requests: neither drained nor purged.
    pub accepts: bool,
    /// Whether it gives out requests: not stopped, and its device works.
    pub delivers: bool,
    /// Requests that were completed by the driver.
    pub returned: u64,
    /// Requests that were cancelled while they waited.
    pub cancelled: u64,
}

/// What a callback of the queue is to be called for.
pub(super) enum Work {
    /// A request.
    Give(Irp),
    /// Somebody cancels what the driver has.
    Cancel(Arc<Packet>),
    /// A manual queue is not empty any more.
    Ready,
}

impl Work {
    /// The callback.
    pub fn name(&self) -> &'static str {
        match self {
            Work::Give(irp) => match irp.kind {
                RequestKind::Read => "evt_io_read",
                RequestKind::Write => "evt_io_write",
                RequestKind::Control => "evt_io_device_control",
            },
            Work::Cancel(_) => "evt_cancel",
            Work::Ready => "evt_io_ready",
        }
    }
}

pub(super) struct State<D: Device> {
    dispatching: Dispatching,
    /// By number, which is their order.
    waiting: BTreeMap<usize, Irp>,
    /// The next number for the end; numbers for the head are taken downwards from the first.
    next: usize,
    /// The driver has these.
    given: Vec<Arc<Packet>>,
    /// Cancelled ones of `given` that the driver has not been told of.
    cancels: Vec<Arc<Packet>>,
    /// A manual queue is to tell that it is not empty.
    ready: bool,
    /// Neither drained nor purged.
    pub accepting: bool,
    /// Not stopped.
    pub delivering: bool,
    /// The device works, or the queue does not mind.
    pub powered: bool,
    /// The driver was asked to give back what it has, for this run.
    pub purged: bool,
    /// For good.
    pub closed: bool,
    /// From prepared to released hardware.
    pub device: Option<Arc<DeviceObject<D>>>,
    /// Requests given out since a thread began to give out some.
    pub in_a_row: u32,
    /// Who is at delivering, or in a callback.
    inside: Vec<ThreadId>,
    /// Those who wait for a change.
    pub watchers: Vec<Arc<Event>>,
    returned: u64,
    cancelled: u64,
}

impl<D: Device> State<D> {
    pub fn new(dispatching: Dispatching) -> Self {
        State {
            dispatching,
            waiting: BTreeMap::new(),
            next: usize::MAX / 2,
            given: Vec::new(),
            cancels: Vec::new(),
            ready: false,
            accepting: true,
            delivering: true,
            powered: false,
            purged: false,
            closed: false,
            device: None,
            in_a_row: 0,
            inside: Vec::new(),
            watchers: Vec::new(),
            returned: 0,
            cancelled: 0,
        }
    }

    pub fn info(&self) -> QueueInfo {
        QueueInfo {
            dispatching: self.dispatching,
            waiting: self.waiting.len(),
            given: self.given.len(),
            accepts: self.accepting && !self.closed,
            delivers: self.delivering && self.powered,
            returned: self.returned,
            cancelled: self.cancelled,
        }
    }

    pub fn is_manual(&self) -> bool {
        self.dispatching == Dispatching::Manual
    }

    pub fn delivers(&self) -> bool {
        self.delivering && self.powered
    }

    /// Puts a request at the end.
    pub fn push(&mut self, irp: Irp) {
        self.ready |= self.waiting.is_empty();
        self.insert(self.next, irp);
        self.next += 1;
    }

    /// Puts a request at the head.
    pub fn push_front(&mut self, irp: Irp) {
        let number = self.waiting.first_key_value().map_or(self.next, |(first, _)| *first) - 1;
        self.insert(number, irp);
    }

    fn insert(&mut self, number: usize, irp: Irp) {
        irp.packet.set_number(number);
        self.waiting.insert(number, irp);
    }

    /// Takes out the request of `packet`, if it waits here: somebody cancels it.
    pub fn cancel_waiting(&mut self, packet: &Arc<Packet>) -> Option<Irp> {
        let waits = self.waiting.get(&packet.number()).is_some_and(|irp| Arc::ptr_eq(&irp.packet, packet));
        let irp = waits.then(|| self.waiting.remove(&packet.number())).flatten()?;
        self.cancelled += 1;
        Some(irp)
    }

    /// Takes out all that waits.
    pub fn take_waiting(&mut self) -> Vec<Irp> {
        mem::take(&mut self.waiting).into_values().collect()
    }

    /// Takes out the first request, for the driver to have.
    pub fn take_first(&mut self) -> Option<Irp> {
        let (_, irp) = self.waiting.pop_first()?;
        self.give(&irp.packet);
        Some(irp)
    }

    /// The driver has the request of `packet`.
    pub fn give(&mut self, packet: &Arc<Packet>) {
        packet.set_slot(self.given.len());
        self.given.push(packet.clone());
    }

    /// The driver no longer has it. `false`: it did not have it by this queue.
    pub fn let_go(&mut self, packet: &Packet) -> bool {
        let slot = packet.slot();
        if !self.given.get(slot).is_some_and(|given| core::ptr::eq(&**given, packet)) {
            return false;
        }
        self.given.swap_remove(slot);
        if let Some(moved) = self.given.get(slot) {
            moved.set_slot(slot);
        }
        packet.set_kept(false);
        self.cancels.retain(|cancelled| !core::ptr::eq(&**cancelled, packet));
        true
    }

    pub fn count_returned(&mut self) {
        self.returned += 1;
    }

    /// The driver is to be told that its request is cancelled, if it has it by this queue.
    pub fn cancel_given(&mut self, packet: &Arc<Packet>) {
        if self.given.get(packet.slot()).is_some_and(|given| Arc::ptr_eq(given, packet)) {
            self.cancels.push(packet.clone());
        }
    }

    /// Those that the driver has.
    pub fn given(&self) -> &[Arc<Packet>] {
        &self.given
    }

    /// Whether nothing is waiting, and the driver has nothing.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.given.is_empty()
    }

    /// Whether a callback is to be called.
    pub fn has_work(&self) -> bool {
        self.device.is_some() && (!self.cancels.is_empty() || self.gives() || self.tells())
    }

    fn gives(&self) -> bool {
        let most = match self.dispatching {
            Dispatching::Sequential => 1,
            Dispatching::Parallel(most) => most,
            Dispatching::Manual => 0,
        };
        self.delivers() && self.given.len() < most && !self.waiting.is_empty()
    }

    fn tells(&self) -> bool {
        self.delivers() && self.is_manual() && self.ready && !self.waiting.is_empty()
    }

    /// What is next, with the device.
    pub fn next_work(&mut self) -> Option<(Work, Arc<DeviceObject<D>>)> {
        let device = self.device.clone()?;
        let work = if let Some(packet) = self.cancels.pop() {
            Work::Cancel(packet)
        } else if self.gives() {
            self.in_a_row = self.in_a_row.saturating_add(1);
            Work::Give(self.take_first()?)
        } else if self.tells() {
            self.ready = false;
            Work::Ready
        } else {
            return None;
        };
        Some((work, device))
    }

    /// `me` is at delivering.
    pub fn enter(&mut self, me: ThreadId) {
        self.inside.push(me);
    }

    /// It is no longer.
    pub fn leave(&mut self, me: ThreadId) {
        if let Some(place) = self.inside.iter().position(|other| *other == me) {
            self.inside.swap_remove(place);
        }
    }

    pub fn is_inside(&self, me: ThreadId) -> bool {
        self.inside.contains(&me)
    }

    /// Whether no callback of the queue runs.
    pub fn is_quiet(&self) -> bool {
        self.inside.is_empty()
    }
}
