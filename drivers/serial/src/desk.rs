//! The requests that wait for bytes, or for room, and how they are served. Everything here is in the device's scope.

use crate::{Serial, Wired};
use framework::prelude::*;

/// What the scope guards.
#[derive(Default)]
pub struct Desk {
    reader: Parked<Read>,
    writer: Parked<Write>,
    /// Bytes of the write that are on their way.
    queued: usize,
}

impl Desk {
    /// Serves both as far as it goes now. What is left the ISR's next news will bring on.
    pub(crate) fn serve(&mut self, serial: &Serial, at: &mut At<'_, Dispatch>) {
        self.serve_reader(serial, at);
        self.serve_writer(serial, at);
    }

    fn serve_reader(&mut self, serial: &Serial, at: &mut At<'_, Dispatch>) {
        let Some(request) = self.reader.get_mut() else { return };
        let n = serial.port.synchronize(at, |traffic, _| traffic.read(request.buffer()));
        if (n > 0 || request.is_empty())
            && let Some(request) = self.reader.take()
        {
            let _done = request.complete_filled(at, n);
        }
    }

    fn serve_writer(&mut self, serial: &Serial, at: &mut At<'_, Dispatch>) {
        let Some(data) = self.writer.get().map(Request::data) else { return };
        let left = &data[self.queued..];
        let (n, is_sent) = serial.port.synchronize(at, |traffic, at| {
            let n = traffic.write(&mut Wired { ports: &serial.ports, at }, left);
            (n, traffic.is_sent())
        });
        let is_done = n == left.len() && is_sent;
        self.queued += n;
        if is_done && let Some(request) = self.writer.take() {
            let _done = request.complete(at, self.queued);
        }
    }
}

/// The queue of those who read: one after another.
pub struct Reads;

impl Serialized for Reads {
    type Device = Serial;
    type Data = Desk;
    type Level = Dispatch;

    fn scope<'a>(&'a self, serial: &'a Serial) -> &'a Scope<Desk> {
        &serial.scope
    }
}

impl EvtSerializedIo for Reads {
    fn evt_io_read(
        &self,
        serial: &Serial,
        desk: &mut Desk,
        request: Request<Read>,
        at: &mut At<'_, Dispatch>,
    ) -> Disposed {
        match desk.reader.park(request) {
            Ok(parked) => {
                desk.serve_reader(serial, at);
                parked
            }
            Err(cancelled) => cancelled.fail(at, Status::Cancelled),
        }
    }

    fn evt_cancel(&self, _: &Serial, desk: &mut Desk, which: &Cancel, at: &mut At<'_, Dispatch>) {
        if let Some(request) = desk.reader.take_if(which) {
            let _done = request.fail(at, Status::Cancelled);
        }
    }

    /// Who waits for bytes waits for them after the sleep, too.
    fn evt_io_stop(&self, _: &Serial, _: &mut Desk, which: &Stop, _: &mut At<'_, Dispatch>) {
        which.acknowledge();
    }
}

/// The queue of those who write: one text is sent after another.
pub struct Writes;

impl Serialized for Writes {
    type Device = Serial;
    type Data = Desk;
    type Level = Dispatch;

    fn scope<'a>(&'a self, serial: &'a Serial) -> &'a Scope<Desk> {
        &serial.scope
    }
}

impl EvtSerializedIo for Writes {
    fn evt_io_write(
        &self,
        serial: &Serial,
        desk: &mut Desk,
        request: Request<Write>,
        at: &mut At<'_, Dispatch>,
    ) -> Disposed {
        match desk.writer.park(request) {
            Ok(parked) => {
                desk.queued = 0;
                desk.serve_writer(serial, at);
                parked
            }
            Err(cancelled) => cancelled.fail(at, Status::Cancelled),
        }
    }

    /// What is on its way is sent all the same.
    fn evt_cancel(&self, _: &Serial, desk: &mut Desk, which: &Cancel, at: &mut At<'_, Dispatch>) {
        if let Some(request) = desk.writer.take_if(which) {
            let _done = request.fail(at, Status::Cancelled);
        }
    }
}
