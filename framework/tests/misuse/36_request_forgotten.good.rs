//! A queue callback says what became of its request.
mod common;
use common::*;

pub struct X;

impl EvtIo for X {
    type Device = Dev;
    type Level = Dispatch;

    fn evt_io_read(&self, dev: &Dev, request: Request<Read>, at: &mut At<'_, Dispatch>) -> Disposed {
        request.fail(at, Status::Busy)
    }
}
