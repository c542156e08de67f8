//! A request as a driver owns it.

use super::{
    kinds::{Ioctl, Read, RequestKind, Write},
    packet::{Completion, Packet},
};
use crate::{
    EvtIo, IoQueue, Result, Status,
    queue::{AnyQueue, Refusal},
};
use alloc::{sync::Arc, vec::Vec};
use core::{fmt, marker::PhantomData, mem};
use ke::{At, AtMost, Dispatch};

/// Proof that a request was disposed of: completed, parked, forwarded or put back. A queue callback must return one, so no
/// path through it can forget its request.
#[derive(Debug)]
#[must_use = "a queue callback returns it: it says that the request was not forgotten"]
pub struct Disposed(pub(super) ());

/// A request with its buffers, whoever owns it: a queue, or the driver.
pub(crate) struct Irp {
    pub kind: RequestKind,
    pub code: u32,
    pub input: Vec<u8>,
    /// As long as the submitter has room.
    pub output: Vec<u8>,
    pub packet: Arc<Packet>,
    /// The queue that gave it to the driver; `None` while no driver has it.
    pub given_by: Option<Arc<dyn AnyQueue>>,
}

impl Irp {
    /// Ends it. Its queue gives out the next one.
    pub fn finish<L: AtMost<Dispatch>>(mut self, result: Result<usize>, at: &mut At<'_, L>) {
        let data = mem::take(&mut self.output);
        let queue = self.given_by.take();
        self.packet.finish(Completion::of(result, data), at);
        if let Some(queue) = queue {
            queue.returned(&self.packet, &mut at.up_to_dispatch());
        }
    }
}

impl Drop for Irp {
    /// Any IRQL. Dropped by a driver it is completed below DISPATCH, by its queue.
    fn drop(&mut self) {
        if let Some(queue) = self.given_by.take() {
            self.packet.abandon();
            queue.rescue();
        }
    }
}

/// A request in the hands of a driver: `K` is [`Read`], [`Write`] or [`Ioctl`].
///
/// ```
/// use framework::prelude::*;
/// /// Answers at once. Any callback at or below DISPATCH may.
/// fn answer<L: AtMost<Dispatch>>(request: Request<Read>, at: &mut At<'_, L>) -> Disposed {
///     if request.is_empty() {
///         return request.fail(at, Status::InvalidRequest);
///     }
///     request.complete(at, b"4")
/// }
/// ```
#[must_use = "a request that is dropped is completed as abandoned"]
pub struct Request<K> {
    irp: Irp,
    _kind: PhantomData<fn() -> K>,
}

impl<K> Request<K> {
    pub(crate) fn of(irp: Irp) -> Self {
        Request { irp, _kind: PhantomData }
    }

    pub(crate) fn packet(&self) -> &Arc<Packet> {
        &self.irp.packet
    }

    /// WdfRequestComplete with an error. IRQL <= DISPATCH.
    pub fn fail<L: AtMost<Dispatch>>(self, at: &mut At<'_, L>, why: Status) -> Disposed {
        self.end(Err(why), at)
    }

    /// WdfRequestIsCanceled: the submitter no longer wants it. Any IRQL.
    pub fn is_cancelled(&self) -> bool {
        self.irp.packet.is_cancelled()
    }

    /// WdfRequestForwardToIoQueue: to the end of another queue of the same device. IRQL <= DISPATCH. `Err`: that queue takes
    /// none now, and the request is still the driver's.
    pub fn forward<H: EvtIo, L: AtMost<Dispatch>>(
        self,
        queue: &IoQueue<H>,
        at: &mut At<'_, L>,
    ) -> Result<Disposed, Refusal<K>> {
        queue.take_over(self.irp, at).map(|()| Disposed(())).map_err(Refusal::of)
    }

    /// WdfRequestRequeue: back to the head of the queue that gave it. IRQL <= DISPATCH. Of a queue that would give it out again
    /// at once it is refused: only a manual queue, or one that does not deliver now, takes requests back.
    pub fn requeue<L: AtMost<Dispatch>>(mut self, at: &mut At<'_, L>) -> Result<Disposed, Refusal<K>> {
        let queue = self.irp.given_by.take().expect("a driver has no request but by a queue, which the request knows");
        queue.take_back(self.irp, &mut at.up_to_dispatch()).map(|()| Disposed(())).map_err(Refusal::of)
    }

