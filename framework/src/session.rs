//! One run of a device: from prepared hardware to released hardware, in KMDF's order.
//!
//! Prepare, then power up; a device may power down and up again many times; power down, then release. What fails on the way up
//! is undone by the same way down, which undoes exactly what was reached.
//!
//! **Invariant:** DMA buffers die last: the device's interrupts are gone, `d0_exit` has run, and the bus has seen the
//! function take "bus master off".

use crate::{
    Creator, Device, PowerState, Resources, Result, StopAction,
    assign::{self, Taken},
    device::{AddedObject, DeviceObject},
    dma::Buffers,
    hardware::Hardware,
    interrupt::{Down, Target},
    pnp::Shared,
};
use alloc::sync::Arc;
use core::mem;
use ke::{At, Passive, SpinLock, verifier};

/// A device that is starting, started, asleep or stopping.
pub(crate) struct Session<D: Device> {
    reached: Reached,
    power: PowerState,
    device: Option<Arc<DeviceObject<D>>>,
    taken: Taken,
    pub buffers: Buffers,
}

/// The last step of the way up that succeeded; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Prepared,
    ObjectsStarted,
    PoweredUp,
    Running,
}

/// Where a device's objects and surroundings are.
pub(crate) struct Surroundings<'a, D: Device> {
    pub shared: &'a Arc<Shared>,
    pub hardware: &'a Hardware,
    pub added: &'a Arc<AddedObject<D>>,
    pub creator: &'a mut Creator<D>,
    pub instance: u32,
    /// It interrupts by lines although it may have messages.
    pub by_line: bool,
}

impl<D: Device> Session<D> {
    /// Takes a device from stopped to running. On an error everything has been undone.
    pub fn start(around: &mut Surroundings<'_, D>, at: &mut At<'_, Passive>) -> Result<Self> {
        let mut session = Session {
            reached: Reached::Prepared,
            power: PowerState::D3Final,
            device: None,
            taken: Taken::default(),
            buffers: Buffers::default(),
        };
        let up = session.prepare(around, at).and_then(|()| session.power_up(around, at));
        match up {
            Ok(()) => Ok(session),
            Err(status) => {
                // Why it did not start says more than what went wrong on the way back; that is in the problems.
                let _ = session.take_down(around, Down::Stop, at);
                Err(status)
            }
        }
    }

    /// The device.
    pub fn device(&self) -> &Arc<DeviceObject<D>> {
        self.device.as_ref().expect("a session that started has its device until it is taken down")
    }

    /// The vectors and lines that it has taken: whoever asks for them gives them back.
    pub fn keep_taken(&mut self) -> Taken {
        mem::take(&mut self.taken)
    }

    /// D0, or how deep it sleeps.
    pub fn power(&self) -> PowerState {
        self.power
    }

    fn prepare(&mut self, around: &mut Surroundings<'_, D>, at: &mut At<'_, Passive>) -> Result<()> {
        around.hardware.enable(at)?;
        let mut resources = Resources {
            creator: around.creator,
            buffers: &mut self.buffers,
            hardware: around.hardware,
            shared: around.shared,
            added: around.added,
            instance: around.instance,
        };
        let device = watched::<D, _>("prepare_hardware", at, |at| D::prepare_hardware(&mut resources, at))?;
        let object = Arc::new(DeviceObject { device, added: around.added.clone(), trouble: SpinLock::new(None) });
        self.device = Some(object.clone());
        for queue in &around.creator.queues {
            queue.attach(&object, at);
        }
        let assignments = assign::assign(around, &mut self.taken, at)?;
        for (interrupt, assignment) in around.creator.interrupts.iter().zip(assignments) {
            // An object that the bus had nothing for stays unconnected, as in KMDF.
            if let Some(assignment) = assignment {
                interrupt.assign(Target { device: object.clone(), assignment, shared: around.shared.clone() }, at);
            }
        }
        Ok(())
    }

    /// To D0, from `self.power()`. On an error the device has to be taken down.
    pub fn power_up(&mut self, around: &mut Surroundings<'_, D>, at: &mut At<'_, Passive>) -> Result<()> {
        let object = self.device().clone();
        for item in &around.creator.objects {
            item.start(&object, at);
        }
        self.reached = Reached::ObjectsStarted;
        // Not before the driver has seen the device: it may still be at a transfer of an earlier run.
        around.hardware.start_transfers(at)?;

        watched::<D, _>("d0_entry", at, |at| object.device.d0_entry(self.power, at))?;
        self.power = PowerState::D0;
        self.reached = Reached::PoweredUp;

        for interrupt in &around.creator.interrupts {
            interrupt.wake(at)?;
        }
        watched::<D, _>("post_interrupts_enabled", at, |at| object.device.post_interrupts_enabled(at))?;
        self.reached = Reached::Running;
        for queue in &around.creator.queues {
            queue.power_on(at);
        }
        Ok(())
    }

