//! A read has no control code.
mod common;
use common::*;

pub struct X;

impl EvtIo for X {
    type Device = Dev;
    type Level = Dispatch;

    fn evt_io_read(&self, dev: &Dev, request: Request<Read>, at: &mut At<'_, Dispatch>) -> Disposed {
        let _ = request.code(); request.complete(at, b"")
    }
}
