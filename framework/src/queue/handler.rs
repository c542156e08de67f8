//! What a driver implements for a queue.

use crate::{
    Cancel, Device, Disposed, Ioctl, Read, Request, Resume, Scope, ScopeLevel, Serialized, Status, Stop, Write,
};
use ke::{At, Level, Passive};

/// The callbacks of a queue. Each that a driver does not write refuses its requests ([`Status::InvalidRequest`]).
///
/// A request callback may overlap others of its queue, unless the queue is sequential and the last request is still the
/// driver's; [`EvtSerializedIo`] never overlaps anything of its scope.
///
/// ```
/// use framework::prelude::*;
/// # struct Clock;
/// # impl Device for Clock {
/// #     const NAME: &'static str = "clock";
/// #     type Driver = ();
/// #     type Added = ();
/// #     fn prepare_hardware(hw: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
/// hw.io_queue(Times).takes(RequestKind::Read).parallel(usize::MAX).create()?;
/// #         Ok(Clock)
/// #     }
/// # }
/// /// Gives the time, in nanoseconds.
/// struct Times;
/// impl EvtIo for Times {
///     type Device = Clock;
///     type Level = Dispatch;
///     fn evt_io_read(&self, _: &Clock, request: Request<Read>, at: &mut At<'_, Dispatch>) -> Disposed {
///         let now = at.now();
///         request.complete(at, &now.to_le_bytes())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` serves no requests",
    note = "implement `EvtIo` for `{Self}`, or `EvtSerializedIo` if its callbacks belong to a scope"
)]
pub trait EvtIo: Sized + Send + Sync + 'static {
    /// The device whose requests this serves.
    type Device: Device;
    /// Where the callbacks run: `Dispatch`, or `Passive`, where they may wait (WDF_EXECUTION_LEVEL).
    type Level: ScopeLevel;

    /// EvtIoRead: the request is the driver's, until it is disposed of.
    fn evt_io_read(&self, dev: &Self::Device, request: Request<Read>, at: &mut At<'_, Self::Level>) -> Disposed {
        let _ = dev;
        request.fail(at, Status::InvalidRequest)
    }

    /// EvtIoWrite: as [`Self::evt_io_read`].
    fn evt_io_write(&self, dev: &Self::Device, request: Request<Write>, at: &mut At<'_, Self::Level>) -> Disposed {
        let _ = dev;
        request.fail(at, Status::InvalidRequest)
    }

    /// EvtIoDeviceControl: as [`Self::evt_io_read`].
    fn evt_io_device_control(
        &self,
        dev: &Self::Device,
        request: Request<Ioctl>,
        at: &mut At<'_, Self::Level>,
    ) -> Disposed {
        let _ = dev;
        request.fail(at, Status::InvalidRequest)
    }

    /// EvtRequestCancel: nobody wants the request any more that `which` names. If the driver has parked it, it takes it from
    /// there ([`Parked::take_if`](crate::Parked::take_if)) and fails it with [`Status::Cancelled`]; if it is further on, it
    /// completes it as usual. A device that goes cancels what its driver still has; to the submitter that is [`Status::Gone`].
    /// Also while the device sleeps, if the driver has kept the request: without a look at its registers.
    fn evt_cancel(&self, dev: &Self::Device, which: &Cancel, at: &mut At<'_, Self::Level>) {
        let _ = (dev, which, at);
    }

    /// EvtIoStop: the device is about to sleep, or to stop for good, and the driver still has the request that `which` names.
    /// It completes it, puts it back, or keeps it ([`Stop::acknowledge`]); the device waits for that, its interrupts still
    /// working. Without this callback it waits until the request is completed. What stops for good is cancelled after this.
    fn evt_io_stop(&self, dev: &Self::Device, which: &Stop, at: &mut At<'_, Self::Level>) {
        let _ = (dev, which, at);
    }

    /// EvtIoResume: the device is back in D0, and the driver has kept the request that `which` names.
    fn evt_io_resume(&self, dev: &Self::Device, which: &Resume, at: &mut At<'_, Self::Level>) {
        let _ = (dev, which, at);
    }

    /// EvtIoQueueState (WdfIoQueueReadyNotify): a manual queue that was empty is not any more.
    fn evt_io_ready(&self, dev: &Self::Device, at: &mut At<'_, Self::Level>) {
        let _ = (dev, at);
    }

    /// EvtObjectCleanup: the queue is about to go. PASSIVE.
    fn evt_cleanup(&self, at: &mut At<'_, Passive>) {
        let _ = at;
    }

    /// Whether the callbacks would wait for a lock that this thread of execution holds.
    #[doc(hidden)]
    fn would_deadlock<L: Level>(&self, dev: &Self::Device, at: &At<'_, L>) -> bool {
        let _ = (dev, at);
        false
    }
}

