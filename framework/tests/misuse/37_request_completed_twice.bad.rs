//! A request is completed once.
mod common;
use common::*;

pub struct X;

impl EvtIo for X {
    type Device = Dev;
    type Level = Dispatch;

    fn evt_io_read(&self, dev: &Dev, request: Request<Read>, at: &mut At<'_, Dispatch>) -> Disposed {
        let done = request.complete(at, b"");
        let _done = request.fail(at, Status::Busy);
        done
    }
}
