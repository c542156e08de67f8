//! Soft disconnect: a connected interrupt that reaches nobody for a while (IoReportInterruptInactive).
//!
//! An inactive interrupt keeps its vector or its place on the line, and its context. What comes on its vector is dropped and
//! counted as unexpected; on a line it is not asked, and a line on which nobody is asked is masked. Its DPC and work item
//! cannot be queued.
//!
//! **Invariant:** `connected` is set exactly while the interrupt is attached and active; both change under `setup`.

use super::{Interrupt, ServiceRoutine};
use crate::{
    at::At,
    barrier,
    hal::Point,
    level::{Passive, irql},
    line::Line,
    percpu, verifier,
};
use alloc::sync::Arc;
use core::{panic::Location, ptr};

impl<R: ServiceRoutine> Interrupt<R> {
    /// IoReportInterruptInactive, with the flushes: when it returns, no ISR, DPC or work item of this interrupt runs or will
    /// run until [`Self::report_active`]. `false`: it was inactive, or is not connected. PASSIVE (NT allows DISPATCH, and waits
    /// for nothing); from its own callbacks it is a bug check. The device has been quieted: nobody serves what it still asserts.
    #[track_caller]
    pub fn report_inactive(&self, at: &mut At<'_, Passive>) -> bool {
        at.point(Point::Disconnect, self.address(), Location::caller());
        if self.is_in_callback(at) {
            verifier::report_own_wait(at.hal, format_args!("{}", R::type_name()), Location::caller());
        }
        let _setup = self.setup.acquire(at);
        if !self.set_connected(false) {
            return false;
        }
        let (cpu, line) = self.seat(at).expect("it was connected, and `setup` is held");
        self.gate.settle(at);
        match line {
            Some(line) => line.set_active(at, ptr::from_ref(&self.head), false),
            None => {
                let cpu = percpu::of(at.hal, cpu).expect("connecting checked that the machine has this CPU");
                barrier::on_cpu(at, cpu);
            }
        }
        barrier::twice(at);
        self.flush_at_passive(at, Location::caller());
        at.note(Point::Disconnected, self.address());
        true
    }

    /// IoReportInterruptActive: what comes reaches the ISR again. `false`: it is not connected. PASSIVE.
    #[track_caller]
    pub fn report_active(&self, at: &mut At<'_, Passive>) -> bool {
        at.point(Point::Connect, self.address(), Location::caller());
        let _setup = self.setup.acquire(at);
        let Some((_, line)) = self.seat(at) else { return false };
        if !self.set_connected(true) {
            self.gate.settle(at);
            if let Some(line) = line {
                line.set_active(at, ptr::from_ref(&self.head), true);
            }
        }
        true
    }

    /// Returns when its work item has run, if it was queued, and no critical section at PASSIVE is left that found it
    /// connected. It is not connected any more, and the barriers have been passed.
    pub(super) fn flush_at_passive(&self, at: &mut At<'_, Passive>, location: &'static Location<'static>) {
        self.work.flush(at, location);
        drop(self.lock.acquire(at));
    }

    /// Whether it has a vector or a place on a line, active or not. With `setup`, the registry's lock or its own lock held.
    pub(super) fn is_attached(&self) -> bool {
        self.gate.is_attached()
    }

    /// The CPU, and the line that it is a member of.
    fn seat(&self, at: &mut At<'_, Passive>) -> Option<(u32, Option<Arc<Line>>)> {
        let _raised = at.raise_to_dirql(irql::DEVICE_HIGHEST);
        // SAFETY: above DISPATCH until `_raised` drops, which is after the last use.
        let attached = unsafe { self.attached() }?;
        Some((attached.place().0, attached.line().cloned()))
    }
}
