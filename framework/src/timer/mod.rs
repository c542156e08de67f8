//! Timer objects: callbacks at their time, at DISPATCH or at PASSIVE.
//!
//! **Invariant:** nothing arms a timer while somebody waits for its stop: starting and the beginning of that wait take turns under
//! a lock, so what was armed before is cancelled, and what would be armed after is refused.

mod builder;
mod engine;
mod handler;

pub use builder::{CanRepeat, TimerBuilder};
pub(crate) use engine::{DpcTimer, Engine, Expire, WorkItemTimer};
pub use handler::{EvtSerializedTimerFunc, EvtTimerFunc};

use crate::{
    ScopeLevel,
    attachment::Attached,
    device::{AnyObject, DeviceObject},
    object::Cleanup,
};
use alloc::sync::Arc;
use core::{any::type_name, fmt};
use ke::{At, AtMost, Dispatch, MayWait, Passive, SpinLock, TimerConfig};

/// A timer of a device (WDFTIMER). The framework owns the object; this is the driver's handle.
///
/// ```
/// use framework::prelude::*;
/// # struct Disk { patience: Timer<TimeOut> }
/// # impl Device for Disk {
/// #     const NAME: &'static str = "disk";
/// #     type Driver = ();
/// #     type Added = ();
/// #     fn prepare_hardware(hw: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
/// Ok(Disk { patience: hw.timer(TimeOut).tolerable_delay(1_000_000).create() })
/// #     }
/// # }
/// struct TimeOut;
/// impl EvtTimerFunc for TimeOut {
///     type Device = Disk;
///     type Level = Dispatch;
///     fn evt_timer_func(&self, disk: &Disk, at: &mut At<'_, Dispatch>) {
///         disk.patience.start(at, 10_000_000);
///     }
/// }
/// ```
pub struct Timer<H: EvtTimerFunc>(Arc<Object<H>>);

/// The object, shared by the framework and the driver's handle.
pub(crate) struct Object<H: EvtTimerFunc> {
    engine: <H::Level as ScopeLevel>::Timer<Attached<H, H::Device>>,
    stops: SpinLock<Stops>,
}

/// Those who wait for the timer to stop.
#[derive(Default)]
struct Stops {
    waiting: u32,
    /// Somebody wanted to start it meanwhile.
    refused: bool,
}

impl<H: EvtTimerFunc> Timer<H> {
    pub(crate) fn new(handler: H, config: TimerConfig) -> Self {
        let engine = Engine::new(Attached::new(handler), config);
        Timer(Arc::new(Object { engine, stops: SpinLock::new(Stops::default()) }))
    }

    pub(crate) fn object(&self) -> Arc<dyn AnyObject<H::Device>> {
        self.0.clone()
    }

    /// The handler.
    pub fn handler(&self) -> &H {
        &self.0.attached().handler
    }

    /// WdfTimerStart: expires in `due` nanoseconds, and from then on in each period. `true`: it was armed already, and starts
    /// anew. Nothing happens, and it is `false`, while somebody waits for it to stop and while the device is not started.
    /// IRQL <= DISPATCH.
    #[track_caller]
    pub fn start<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>, due: u64) -> bool {
        let mut guard = self.0.stops.acquire(at);
        let (stops, at) = guard.parts();
        stops.refused |= stops.waiting > 0;
        stops.waiting == 0 && self.0.attached().is_open() && self.0.engine.start(at, due)
    }

    /// WdfTimerStop without waiting. `true`: it was armed, and does not expire any more; a callback may still be about.
    /// `false`: it is not armed; it may have expired just now. IRQL <= DISPATCH.
    #[track_caller]
    pub fn stop<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> bool {
        self.0.engine.cancel(at)
    }

    /// WdfTimerStop with Wait: when it returns, no callback of the timer runs or will run, until it is started after that. Who
    /// starts it meanwhile, the callback too, starts nothing. `true`: it was armed, or would have been by who started it
    /// meanwhile. From its own callback it is `false` at once. PASSIVE.
    #[track_caller]
    pub fn stop_and_wait<L: MayWait>(&self, at: &mut At<'_, L>) -> bool {
        self.0.stop_and_wait(&mut at.as_passive())
    }
}

impl<H: EvtTimerFunc> Object<H> {
    fn attached(&self) -> &Attached<H, H::Device> {
        self.engine.body()
    }

    #[track_caller]
    fn stop_and_wait(&self, at: &mut At<'_, Passive>) -> bool {
        if self.engine.is_my_callback(at) {
            return false;
        }
        let mut guard = self.stops.acquire(at);
        let (stops, raised) = guard.parts();
        stops.waiting += 1;
        let was_armed = self.engine.cancel(raised);
        drop(guard);
        self.engine.flush(at);
        let mut stops = self.stops.acquire(at);
        stops.waiting -= 1;
        let refused = stops.refused;
        stops.refused &= stops.waiting > 0;
        was_armed || refused
    }
}

impl<H: EvtTimerFunc> Expire<H::Level> for Attached<H, H::Device> {
    #[inline]
    fn expire(&self, at: &mut At<'_, H::Level>) {
        self.run(at, H::evt_timer_func);
    }
}

impl<H: EvtTimerFunc> Cleanup for Object<H> {
    fn cleanup(&self, at: &mut At<'_, Passive>) {
        EvtTimerFunc::evt_cleanup(&self.attached().handler, at);
    }
}

impl<H: EvtTimerFunc> AnyObject<H::Device> for Object<H> {
    fn kind(&self) -> &'static str {
        "Timer"
    }

    fn handler(&self) -> &'static str {
        type_name::<H>()
    }

    fn start(&self, device: &Arc<DeviceObject<H::Device>>, at: &mut At<'_, Passive>) {
        self.engine.follow_verifier(at);
        self.attached().start(device, at);
    }

    fn stop(&self, at: &mut At<'_, Passive>) {
        self.attached().stop(at, |at| _ = self.stop_and_wait(at));
    }
}

impl<H: EvtTimerFunc> fmt::Debug for Timer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("handler", &type_name::<H>()).finish_non_exhaustive()
    }
}
