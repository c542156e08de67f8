//! What a driver implements for a timer.

use crate::{Device, ScopeLevel, Serialized};
use ke::{At, Passive};

/// What a [`Timer`](crate::Timer) does (EvtTimerFunc of a WDFTIMER). The handler is the timer's own context.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what its timer does",
    note = "implement `EvtTimerFunc` for it, or `EvtSerializedTimerFunc`"
)]
pub trait EvtTimerFunc: Sized + Send + Sync + 'static {
    /// The device it belongs to.
    type Device: Device;
    /// Where the callback runs: [`Dispatch`](ke::Dispatch), or [`Passive`] for a passive-level timer, which cannot be periodic.
    type Level: ScopeLevel;

    /// It has expired. It may overlap itself: it can be armed again as soon as it has expired. At PASSIVE it runs in a worker
    /// thread, and an expiry that finds the last one still waiting for its worker is dropped.
    fn evt_timer_func(&self, dev: &Self::Device, at: &mut At<'_, Self::Level>);

    /// EvtObjectCleanup, once, at the end of the stage that the timer was made in. PASSIVE.
    fn evt_cleanup(&self, at: &mut At<'_, Passive>) {
        let _ = at;
    }
}

/// [`EvtTimerFunc`] with AutomaticSerialization: it takes its turn in the handler's scope, gets its data, and runs at its level.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what its serialized timer does",
    note = "implement `EvtSerializedTimerFunc` for it"
)]
pub trait EvtSerializedTimerFunc: Serialized {
    /// Under the scope's lock: it overlaps neither itself nor any other callback of the scope.
    fn evt_timer_func(&self, dev: &Self::Device, data: &mut Self::Data, at: &mut At<'_, Self::Level>);

    /// As [`EvtTimerFunc::evt_cleanup`].
    fn evt_cleanup(&self, at: &mut At<'_, Passive>) {
        let _ = at;
    }
}

#[diagnostic::do_not_recommend]
impl<H: EvtSerializedTimerFunc> EvtTimerFunc for H {
    type Device = <H as Serialized>::Device;
    type Level = <H as Serialized>::Level;

    fn evt_timer_func(&self, dev: &<H as Serialized>::Device, at: &mut At<'_, <H as Serialized>::Level>) {
        self.scope(dev).enter(at, |data, at| EvtSerializedTimerFunc::evt_timer_func(self, dev, data, at));
    }

    fn evt_cleanup(&self, at: &mut At<'_, Passive>) {
        EvtSerializedTimerFunc::evt_cleanup(self, at);
    }
}