    /// To `to`, from wherever the way up got to. The last error of an interrupt is returned, and stops nothing; all are in the
    /// problems.
    fn power_down(
        &mut self,
        around: &mut Surroundings<'_, D>,
        why: Down,
        to: PowerState,
        at: &mut At<'_, Passive>,
    ) -> Result<()> {
        let Some(object) = self.device.clone() else { return Ok(()) };
        let mut result = Ok(());
        if self.reached >= Reached::Running {
            let action = if why == Down::LowPower { StopAction::Suspend } else { StopAction::Purge };
            for queue in around.creator.queues.iter().rev() {
                result = note(queue.power_off(action, at), around, at).and(result);
            }
            watched::<D, _>("pre_interrupts_disabled", at, |at| object.device.pre_interrupts_disabled(at));
        }
        for interrupt in around.creator.interrupts.iter().rev() {
            result = note(interrupt.sleep(why, at), around, at).and(result);
        }
        if self.reached >= Reached::ObjectsStarted {
            for item in around.creator.objects.iter().rev() {
                item.stop(at);
            }
        }
        if self.reached >= Reached::PoweredUp {
            watched::<D, _>("d0_exit", at, |at| object.device.d0_exit(to, at));
        }
        self.power = to;
        self.reached = Reached::Prepared;
        result
    }

    /// From D0 to the low-power state `to`. On an error the device has to be taken down.
    pub fn sleep(&mut self, around: &mut Surroundings<'_, D>, to: PowerState, at: &mut At<'_, Passive>) -> Result<()> {
        self.power_down(around, Down::LowPower, to, at)?;
        around.hardware.stop_transfers(at)
    }

    /// Takes a device down from wherever it got to. The last error of an interrupt is returned, and stops nothing; all are in
    /// the problems.
    pub fn take_down(mut self, around: &mut Surroundings<'_, D>, why: Down, at: &mut At<'_, Passive>) -> Result<()> {
        let mut result = self.power_down(around, why, PowerState::D3Final, at);
        let silent = self.silence(around, at);
        for interrupt in &around.creator.interrupts {
            interrupt.revoke(at);
        }
        self.taken.give_back(around.shared, at);
        for queue in around.creator.queues.iter().rev() {
            // Requests that the driver has not given back go with the device.
            result = note(queue.detach(at), around, at).and(result);
        }
        if let Some(object) = self.device.take() {
            let object = Arc::into_inner(object)
                .expect("interrupts are disconnected, objects stopped and outside references run down: nobody is left");
            watched::<D, _>("release_hardware", at, |at| object.device.release_hardware(&around.added.added, at));
        }
        let location = around.hardware.location();
        if silent {
            self.buffers.free(at, location, &around.shared.quarantine);
        } else {
            self.buffers.quarantine(at, location, &around.shared.quarantine);
        }
        result
    }

    /// Switches messages and transfers off. `false`: the function did not take it, so it may still write.
    fn silence(&self, around: &Surroundings<'_, D>, at: &mut At<'_, Passive>) -> bool {
        let messages = around.hardware.stop_messages(at);
        let transfers = around.hardware.stop_transfers(at);
        let silent = transfers.is_ok();
        for status in [messages, transfers].into_iter().filter_map(Result::err) {
            around.shared.report(status, at);
        }
        silent
    }
}

/// Keeps an error among the problems, too.
fn note<D: Device>(result: Result<()>, around: &Surroundings<'_, D>, at: &mut At<'_, Passive>) -> Result<()> {
    if let Err(status) = &result {
        around.shared.report(status.clone(), at);
    }
    result
}

/// Runs a callback of a device of `D`, under the eyes of the verifier if that is on.
pub(crate) fn watched<D: Device, T>(
    name: &str,
    at: &mut At<'_, Passive>,
    callback: impl FnOnce(&mut At<'_, Passive>) -> T,
) -> T {
    verifier::callback(at, format_args!("{name} of {}", D::NAME), callback)
}
