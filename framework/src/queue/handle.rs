//! The driver's handle to a queue.

use super::{
    EvtIo, QueueInfo,
    life::end_all,
    object::{AnyQueue, Queue},
    state::State,
};
use crate::{
    AnyRequest, Request, Result, Status,
    request::{Irp, Packet},
};
use alloc::{sync::Arc, vec::Vec};
use core::{any::type_name, fmt};
use ke::{At, AtMost, Dispatch, MayWait};

/// An I/O queue of a device (WDFQUEUE). The framework owns the object; this is the driver's handle.
pub struct IoQueue<H: EvtIo>(pub(super) Arc<Queue<H>>);

/// A request that a queue did not take, and why.
#[must_use = "the request is still to be disposed of"]
pub struct Refusal<K> {
    /// The request.
    pub request: Request<K>,
    /// Why.
    pub why: Status,
}

impl<K> Refusal<K> {
    pub(crate) fn of((irp, why): (Irp, Status)) -> Self {
        Refusal { request: Request::of(irp), why }
    }
}

impl<K> fmt::Debug for Refusal<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<H: EvtIo> IoQueue<H> {
    /// The handler.
    pub fn handler(&self) -> &H {
        &self.0.handler
    }

    /// WdfIoQueueGetState. IRQL <= DISPATCH.
    pub fn info<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> QueueInfo {
        self.0.with(at, |state| state.info())
    }

    /// WdfIoQueueRetrieveNextRequest: the next request of a manual queue, or of one that is stopped. IRQL <= DISPATCH.
    pub fn retrieve<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> Option<AnyRequest> {
        let mut irp = self.0.change(at, State::take_first)?;
        irp.given_by = Some(self.0.this());
        Some(AnyRequest::of(irp))
    }

    /// WdfIoQueueStart: takes new requests, and gives them out. IRQL <= DISPATCH.
    pub fn start<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) {
        self.0.change(at, |state| (state.accepting, state.delivering) = (true, true));
        self.0.kick(&mut at.up_to_dispatch());
    }

    /// WdfIoQueueStop: takes new requests, and gives out none. IRQL <= DISPATCH.
    pub fn stop<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) {
        self.0.change(at, |state| state.delivering = false);
    }

    /// WdfIoQueueStopSynchronously: waits until the driver has given back what it had. `false`, at once: from a callback of
    /// this queue, which would wait for itself. PASSIVE.
    pub fn stop_and_wait<L: MayWait>(&self, at: &mut At<'_, L>) -> bool {
        self.stop(at);
        self.wait_until(at, |state| state.given().is_empty())
    }

    /// WdfIoQueueDrain: takes no new requests ([`Status::NotAccepting`]), and gives out those that wait. IRQL <= DISPATCH.
    pub fn drain<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) {
        self.0.change(at, |state| state.accepting = false);
    }

    /// WdfIoQueueDrainSynchronously: waits until all have been completed. `false`, at once: from a callback of this queue.
    /// PASSIVE.
    pub fn drain_and_wait<L: MayWait>(&self, at: &mut At<'_, L>) -> bool {
        self.drain(at);
        self.wait_until(at, State::is_empty)
    }

    /// WdfIoQueuePurge: takes no new requests, and cancels those that wait and those that the driver has. IRQL <= DISPATCH.
    pub fn purge<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) {
        let (waiting, given) = self.0.change(at, |state| {
            state.accepting = false;
            (state.take_waiting(), Vec::<Arc<Packet>>::from(state.given()))
        });
        end_all(waiting, &Status::Cancelled, at);
        for packet in given {
            packet.cancel(at);
        }
    }

    /// WdfIoQueuePurgeSynchronously: waits until all have been completed. `false`, at once: from a callback of this queue.
    /// PASSIVE.
    pub fn purge_and_wait<L: MayWait>(&self, at: &mut At<'_, L>) -> bool {
        self.purge(at);
        self.wait_until(at, State::is_empty)
    }

    fn wait_until<L: MayWait>(&self, at: &mut At<'_, L>, is_so: impl Fn(&State<H::Device>) -> bool) -> bool {
        let me = at.thread_id();
        if self.0.with(at, |state| state.is_inside(me)) {
            return false;
        }
        self.0.wait_until(at, None, |state| is_so(state) && state.is_quiet())
    }

    /// Takes a request of another queue, which the driver has.
    pub(crate) fn take_over<L: AtMost<Dispatch>>(&self, mut irp: Irp, at: &mut At<'_, L>) -> Result<(), (Irp, Status)> {
        let at = &mut at.up_to_dispatch();
        let before = irp.given_by.take();
        let packet = irp.packet.clone();
        // First out of the one, then into the other, which may give it out before this returns.
        if let Some(before) = &before {
            before.let_go(&packet, at);
        }
        let taken = self.0.submit(irp, at).map_err(|(mut irp, why)| {
            if let Some(before) = &before {
                before.give_again(&packet, at);
            }
            irp.given_by = before.clone();
            (irp, why)
        });
        if let Some(before) = before {
            before.kick(at);
        }
        taken
    }
}

impl<H: EvtIo> fmt::Debug for IoQueue<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoQueue").field("handler", &type_name::<H>()).finish_non_exhaustive()
    }
}
