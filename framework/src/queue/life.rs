//! A queue over the life of its device: attached to it from prepared to released hardware, delivering while it works.

use super::{
    EvtIo,
    object::{AnyQueue, Queue},
    state::State,
};
use crate::{
    Device, QueueInfo, Result, Resume, ScopeLevel, Status, Stop, StopAction,
    device::DeviceObject,
    object::Cleanup,
    request::{Irp, Packet},
};
use alloc::{sync::Arc, vec::Vec};
use core::any::type_name;
use ke::{At, Passive, verifier};

/// Nanoseconds that a driver has to give back its requests when its device is to stop working.
const PATIENCE: u64 = 10_000_000_000;

/// What the framework does with a queue of a device.
pub(crate) trait AnyIoQueue<D: Device>: Send + Sync {
    /// The driver's handler type.
    fn handler(&self) -> &'static str;
    fn info(&self, at: &mut At<'_, Passive>) -> QueueInfo;
    /// There is a device. A queue that is not power-managed delivers from here on.
    fn attach(&self, device: &Arc<DeviceObject<D>>, at: &mut At<'_, Passive>);
    /// The device works: it delivers, and what the driver has kept goes on.
    fn power_on(&self, at: &mut At<'_, Passive>);
    /// The device is about to sleep, or to stop for good: it delivers no longer, and the driver gives back or keeps what it
    /// has. `Err`: it did not.
    fn power_off(&self, action: StopAction, at: &mut At<'_, Passive>) -> Result<()>;
    /// The device is about to go: when this returns, no callback runs, and nothing holds the device.
    fn detach(&self, at: &mut At<'_, Passive>) -> Result<()>;
}

impl<H: EvtIo> AnyIoQueue<H::Device> for Queue<H> {
    fn handler(&self) -> &'static str {
        type_name::<H>()
    }

    fn info(&self, at: &mut At<'_, Passive>) -> QueueInfo {
        self.with(at, |state| state.info())
    }

    fn attach(&self, device: &Arc<DeviceObject<H::Device>>, at: &mut At<'_, Passive>) {
        self.with(at, |state| {
            state.device = Some(device.clone());
            (state.powered, state.purged) = (!self.config.power_managed, false);
        });
        self.kick(&mut at.up_to_dispatch());
    }

    fn power_on(&self, at: &mut At<'_, Passive>) {
        let (device, kept) = self.with(at, |state| {
            let kept: Vec<Arc<Packet>> = state.given().iter().filter(|packet| packet.is_kept()).cloned().collect();
            (state.device.clone(), kept)
        });
        for packet in kept {
            packet.set_kept(false);
            if let Some(device) = &device {
                self.tell(device, at, |dev, at| {
                    self.handler.evt_io_resume(dev, &Resume { packet: packet.clone() }, at)
                });
            }
        }
        // Not before: what was there first goes on first.
        self.with(at, |state| state.powered = true);
        self.kick(&mut at.up_to_dispatch());
    }

    fn power_off(&self, action: StopAction, at: &mut At<'_, Passive>) -> Result<()> {
        if action == StopAction::Suspend && !self.config.power_managed {
            return Ok(());
        }
        let device = self.with(at, |state| {
            state.powered = false;
            state.purged |= action == StopAction::Purge;
            state.device.clone()
        });
        let Some(device) = device else { return Ok(()) };
        // What a callback is just being given, it shall have before it is asked to stop it.
        self.wait_until(at, Some(PATIENCE), State::is_quiet);
        for packet in self.with(at, |state| state.given().to_vec()) {
            packet.set_kept(false);
            let stop = Stop { packet, action };
            self.tell(&device, at, |dev, at| self.handler.evt_io_stop(dev, &stop, at));
            if action == StopAction::Purge {
                stop.packet.lose(at);
            }
        }
        drop(device);
        let settled =
            |state: &State<H::Device>| state.is_quiet() && state.given().iter().all(|packet| packet.is_kept());
        if self.wait_until(at, Some(PATIENCE), settled) {
            return Ok(());
        }
        let kept: Vec<Arc<Packet>> =
            self.with(at, |state| state.given().iter().filter(|packet| !packet.is_kept()).cloned().collect());
        let (device, handler, count) = (&self.device_name, type_name::<H>(), kept.len());
        if let Some(first) = kept.first() {
            verifier::report(
                at,
                format_args!(
                    "{device} stops, and {handler} still has {count} of its requests, the first parked {}: complete them before, \
                     or give them up in `evt_cancel`",
                    first.parked
                ),
            );
        }
        Err(Status::RequestsKept { handler, count })
    }

    fn detach(&self, at: &mut At<'_, Passive>) -> Result<()> {
        // A device that sleeps has not been asked yet.
        let asked = self.with(at, |state| state.purged);
        let given_back = if asked { Ok(()) } else { self.power_off(StopAction::Purge, at) };
        self.wait_until(at, None, State::is_quiet);
        let device = self.with(at, |state| state.device.take());
        drop(device);
        given_back
    }
}

impl<H: EvtIo> Cleanup for Queue<H> {
    /// For good: what waits, and what still comes, ends as [`Status::Gone`].
    fn cleanup(&self, at: &mut At<'_, Passive>) {
        let waiting = self.change(at, |state| {
            state.closed = true;
            state.take_waiting()
        });
        end_all(waiting, &Status::Gone, at);
        // What was dropped with the device is completed by the DPC.
        self.later.dpc().flush(at);
        self.handler.evt_cleanup(at);
    }
}

impl<H: EvtIo> Queue<H> {
    /// Runs a callback that is not about a request that is given out now.
    fn tell(
        &self,
        object: &Arc<DeviceObject<H::Device>>,
        at: &mut At<'_, Passive>,
        f: impl FnOnce(&H::Device, &mut At<'_, H::Level>),
    ) {
        let told =
            H::Level::here(&mut at.up_to_dispatch(), |at| self.watched(at, "evt_io", |at| f(&object.device, at)));
        debug_assert!(told.is_some(), "every execution level is reached from PASSIVE");
    }
}

/// Ends requests that no driver has.
pub(super) fn end_all<L: ke::AtMost<ke::Dispatch>>(requests: Vec<Irp>, why: &Status, at: &mut At<'_, L>) {
    for irp in requests {
        irp.finish(Err(why.clone()), at);
    }
}
