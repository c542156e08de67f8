//! A queue of no scope has no data of one.
mod common;
use common::*;

pub struct X;

impl EvtIo for X {
    type Device = Dev;
    type Level = Dispatch;

    fn evt_io_read(&self, dev: &Dev, request: Request<Read>, at: &mut At<'_, Dispatch>) -> Disposed {
        *data += 1;
        request.fail(at, Status::Busy)
    }
}
