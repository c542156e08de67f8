//! Making a timer: the driver's wishes, then [`TimerBuilder::create`].

use super::{EvtTimerFunc, Timer};
use crate::{Creator, ScopeLevel};
use core::{any::type_name, fmt};
use ke::{Dispatch, TimerConfig};

/// Made by [`Creator::timer`]: wishes, then [`Self::create`].
#[must_use = "nothing is created until `.create()`"]
pub struct TimerBuilder<'a, H: EvtTimerFunc> {
    creator: &'a mut Creator<H::Device>,
    handler: H,
    config: TimerConfig,
}

impl<'a, H: EvtTimerFunc> TimerBuilder<'a, H> {
    pub(crate) fn new(creator: &'a mut Creator<H::Device>, handler: H) -> Self {
        TimerBuilder { creator, handler, config: TimerConfig::default() }
    }

    /// Period: once it has expired, it does so again every `period` nanoseconds until it is stopped. The times are counted from
    /// the first, not from when the callback ran; what is missed is skipped. No period is shorter than 100 µs.
    pub fn period(mut self, period: u64) -> Self
    where
        H::Level: CanRepeat,
    {
        self.config.period = Some(period);
        self
    }

    /// TolerableDelay: it may expire up to so many nanoseconds late, together with others for which that is good enough.
    pub fn tolerable_delay(mut self, delay: u64) -> Self {
        self.config.tolerable_delay = delay;
        self
    }

    /// WdfTimerCreate. The timer can be started from when the device starts until it stops.
    pub fn create(self) -> Timer<H> {
        let TimerBuilder { creator, handler, config } = self;
        let timer = Timer::new(handler, config);
        creator.add(timer.object());
        timer
    }
}

/// A timer at this level can be periodic: [`Dispatch`] only.
#[diagnostic::on_unimplemented(
    message = "a timer at {Self} cannot be periodic (STATUS_NOT_SUPPORTED)",
    label = "the callback runs at {Self}",
    note = "start it again in its callback, or let a periodic timer at `Dispatch` enqueue a work item"
)]
pub trait CanRepeat: ScopeLevel {}
impl CanRepeat for Dispatch {}

impl<H: EvtTimerFunc> fmt::Debug for TimerBuilder<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (handler, config) = (type_name::<H>(), &self.config);
        f.debug_struct("TimerBuilder").field("handler", &handler).field("config", config).finish_non_exhaustive()
    }
}
