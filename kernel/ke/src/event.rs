//! Events: how a DPC tells a thread that something happened (KEVENT).

use crate::{
    at::At,
    core_lock::CoreLock,
    hal::Point,
    level::{AtMost, Dispatch, MayWait},
    wait::{Gone, Patience, WaitError, WaitList, wait_on},
};
use core::{fmt, panic::Location};

/// A notification event: once set it stays set, and every wait succeeds, until it is cleared.
///
/// Clear it *before* starting what will set it; the other order loses a wake-up.
///
/// ```
/// use ke::{At, Event, Gone, Passive};
/// fn run_once(done: &Event, start: impl Fn(&mut At<'_, Passive>), at: &mut At<'_, Passive>) -> Result<(), Gone> {
///     done.clear(at);
///     start(at);
///     done.wait(at)
/// }
/// ```
pub struct Event {
    state: CoreLock<State>,
}

struct State {
    set: bool,
    waiters: WaitList,
}

impl Event {
    /// An event that is not set (KeInitializeEvent).
    pub const fn new() -> Self {
        Event { state: CoreLock::new(State { set: false, waiters: WaitList::new() }) }
    }

    /// KeSetEvent: wakes all who wait. IRQL <= DISPATCH.
    #[track_caller]
    pub fn set<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) {
        at.point(Point::EventSet, self.address(), Location::caller());
        self.state.with(at, |state, at| {
            state.set = true;
            while state.waiters.grant_first(at.hal) {}
        });
    }

    /// KeClearEvent. IRQL <= DISPATCH.
    #[track_caller]
    pub fn clear<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) {
        at.point(Point::EventClear, self.address(), Location::caller());
        self.state.with(at, |state, _| state.set = false);
    }

    /// KeReadStateEvent. IRQL <= DISPATCH.
    pub fn is_set<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> bool {
        self.state.with(at, |state, _| state.set)
    }

    /// KeWaitForSingleObject without a time-out. PASSIVE. `Err(Gone)`: the thread uses a device that was stopped or
    /// removed meanwhile (see [`crate::Rundown`]).
    #[track_caller]
    pub fn wait<L: MayWait>(&self, at: &mut At<'_, L>) -> Result<(), Gone> {
        self.wait_with(at, Patience::UNTIL_GONE).map_err(|_| Gone)
    }

    /// KeWaitForSingleObject with a time-out of `timeout` nanoseconds. PASSIVE.
    #[track_caller]
    pub fn wait_timeout<L: MayWait>(&self, at: &mut At<'_, L>, timeout: u64) -> Result<(), WaitError> {
        let deadline = at.now().saturating_add(timeout);
        self.wait_with(at, Patience { deadline: Some(deadline), alertable: true })
    }

    /// KeWaitForSingleObject, not alertable: for who waits on behalf of others, whatever becomes of a device that the thread
    /// itself uses. With a `timeout`, for so many nanoseconds at most; `false`: they are over. PASSIVE.
    #[track_caller]
    pub fn wait_unalerted<L: MayWait>(&self, at: &mut At<'_, L>, timeout: Option<u64>) -> bool {
        let deadline = timeout.map(|timeout| at.now().saturating_add(timeout));
        self.wait_with(at, Patience { deadline, alertable: false }).is_ok()
    }

    #[track_caller]
    pub(crate) fn wait_with<L: MayWait>(&self, at: &mut At<'_, L>, patience: Patience) -> Result<(), WaitError> {
        at.point(Point::Wait, self.address(), Location::caller());
        wait_on(&mut at.as_passive(), &self.state, patience, |state, _| state.set, |state| &mut state.waiters)
    }

    fn address(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").finish_non_exhaustive()
    }
}
