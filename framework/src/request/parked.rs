//! Requests that wait in a driver for its device, and how they are found again.
//!
//! A [`Parked`] is a place in the data that a scope or a lock guards. The callbacks that ask for a request back
//! ([`EvtIo::evt_cancel`](crate::EvtIo::evt_cancel), `evt_io_stop`) find it there under the same lock. So there is no "mark
//! cancelable" and no "unmark", and their race cannot be written (WdfRequestMarkCancelable).

use super::{
    irp::{Disposed, Request},
    packet::Packet,
};
use alloc::sync::Arc;
use core::{fmt, panic::Location};

/// A place for one request that waits for the device.
///
/// ```
/// use framework::prelude::*;
/// # struct Port { desk: Scope<Desk> }
/// # impl Device for Port {
/// #     const NAME: &'static str = "port";
/// #     type Driver = ();
/// #     type Added = ();
/// #     fn prepare_hardware(hw: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
/// #         hw.io_queue(Reads).takes(RequestKind::Read).create()?;
/// #         Ok(Port { desk: Scope::new(Desk { reader: Parked::new() }) })
/// #     }
/// # }
/// # struct Reads;
/// # impl Serialized for Reads {
/// #     type Device = Port;
/// #     type Data = Desk;
/// #     type Level = Dispatch;
/// #     fn scope<'a>(&'a self, port: &'a Port) -> &'a Scope<Desk> {
/// #         &port.desk
/// #     }
/// # }
/// /// What the scope guards.
/// struct Desk {
///     reader: Parked<Read>,
/// }
/// impl EvtSerializedIo for Reads {
///     fn evt_io_read(&self, _: &Port, desk: &mut Desk, request: Request<Read>, at: &mut At<'_, Dispatch>) -> Disposed {
///         desk.reader.park(request).unwrap_or_else(|cancelled| cancelled.fail(at, Status::Cancelled))
///     }
///     fn evt_cancel(&self, _: &Port, desk: &mut Desk, which: &Cancel, at: &mut At<'_, Dispatch>) {
///         if let Some(request) = desk.reader.take_if(which) {
///             let _done = request.fail(at, Status::Cancelled);
///         }
///     }
/// }
/// ```
pub struct Parked<K>(Option<Request<K>>);

impl<K> Parked<K> {
    /// An empty place.
    pub const fn new() -> Self {
        Parked(None)
    }

    /// Puts `request` here (WdfRequestMarkCancelableEx): from now on a cancellation finds it. `Err` gives it back: there is one
    /// here already, or it has been cancelled, and whoever has it now fails it.
    #[track_caller]
    pub fn park(&mut self, request: Request<K>) -> Result<Disposed, Request<K>> {
        if self.0.is_some() || request.is_cancelled() {
            return Err(request);
        }
        request.packet().parked.set(Location::caller());
        self.0 = Some(request);
        Ok(Disposed(()))
    }

    /// Takes out what is here (WdfRequestUnmarkCancelable).
    pub fn take(&mut self) -> Option<Request<K>> {
        self.0.take()
    }

    /// Takes out what is here, if it is the request that `which` names.
    pub fn take_if(&mut self, which: &impl Which) -> Option<Request<K>> {
        self.0.take_if(|request| Arc::ptr_eq(request.packet(), which.packet()))
    }

    /// What is here.
    pub fn get(&self) -> Option<&Request<K>> {
        self.0.as_ref()
    }

    /// What is here, to be filled.
    pub fn get_mut(&mut self) -> Option<&mut Request<K>> {
        self.0.as_mut()
    }

    /// Whether nothing is here.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl<K> Default for Parked<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> fmt::Debug for Parked<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Parked").field(&self.0).finish()
    }
}

mod sealed {
    use super::{Arc, Packet};
    pub trait Names {
        fn packet(&self) -> &Arc<Packet>;
    }
}

/// What names a request that a driver has somewhere: [`Cancel`], [`Stop`], [`Resume`].
pub trait Which: sealed::Names {}

macro_rules! names {
    ($($name:ident)*) => {$(
        impl sealed::Names for $name {
            fn packet(&self) -> &Arc<Packet> {
                &self.packet
            }
        }
        impl Which for $name {}
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.packet).finish()
            }
        }
    )*};
}
names!(Cancel Stop Resume);

/// Which request is to be cancelled (EvtRequestCancel).
pub struct Cancel {
    pub(crate) packet: Arc<Packet>,
}

/// Which request the driver still has while its device is about to stop working (EvtIoStop).
pub struct Stop {
    pub(crate) packet: Arc<Packet>,
    pub(crate) action: StopAction,
}

/// Why a request is to be stopped (WDF_REQUEST_STOP_ACTION_FLAGS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopAction {
    /// The device is about to sleep (WdfRequestStopActionSuspend).
    Suspend,
    /// It stops for good, or is gone (WdfRequestStopActionPurge).
    Purge,
}

impl Stop {
    /// Why.
    pub fn action(&self) -> StopAction {
        self.action
    }

    /// WdfRequestStopAcknowledge: the driver keeps the request while the device sleeps, and goes on with it in `evt_io_resume`.
    /// When the device stops for good that does not help: the request has to be completed.
    pub fn acknowledge(&self) {
        self.packet.set_kept(self.action == StopAction::Suspend);
    }
}

/// Which request the driver has kept while its device slept (EvtIoResume).
pub struct Resume {
    pub(crate) packet: Arc<Packet>,
}
