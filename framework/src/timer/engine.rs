//! Who runs a timer's callback: the core's timer itself at DISPATCH, a work item that it queues at PASSIVE.

use ke::{At, AtMost, Dispatch, Level, Passive, TimerConfig, TimerRoutine, WorkItem, WorkRoutine};

/// What an expiry runs at `L`.
pub trait Expire<L: Level>: Send + Sync + 'static {
    fn expire(&self, at: &mut At<'_, L>);
}

/// A timer with what it runs.
pub trait Engine<B>: Send + Sync {
    fn new(body: B, config: TimerConfig) -> Self;
    fn body(&self) -> &B;
    /// `true`: it was armed already.
    #[track_caller]
    fn start(&self, at: &mut At<'_, Dispatch>, due: u64) -> bool;
    /// `true`: it was armed.
    #[track_caller]
    fn cancel<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> bool;
    /// Waits until nothing of it runs. It is not armed.
    fn flush(&self, at: &mut At<'_, Passive>);
    /// Has its expiries watched, as the verifier is on or off now. It is not armed.
    fn follow_verifier(&self, at: &At<'_, Passive>);
    /// Whether this thread of execution is in what it runs.
    fn is_my_callback(&self, at: &At<'_, Passive>) -> bool;
}

/// At DISPATCH.
pub struct DpcTimer<B: Expire<Dispatch>>(ke::Timer<Now<B>>);

struct Now<B>(B);

impl<B: Expire<Dispatch>> TimerRoutine for Now<B> {
    #[inline]
    fn expired(&self, at: &mut At<'_, Dispatch>) {
        self.0.expire(at);
    }
}

impl<B: Expire<Dispatch>> Engine<B> for DpcTimer<B> {
    fn new(body: B, config: TimerConfig) -> Self {
        DpcTimer(ke::Timer::with(Now(body), config))
    }

    fn body(&self) -> &B {
        &self.0.routine().0
    }

    fn start(&self, at: &mut At<'_, Dispatch>, due: u64) -> bool {
        self.0.start(at, due)
    }

    fn cancel<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> bool {
        self.0.cancel(at)
    }

    fn flush(&self, at: &mut At<'_, Passive>) {
        self.0.flush(at);
    }

    fn follow_verifier(&self, at: &At<'_, Passive>) {
        self.0.follow_verifier(at);
    }

    fn is_my_callback(&self, _: &At<'_, Passive>) -> bool {
        false
    }
}

/// At PASSIVE.
pub struct WorkItemTimer<B: Expire<Passive>>(ke::Timer<Later<B>>);

/// Queued when it expires; if it still is, this expiry is dropped.
struct Later<B: Expire<Passive>>(WorkItem<Work<B>>);

struct Work<B>(B);

impl<B: Expire<Passive>> TimerRoutine for Later<B> {
    fn expired(&self, at: &mut At<'_, Dispatch>) {
        self.0.enqueue(at);
    }
}

impl<B: Expire<Passive>> WorkRoutine for Work<B> {
    fn run(&self, at: &mut At<'_, Passive>) {
        self.0.expire(at);
    }
}

impl<B: Expire<Passive>> WorkItemTimer<B> {
    fn item(&self) -> &WorkItem<Work<B>> {
        &self.0.routine().0
    }
}

impl<B: Expire<Passive>> Engine<B> for WorkItemTimer<B> {
    fn new(body: B, config: TimerConfig) -> Self {
        WorkItemTimer(ke::Timer::with(Later(WorkItem::new(Work(body))), config))
    }

    fn body(&self) -> &B {
        &self.item().routine().0
    }

    fn start(&self, at: &mut At<'_, Dispatch>, due: u64) -> bool {
        self.0.start(at, due)
    }

    fn cancel<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> bool {
        self.0.cancel(at)
    }

    fn flush(&self, at: &mut At<'_, Passive>) {
        // In this order: an expiry that goes on may still queue the item.
        self.0.flush(at);
        self.item().flush(at);
    }

    fn follow_verifier(&self, at: &At<'_, Passive>) {
        self.0.follow_verifier(at);
    }

    fn is_my_callback(&self, at: &At<'_, Passive>) -> bool {
        self.item().is_running_here(at)
    }
}
