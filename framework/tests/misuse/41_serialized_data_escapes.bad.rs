//! A scope's data stays in the scope.
mod common;
use common::*;

pub struct X;

impl Serialized for X {
    type Device = Dev;
    type Data = u32;
    type Level = Dispatch;

    fn scope<'a>(&'a self, dev: &'a Dev) -> &'a Scope<u32> {
        &dev.scope
    }
}

impl EvtSerializedIo for X {
    fn evt_io_read(&self, _: &Dev, data: &mut u32, request: Request<Read>, at: &mut At<'_, Dispatch>) -> Disposed {
        let _kept: &'static mut u32 = data;
        request.fail(at, Status::Busy)
    }
}
