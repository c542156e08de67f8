//! The work queue: one request at a time, in the device's scope, and the timer that watches over it.

use crate::{
    Edu,
    control::code,
    desk::{Desk, Job, fits},
};
use framework::prelude::*;

/// The queue of what takes the device time: sequential, in the device's scope.
pub struct EduWork;

impl Serialized for EduWork {
    type Device = Edu;
    type Data = Desk;
    type Level = Dispatch;

    fn scope<'a>(&'a self, edu: &'a Edu) -> &'a Scope<Desk> {
        &edu.scope
    }
}

impl EvtSerializedIo for EduWork {
    /// Up to [`USABLE_BUFFER`](crate::USABLE_BUFFER) bytes from the beginning of the device's buffer.
    fn evt_io_read(&self, edu: &Edu, desk: &mut Desk, request: Request<Read>, at: &mut At<'_, Dispatch>) -> Disposed {
        if !fits(request.len()) {
            return request.fail(at, Status::InvalidRequest);
        }
        match desk.read.park(request) {
            Ok(parked) => desk.take_up(edu, at, Job::Fetch { done: 0 }, parked),
            Err(cancelled) => cancelled.fail(at, Status::Cancelled),
        }
    }

    /// Up to [`USABLE_BUFFER`](crate::USABLE_BUFFER) bytes to the beginning of the device's buffer.
    fn evt_io_write(&self, edu: &Edu, desk: &mut Desk, request: Request<Write>, at: &mut At<'_, Dispatch>) -> Disposed {
        if !fits(request.data().len()) {
            return request.fail(at, Status::InvalidRequest);
        }
        match desk.write.park(request) {
            Ok(parked) => desk.take_up(edu, at, Job::Send { done: 0 }, parked),
            Err(cancelled) => cancelled.fail(at, Status::Cancelled),
        }
    }

    /// What the control queue forwards.
    fn evt_io_device_control(
        &self,
        edu: &Edu,
        desk: &mut Desk,
        request: Request<Ioctl>,
        at: &mut At<'_, Dispatch>,
    ) -> Disposed {
        let argument = request.input().try_into().map(u32::from_le_bytes);
        let job = match (request.code(), argument) {
            (code::FACTORIAL, Ok(n)) => Job::Factorial(n),
            (code::RAISE, Ok(bits)) if bits != 0 && bits & !crate::RAISED == 0 => Job::Raise(bits),
            _ => return request.fail(at, Status::InvalidRequest),
        };
        match desk.control.park(request) {
            Ok(parked) => desk.take_up(edu, at, job, parked),
            Err(cancelled) => cancelled.fail(at, Status::Cancelled),
        }
    }

    /// The device cannot be called back: it goes on, and what it says then is nobody's.
    fn evt_cancel(&self, edu: &Edu, desk: &mut Desk, which: &Cancel, at: &mut At<'_, Dispatch>) {
        if let Some(request) = desk.read.take_if(which) {
            let _done = request.fail(at, Status::Cancelled);
        } else if let Some(request) = desk.write.take_if(which) {
            let _done = request.fail(at, Status::Cancelled);
        } else if let Some(request) = desk.control.take_if(which) {
            let _done = request.fail(at, Status::Cancelled);
        } else {
            return;
        }
        desk.put_down(edu, at);
    }
}

/// The timer that expires when the device has not answered in time.
pub struct Watch;

impl Serialized for Watch {
    type Device = Edu;
    type Data = Desk;
    type Level = Dispatch;

    fn scope<'a>(&'a self, edu: &'a Edu) -> &'a Scope<Desk> {
        &edu.scope
    }
}

impl EvtSerializedTimerFunc for Watch {
    fn evt_timer_func(&self, edu: &Edu, desk: &mut Desk, at: &mut At<'_, Dispatch>) {
        let why = if crate::is_alive(&edu.regs, at) { Status::TimedOut } else { Status::Gone };
        desk.fail(edu, at, why);
    }
}
