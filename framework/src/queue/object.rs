//! The queue itself: how requests come into it, and out of it again.

use super::{
    EvtIo,
    deliver::{Later, LaterAtPassive},
    state::{Dispatching, State},
};
use crate::{
    Result, Status,
    request::{Irp, Packet},
};
use alloc::{
    string::String,
    sync::{Arc, Weak},
};
use core::any::type_name;
use ke::{At, AtMost, Dispatch, Event, LateDpc, MayWait, SpinLock, UpToDispatch, WorkItem, verifier};

/// A queue, whatever its handler is: for requests, which come and go.
pub(crate) trait AnyQueue: Send + Sync {
    /// Takes a request in. `Err` gives it back: the queue takes none now, or it has been cancelled.
    fn submit(&self, irp: Irp, at: &mut UpToDispatch<'_>) -> Result<(), (Irp, Status)>;
    /// The request of `packet`, which this queue has given out, is completed.
    fn returned(&self, packet: &Packet, at: &mut UpToDispatch<'_>);
    /// Puts a request back at the head that this queue has given out. `Err` gives it back: it would be given out again at once.
    fn take_back(&self, irp: Irp, at: &mut UpToDispatch<'_>) -> Result<(), (Irp, Status)>;
    /// The driver hands a request of this queue on to another.
    fn let_go(&self, packet: &Packet, at: &mut UpToDispatch<'_>);
    /// The other one did not take it.
    fn give_again(&self, packet: &Arc<Packet>, at: &mut UpToDispatch<'_>);
    /// Gives out what can be given out.
    fn kick(&self, at: &mut UpToDispatch<'_>);
    /// The request of `packet` has been cancelled, and was last seen here.
    fn cancel(&self, packet: &Arc<Packet>, at: &mut UpToDispatch<'_>);
    /// A request that this queue has given out was dropped. Any IRQL.
    fn rescue(&self);
}

/// What a queue is made to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    pub dispatching: Dispatching,
    /// Gives out requests in D0 alone.
    pub power_managed: bool,
}

pub(crate) struct Queue<H: EvtIo> {
    me: Weak<Queue<H>>,
    pub(super) device_name: String,
    pub(super) handler: H,
    pub(super) config: Config,
    pub(super) state: SpinLock<State<H::Device>>,
    /// Delivers where the one who should cannot, and finds requests that were dropped.
    pub(super) later: LateDpc<Later<H>>,
    pub(super) later_at_passive: WorkItem<LaterAtPassive<H>>,
}

impl<H: EvtIo> Queue<H> {
    pub fn new(device_name: String, handler: H, config: Config) -> Arc<Self> {
        Arc::new_cyclic(|me| Queue {
            me: me.clone(),
            device_name,
            handler,
            config,
            state: SpinLock::new(State::new(config.dispatching)),
            later: LateDpc::new(Later(me.clone())),
            later_at_passive: WorkItem::new(LaterAtPassive(me.clone())),
        })
    }

    pub(super) fn this(&self) -> Arc<Self> {
        self.me.upgrade().expect("whoever calls a method of the queue holds it")
    }

    /// Runs `f` under the lock.
    pub(super) fn with<L: AtMost<Dispatch>, R>(
        &self,
        at: &mut At<'_, L>,
        f: impl FnOnce(&mut State<H::Device>) -> R,
    ) -> R {
        self.state.with(at, |state, _| f(state))
    }

    /// Runs `f` under the lock; whoever waits looks again.
    pub(super) fn change<L: AtMost<Dispatch>, R>(
        &self,
        at: &mut At<'_, L>,
        f: impl FnOnce(&mut State<H::Device>) -> R,
    ) -> R {
        self.state.with(at, |state, at| {
            let result = f(state);
            state.watchers.iter().for_each(|watcher| watcher.set(at));
            result
        })
    }

    /// Waits until `is_so`, which is asked under the lock, for `timeout` nanoseconds at most. `false`: they are over.
    ///
    /// Each who waits has an event of its own: one that looks in vain must not take back what another was to be woken by.
    pub(super) fn wait_until<L: MayWait>(
        &self,
        at: &mut At<'_, L>,
        timeout: Option<u64>,
        is_so: impl Fn(&State<H::Device>) -> bool,
    ) -> bool {
        let deadline = timeout.map(|timeout| at.now().saturating_add(timeout));
        let changed = Arc::new(Event::new());
        let look = |at: &mut At<'_, L>, goes_on: bool| {
            self.state.with(at, |state, at| {
                let so = is_so(state);
                state.watchers.retain(|watcher| !Arc::ptr_eq(watcher, &changed));
                if !so && goes_on {
                    changed.clear(at);
                    state.watchers.push(changed.clone());
                }
                so
            })
        };
        let mut so = look(at, true);
        let mut in_time = true;
        while !so && in_time {
            let left = deadline.map(|deadline| deadline.saturating_sub(at.now()));
            in_time = changed.wait_unalerted(at, left);
            so = look(at, in_time);
        }
        so
    }

    /// A request that was given out was dropped by the driver: it is completed as abandoned.
    pub(super) fn rescue_dropped(&self, at: &mut At<'_, Dispatch>) {
        let find = |state: &mut State<H::Device>| {
            let packet = state.given().iter().find(|packet| packet.is_abandoned())?.clone();
            state.let_go(&packet);
            Some(packet)
        };
        while let Some(packet) = self.change(at, find) {
            packet.finish(crate::Completion::refused(Status::Abandoned), at);
            let (device, handler, parked) = (&self.device_name, type_name::<H>(), &packet.parked);
            verifier::report(
                at,
                format_args!(
                    "{handler} of {device} dropped a request, parked {parked}: complete it, forward it or put it back"
                ),
            );
            at.print(format_args!(
                "{device}: {handler} dropped a request, parked {parked}, instead of completing it\n"
            ));
        }
    }

    /// Puts `irp` where `insert` says, unless `refuse` says why not.
    fn take_in(
        &self,
        irp: Irp,
        at: &mut At<'_, Dispatch>,
        refuse: impl FnOnce(&State<H::Device>) -> Option<Status>,
        insert: impl FnOnce(&mut State<H::Device>, Irp),
    ) -> Result<(), (Irp, Status)> {
        // First where it is, then whether it is cancelled: see `Packet::cancel`.
        irp.packet.set_home(Some(self.this()), at);
        let refused = self.change(at, |state| {
            let closed = state.closed.then_some(Status::Gone);
            let cancelled = irp.packet.is_cancelled().then_some(Status::Cancelled);
            match closed.or_else(|| refuse(state)).or(cancelled) {
                Some(status) => Some((irp, status)),
                None => {
                    insert(state, irp);
                    None
                }
            }
        });
        refused.map_or(Ok(()), Err)
    }
}

impl<H: EvtIo> AnyQueue for Queue<H> {
    fn submit(&self, irp: Irp, at: &mut UpToDispatch<'_>) -> Result<(), (Irp, Status)> {
        let refuse = |state: &State<H::Device>| (!state.accepting).then_some(Status::NotAccepting);
        at.at_dispatch(|at| {
            self.later.bind(at);
            self.take_in(irp, at, refuse, State::push)
        })?;
        self.kick(at);
        Ok(())
    }

    fn returned(&self, packet: &Packet, at: &mut UpToDispatch<'_>) {
        at.at_dispatch(|at| {
            self.change(at, |state| {
                if state.let_go(packet) {
                    state.count_returned();
                }
            });
        });
        self.kick(at);
    }

    fn take_back(&self, irp: Irp, at: &mut UpToDispatch<'_>) -> Result<(), (Irp, Status)> {
        let refuse = |state: &State<H::Device>| {
            (state.delivers() && !state.is_manual())
                .then_some(Status::Failed("the queue would give it out again at once"))
        };
        let taken = at.at_dispatch(|at| {
            let insert = |state: &mut State<H::Device>, irp: Irp| {
                state.let_go(&irp.packet);
                state.push_front(irp);
            };
            self.take_in(irp, at, refuse, insert)
        });
        taken.map_err(|(mut irp, status)| {
            irp.given_by = Some(self.this());
            (irp, status)
        })?;
        self.kick(at);
        Ok(())
    }

    fn let_go(&self, packet: &Packet, at: &mut UpToDispatch<'_>) {
        at.at_dispatch(|at| self.change(at, |state| state.let_go(packet)));
    }

    fn give_again(&self, packet: &Arc<Packet>, at: &mut UpToDispatch<'_>) {
        at.at_dispatch(|at| {
            packet.set_home(Some(self.this()), at);
            self.change(at, |state| state.give(packet));
        });
    }

    fn kick(&self, at: &mut UpToDispatch<'_>) {
        self.deliver_here_or_later(at);
    }

    fn cancel(&self, packet: &Arc<Packet>, at: &mut UpToDispatch<'_>) {
        let waiting = at.at_dispatch(|at| {
            self.change(at, |state| {
                let waiting = state.cancel_waiting(packet);
                if waiting.is_none() {
                    state.cancel_given(packet);
                }
                waiting
            })
        });
        match waiting {
            Some(irp) => at.at_dispatch(|at| irp.finish(Err(Status::Cancelled), at)),
            None => self.kick(at),
        }
    }

    fn rescue(&self) {
        self.later.insert();
    }
}
