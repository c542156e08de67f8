//! The way in from outside: a device opened by name, and what is asked of it (WDFIOTARGET, a handle of CreateFile).
//!
//! A request owns its buffers, so whoever gives up waiting leaves nothing behind that a device could still write to: the
//! request is cancelled, and what still becomes of it nobody sees.

use crate::{
    Completion, RequestKind, Result, Status,
    node::AnyNode,
    request::{Irp, Packet},
};
use alloc::{sync::Arc, vec, vec::Vec};
use core::fmt;
use ke::{At, AtMost, Dispatch, Gone, MayWait, WaitError};

/// A device that was opened by its name ([`Pnp::open`](crate::Pnp::open)). Keeping it keeps nothing alive: when the device is
/// stopped or removed, its requests fail.
///
/// ```
/// use framework::{File, prelude::*};
/// /// At most a second for a line.
/// fn line(port: &File, at: &mut At<'_, Passive>) -> Result<Vec<u8>> {
///     let mut line = vec![0; 80];
///     let n = port.with_timeout(1_000_000_000).read(at, &mut line)?;
///     line.truncate(n);
///     Ok(line)
/// }
/// ```
#[derive(Clone)]
pub struct File {
    node: Arc<dyn AnyNode>,
    timeout: Option<u64>,
}

impl File {
    pub(crate) fn new(node: Arc<dyn AnyNode>) -> Self {
        File { node, timeout: None }
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        self.node.name()
    }

    /// The same, with a time-out of `nanoseconds` for each request that is waited for.
    pub fn with_timeout(&self, nanoseconds: u64) -> Self {
        File { node: self.node.clone(), timeout: Some(nanoseconds) }
    }

    /// Reads into `into`, as much as the driver gives; how much that was (ZwReadFile). PASSIVE.
    #[track_caller]
    pub fn read<L: MayWait>(&self, at: &mut At<'_, L>, into: &mut [u8]) -> Result<usize> {
        let pending = self.submit_read(at, into.len());
        copy_out(self.finish(pending, at)?, into)
    }

    /// Writes `data`; how much of it was written (ZwWriteFile). PASSIVE.
    #[track_caller]
    pub fn write<L: MayWait>(&self, at: &mut At<'_, L>, data: &[u8]) -> Result<usize> {
        let pending = self.submit_write(at, data);
        self.finish(pending, at)?.result
    }

    /// Asks for what the driver knows by `code`; how much it put into `output` (ZwDeviceIoControlFile). PASSIVE.
    #[track_caller]
    pub fn control<L: MayWait>(&self, at: &mut At<'_, L>, code: u32, input: &[u8], output: &mut [u8]) -> Result<usize> {
        let pending = self.submit_control(at, code, input, output.len());
        copy_out(self.finish(pending, at)?, output)
    }

    /// Submits a read of up to `len` bytes (WdfIoTargetSendReadSynchronously without the wait). IRQL <= DISPATCH; what is wrong is
    /// in the completion.
    #[track_caller]
    pub fn submit_read<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>, len: usize) -> Pending {
        self.submit(RequestKind::Read, 0, &[], len, at)
    }

    /// Submits a write of `data`. As [`Self::submit_read`].
    #[track_caller]
    pub fn submit_write<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>, data: &[u8]) -> Pending {
        self.submit(RequestKind::Write, 0, data, 0, at)
    }

    /// Submits a device control request with room for `output_len` bytes. As [`Self::submit_read`].
    #[track_caller]
    pub fn submit_control<L: AtMost<Dispatch>>(
        &self,
        at: &mut At<'_, L>,
        code: u32,
        input: &[u8],
        output_len: usize,
    ) -> Pending {
        self.submit(RequestKind::Control, code, input, output_len, at)
    }

    fn submit<L: AtMost<Dispatch>>(
        &self,
        kind: RequestKind,
        code: u32,
        input: &[u8],
        output_len: usize,
        at: &mut At<'_, L>,
    ) -> Pending {
        let packet = Packet::new();
        let input = Vec::from(input);
        let irp = Irp { kind, code, input, output: vec![0; output_len], packet: packet.clone(), given_by: None };
        let refused = match at.at_dispatch(|at| self.node.queue_for(kind, at)) {
            Ok(queue) => queue.submit(irp, &mut at.up_to_dispatch()).err(),
            Err(status) => Some((irp, status)),
        };
        if let Some((irp, status)) = refused {
            irp.finish(Err(status), at);
        }
        Pending { packet }
    }

    fn finish<L: MayWait>(&self, pending: Pending, at: &mut At<'_, L>) -> Result<Completion> {
        let waited = match self.timeout {
            Some(timeout) => pending.wait_timeout(at, timeout),
            None => pending.wait(at).map_err(Into::into),
        };
        if waited.is_err() {
            pending.cancel(at);
        }
        match (pending.take(at), waited) {
            // Cancelled because it took too long is too long; completed after all is completed.
            (Some(Completion { result: Err(Status::Cancelled), .. }) | None, Err(why)) => Err(why.into()),
            (Some(completion), _) => Ok(completion),
            (None, Ok(())) => Err(Status::Abandoned),
        }
    }
}

fn copy_out(completion: Completion, into: &mut [u8]) -> Result<usize> {
    let n = completion.result?;
    into[..n].copy_from_slice(&completion.data);
    Ok(n)
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.name()).finish()
    }
}

/// A request that was submitted. Dropping it leaves the request to itself.
#[derive(Debug)]
pub struct Pending {
    packet: Arc<Packet>,
}

impl Pending {
    /// Waits until the request is completed. PASSIVE. `Err`: the thread uses a device that was stopped or removed meanwhile, and
    /// the request is still under way.
    #[track_caller]
    pub fn wait<L: MayWait>(&self, at: &mut At<'_, L>) -> Result<(), Gone> {
        self.packet.done.wait(at)
    }

    /// The same, for `timeout` nanoseconds at most.
    #[track_caller]
    pub fn wait_timeout<L: MayWait>(&self, at: &mut At<'_, L>, timeout: u64) -> Result<(), WaitError> {
        self.packet.done.wait_timeout(at, timeout)
    }

    /// Nobody wants it any more (WdfRequestCancelSentRequest, IoCancelIrp): one that waits is completed as
    /// [`Status::Cancelled`] at once, one that the driver has when the driver gives it up. It may still succeed. IRQL <=
    /// DISPATCH. `false`: it was cancelled before.
    #[track_caller]
    pub fn cancel<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> bool {
        self.packet.cancel(at)
    }

    /// What became of it: `None` while it is under way, and once it was taken. IRQL <= DISPATCH.
    pub fn take<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> Option<Completion> {
        self.packet.take_outcome(at)
    }
}