    fn end<L: AtMost<Dispatch>>(self, result: Result<usize>, at: &mut At<'_, L>) -> Disposed {
        self.irp.finish(result, at);
        Disposed(())
    }

    /// Completes it with the first `n` bytes of the output.
    fn end_with_output<L: AtMost<Dispatch>>(self, n: usize, at: &mut At<'_, L>) -> Disposed {
        let have = self.irp.output.len();
        self.end(if n > have { Err(Status::BufferTooSmall { need: n, have }) } else { Ok(n) }, at)
    }

    /// Completes it with `data`.
    fn end_with_data<L: AtMost<Dispatch>>(mut self, data: &[u8], at: &mut At<'_, L>) -> Disposed {
        if let Some(room) = self.irp.output.get_mut(..data.len()) {
            room.copy_from_slice(data);
        }
        self.end_with_output(data.len(), at)
    }
}

impl Request<Read> {
    /// How many bytes the submitter has room for (WdfRequestGetParameters).
    pub fn len(&self) -> usize {
        self.irp.output.len()
    }

    /// Whether it has room for none.
    pub fn is_empty(&self) -> bool {
        self.irp.output.is_empty()
    }

    /// The submitter's room, zeroed (WdfRequestRetrieveOutputBuffer): to be filled, then [`Self::complete_filled`].
    pub fn buffer(&mut self) -> &mut [u8] {
        &mut self.irp.output
    }

    /// Completes it with `data`; with more than there is room for, it fails (STATUS_BUFFER_TOO_SMALL). IRQL <= DISPATCH.
    pub fn complete<L: AtMost<Dispatch>>(self, at: &mut At<'_, L>, data: &[u8]) -> Disposed {
        self.end_with_data(data, at)
    }

    /// WdfRequestCompleteWithInformation: completes it with the first `n` bytes of [`Self::buffer`]. IRQL <= DISPATCH.
    pub fn complete_filled<L: AtMost<Dispatch>>(self, at: &mut At<'_, L>, n: usize) -> Disposed {
        self.end_with_output(n, at)
    }
}

impl Request<Write> {
    /// What is to be written (WdfRequestRetrieveInputBuffer).
    pub fn data(&self) -> &[u8] {
        &self.irp.input
    }

    /// Completes it: `written` bytes were. IRQL <= DISPATCH.
    pub fn complete<L: AtMost<Dispatch>>(self, at: &mut At<'_, L>, written: usize) -> Disposed {
        self.end(Ok(written), at)
    }
}

impl Request<Ioctl> {
    /// What the driver is asked for: its own number (WdfRequestGetParameters).
    pub fn code(&self) -> u32 {
        self.irp.code
    }

    /// What comes with it (WdfRequestRetrieveInputBuffer).
    pub fn input(&self) -> &[u8] {
        &self.irp.input
    }

    /// How many bytes the submitter has room for.
    pub fn output_len(&self) -> usize {
        self.irp.output.len()
    }

    /// The submitter's room, zeroed (WdfRequestRetrieveOutputBuffer): to be filled, then [`Self::complete_filled`].
    pub fn buffer(&mut self) -> &mut [u8] {
        &mut self.irp.output
    }

    /// Completes it with `output`; with more than there is room for, it fails (STATUS_BUFFER_TOO_SMALL). IRQL <= DISPATCH.
    pub fn complete<L: AtMost<Dispatch>>(self, at: &mut At<'_, L>, output: &[u8]) -> Disposed {
        self.end_with_data(output, at)
    }

    /// WdfRequestCompleteWithInformation: completes it with the first `n` bytes of [`Self::buffer`]. IRQL <= DISPATCH.
    pub fn complete_filled<L: AtMost<Dispatch>>(self, at: &mut At<'_, L>, n: usize) -> Disposed {
        self.end_with_output(n, at)
    }
}

impl<K> fmt::Debug for Request<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("kind", &self.irp.kind)
            .field("packet", &self.irp.packet)
            .finish_non_exhaustive()
    }
}