/// The callbacks of a queue whose requests are served in a scope: [`EvtIo`], with `&mut` to the scope's data, one at a time with
/// all others of the scope (SynchronizationScope). The level is the scope's. A request that is completed inside of the scope
/// does not bring the next one in there: that follows when the scope is left.
#[diagnostic::on_unimplemented(
    message = "`{Self}` serves no requests",
    note = "implement `EvtSerializedIo` for `{Self}`, and `Serialized`, which names its scope"
)]
pub trait EvtSerializedIo: Serialized {
    /// As [`EvtIo::evt_io_read`].
    fn evt_io_read(
        &self,
        dev: &Self::Device,
        data: &mut Self::Data,
        request: Request<Read>,
        at: &mut At<'_, Self::Level>,
    ) -> Disposed {
        let _ = (dev, data);
        request.fail(at, Status::InvalidRequest)
    }

    /// As [`EvtIo::evt_io_write`].
    fn evt_io_write(
        &self,
        dev: &Self::Device,
        data: &mut Self::Data,
        request: Request<Write>,
        at: &mut At<'_, Self::Level>,
    ) -> Disposed {
        let _ = (dev, data);
        request.fail(at, Status::InvalidRequest)
    }

    /// As [`EvtIo::evt_io_device_control`].
    fn evt_io_device_control(
        &self,
        dev: &Self::Device,
        data: &mut Self::Data,
        request: Request<Ioctl>,
        at: &mut At<'_, Self::Level>,
    ) -> Disposed {
        let _ = (dev, data);
        request.fail(at, Status::InvalidRequest)
    }

    /// As [`EvtIo::evt_cancel`].
    fn evt_cancel(&self, dev: &Self::Device, data: &mut Self::Data, which: &Cancel, at: &mut At<'_, Self::Level>) {
        let _ = (dev, data, which, at);
    }

    /// As [`EvtIo::evt_io_stop`].
    fn evt_io_stop(&self, dev: &Self::Device, data: &mut Self::Data, which: &Stop, at: &mut At<'_, Self::Level>) {
        let _ = (dev, data, which, at);
    }

    /// As [`EvtIo::evt_io_resume`].
    fn evt_io_resume(&self, dev: &Self::Device, data: &mut Self::Data, which: &Resume, at: &mut At<'_, Self::Level>) {
        let _ = (dev, data, which, at);
    }

    /// As [`EvtIo::evt_io_ready`].
    fn evt_io_ready(&self, dev: &Self::Device, data: &mut Self::Data, at: &mut At<'_, Self::Level>) {
        let _ = (dev, data, at);
    }

    /// As [`EvtIo::evt_cleanup`].
    fn evt_cleanup(&self, at: &mut At<'_, Passive>) {
        let _ = at;
    }
}

#[diagnostic::do_not_recommend]
impl<H: EvtSerializedIo> EvtIo for H {
    type Device = <H as Serialized>::Device;
    type Level = <H as Serialized>::Level;

    fn evt_io_read(&self, dev: &Self::Device, request: Request<Read>, at: &mut At<'_, Self::Level>) -> Disposed {
        scope_of(self, dev).enter(at, |data, at| EvtSerializedIo::evt_io_read(self, dev, data, request, at))
    }

    fn evt_io_write(&self, dev: &Self::Device, request: Request<Write>, at: &mut At<'_, Self::Level>) -> Disposed {
        scope_of(self, dev).enter(at, |data, at| EvtSerializedIo::evt_io_write(self, dev, data, request, at))
    }

    fn evt_io_device_control(
        &self,
        dev: &Self::Device,
        request: Request<Ioctl>,
        at: &mut At<'_, Self::Level>,
    ) -> Disposed {
        scope_of(self, dev).enter(at, |data, at| EvtSerializedIo::evt_io_device_control(self, dev, data, request, at))
    }

    fn evt_cancel(&self, dev: &Self::Device, which: &Cancel, at: &mut At<'_, Self::Level>) {
        scope_of(self, dev).enter(at, |data, at| EvtSerializedIo::evt_cancel(self, dev, data, which, at));
    }

    fn evt_io_stop(&self, dev: &Self::Device, which: &Stop, at: &mut At<'_, Self::Level>) {
        scope_of(self, dev).enter(at, |data, at| EvtSerializedIo::evt_io_stop(self, dev, data, which, at));
    }

    fn evt_io_resume(&self, dev: &Self::Device, which: &Resume, at: &mut At<'_, Self::Level>) {
        scope_of(self, dev).enter(at, |data, at| EvtSerializedIo::evt_io_resume(self, dev, data, which, at));
    }

    fn evt_io_ready(&self, dev: &Self::Device, at: &mut At<'_, Self::Level>) {
        scope_of(self, dev).enter(at, |data, at| EvtSerializedIo::evt_io_ready(self, dev, data, at));
    }

    fn evt_cleanup(&self, at: &mut At<'_, Passive>) {
        EvtSerializedIo::evt_cleanup(self, at);
    }

    fn would_deadlock<L: Level>(&self, dev: &Self::Device, at: &At<'_, L>) -> bool {
        scope_of(self, dev).is_entered_by_me(at)
    }
}

fn scope_of<'a, H: Serialized>(handler: &'a H, dev: &'a H::Device) -> &'a Scope<H::Data, H::Level> {
    handler.scope(dev)
}
