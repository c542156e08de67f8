//! How a request reaches the driver: by whoever brings it or makes room for it, or a little later by a DPC or a work item.
//!
//! Later, where the one who should cannot: at DISPATCH a passive-level callback cannot run; and a callback of a scope cannot
//! run inside of the scope, where it would wait for itself (KMDF defers these too).

use super::{
    EvtIo,
    object::Queue,
    state::{State, Work},
};
use crate::{Cancel, Request, RequestKind, ScopeLevel, device::DeviceObject};
use alloc::sync::{Arc, Weak};
use core::any::type_name;
use ke::{At, Dispatch, DpcRoutine, Level, Passive, UpToDispatch, WorkRoutine, verifier};

/// So many requests are given out in a row by one thread, or by DPCs; then a work item goes on, so that neither the thread nor the
/// CPU is kept at it for ever by those who go on submitting.
const MOST_IN_A_ROW: u32 = 32;

/// Delivers from a DPC.
pub(crate) struct Later<H: EvtIo>(pub Weak<Queue<H>>);

/// Delivers from a work item.
pub(crate) struct LaterAtPassive<H: EvtIo>(pub Weak<Queue<H>>);

impl<H: EvtIo> DpcRoutine for Later<H> {
    fn run(&self, _: [usize; 2], at: &mut At<'_, Dispatch>) {
        let Some(queue) = self.0.upgrade() else { return };
        queue.rescue_dropped(at);
        queue.deliver_here_or_later(&mut at.up_to_dispatch());
    }
}

impl<H: EvtIo> WorkRoutine for LaterAtPassive<H> {
    fn run(&self, at: &mut At<'_, Passive>) {
        let Some(queue) = self.0.upgrade() else { return };
        queue.deliver_here_or_later(&mut at.up_to_dispatch());
    }
}

impl<H: EvtIo> Queue<H> {
    /// Calls the driver for what there is, here if it can be, else soon.
    pub(super) fn deliver_here_or_later(&self, at: &mut UpToDispatch<'_>) {
        let by_a_thread = matches!(at, UpToDispatch::Passive(_));
        // The device is looked at under the lock: who keeps it longer has to be noted as delivering.
        let look = |state: &mut State<H::Device>, at: &mut At<'_, Dispatch>| {
            let device = state.device.as_ref().filter(|_| state.has_work())?;
            let in_its_scope = self.handler.would_deadlock(&device.device, at);
            // Who delivers already, further out in this thread, will look again. At DISPATCH that may be the thread that was
            // interrupted, which is at DISPATCH itself if it serves callbacks of that level.
            let outside = !state.is_inside(at.thread_id());
            if by_a_thread {
                state.in_a_row = 0;
            }
            let enough = H::Level::IRQL == Passive::IRQL || state.in_a_row >= MOST_IN_A_ROW;
            Some((outside, enough, in_its_scope))
        };
        let Some((outside, enough, in_its_scope)) = at.at_dispatch(|at| self.state.with(at, look)) else { return };
        match at {
            UpToDispatch::Dispatch(at) if enough => _ = self.later_at_passive.enqueue(at),
            _ if !outside => {}
            _ if in_its_scope => self.deliver_later(at),
            _ => {
                let delivered = H::Level::here(at, |at| self.deliver(at));
                debug_assert!(delivered.is_some(), "PASSIVE is reached from PASSIVE");
            }
        }
    }

    /// Soon, outside of what is being done here.
    fn deliver_later(&self, at: &mut UpToDispatch<'_>) {
        if H::Level::IRQL == Passive::IRQL {
            at.at_dispatch(|at| self.later_at_passive.enqueue(at));
        } else {
            at.at_dispatch(|at| self.later.dpc().insert(at));
        }
    }

    /// Calls the driver until there is nothing to call it for, or others go on with it.
    fn deliver(&self, at: &mut At<'_, H::Level>) {
        let me = at.thread_id();
        self.with(at, |state| state.enter(me));
        let next = |state: &mut State<H::Device>| {
            let next = state.next_work();
            if next.is_none() {
                state.leave(me);
            }
            next
        };
        for _ in 0..MOST_IN_A_ROW {
            let Some((work, object)) = self.change(at, next) else { return };
            self.watched(at, work.name(), |at| self.call(work, &object, at));
        }
        self.change(at, |state| state.leave(me));
        self.later_at_passive.enqueue(at);
    }

    /// Runs a callback under the eyes of the verifier, if that is on.
    pub(super) fn watched(&self, at: &mut At<'_, H::Level>, name: &str, f: impl FnOnce(&mut At<'_, H::Level>)) {
        verifier::callback(at, format_args!("{name} of {}", type_name::<H>()), f);
    }

    fn call(&self, work: Work, object: &Arc<DeviceObject<H::Device>>, at: &mut At<'_, H::Level>) {
        let (handler, dev) = (&self.handler, &object.device);
        match work {
            Work::Cancel(packet) => handler.evt_cancel(dev, &Cancel { packet }, at),
            Work::Ready => handler.evt_io_ready(dev, at),
            Work::Give(mut irp) => {
                irp.given_by = Some(self.this());
                let _disposed = match irp.kind {
                    RequestKind::Read => handler.evt_io_read(dev, Request::of(irp), at),
                    RequestKind::Write => handler.evt_io_write(dev, Request::of(irp), at),
                    RequestKind::Control => handler.evt_io_device_control(dev, Request::of(irp), at),
                };
            }
        }
    }
}
