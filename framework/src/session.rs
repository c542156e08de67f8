//! One run of a device: from prepared hardware to released hardware, in KMDF's order.
//!
//! The way up is [`Session::bring_up`]; [`Session::take_down`] undoes exactly what was reached, whether the device is
//! stopped or a step failed.
//!
//! **Invariant:** DMA buffers die last: the device's interrupts are gone, `d0_exit` has run, and the bus has seen the
//! function take "bus master off".

use crate::{
    Creator, Device, PowerState, Resources, Result,
    assign::{self, Taken},
    device::{AddedObject, DeviceObject},
    dma::Buffers,
    hardware::Hardware,
    pnp::Shared,
};
use alloc::sync::Arc;
use ke::{At, Passive};

/// A device that is starting, started or stopping.
pub(crate) struct Session<D: Device> {
    reached: Reached,
    device: Option<Arc<DeviceObject<D>>>,
    taken: Taken,
    pub buffers: Buffers,
}

/// The last step of the way up that succeeded; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Nothing,
    Prepared,
    ObjectsStarted,
    PoweredUp,
    Running,
}

/// Where a device's objects and surroundings are.
pub(crate) struct Surroundings<'a, D: Device> {
    pub shared: &'a Shared,
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
        let mut session =
            Session { reached: Reached::Nothing, device: None, taken: Taken::default(), buffers: Buffers::default() };
        match session.bring_up(around, at) {
            Ok(()) => Ok(session),
            Err(status) => {
                session.take_down(around, false, at);
                Err(status)
            }
        }
    }

    /// The device.
    pub fn device(&self) -> &Arc<DeviceObject<D>> {
        self.device.as_ref().expect("a session that started has its device until it is taken down")
    }

    fn bring_up(&mut self, around: &mut Surroundings<'_, D>, at: &mut At<'_, Passive>) -> Result<()> {
        around.hardware.enable(at)?;
        let mut resources = Resources {
            creator: around.creator,
            buffers: &mut self.buffers,
            hardware: around.hardware,
            shared: around.shared,
            added: around.added,
            instance: around.instance,
        };
        let device = D::prepare_hardware(&mut resources, at)?;
        let object = Arc::new(DeviceObject { device, added: around.added.clone() });
        self.device = Some(object.clone());
        self.reached = Reached::Prepared;

        let assignments = assign::assign(around, &mut self.taken, at)?;
        for item in &around.creator.objects {
            item.start(&object, at);
        }
        self.reached = Reached::ObjectsStarted;
        // Not before the driver has seen the device: it may still be at a transfer of an earlier run.
        around.hardware.start_transfers(at)?;

        object.device.d0_entry(PowerState::D3Final, at)?;
        self.reached = Reached::PoweredUp;

        for (interrupt, assignment) in around.creator.interrupts.iter().zip(assignments) {
            // An object that the bus had nothing for stays unconnected, as in KMDF.
            if let Some(assignment) = assignment {
                interrupt.connect(&object, assignment, at)?;
            }
        }
        object.device.post_interrupts_enabled(at)?;
        self.reached = Reached::Running;
        Ok(())
    }

    /// Takes a device down from wherever it got to. `surprise`: the hardware is gone.
    pub fn take_down(mut self, around: &mut Surroundings<'_, D>, surprise: bool, at: &mut At<'_, Passive>) {
        if let Some(object) = &self.device {
            if self.reached >= Reached::Running {
                object.device.pre_interrupts_disabled(at);
            }
            for interrupt in around.creator.interrupts.iter().rev() {
                if let Err(error) = interrupt.disconnect(surprise, at) {
                    around.shared.report(error, at);
                }
            }
            if self.reached >= Reached::ObjectsStarted {
                for item in around.creator.objects.iter().rev() {
                    item.stop(at);
                }
            }
            if self.reached >= Reached::PoweredUp {
                object.device.d0_exit(PowerState::D3Final, at);
            }
        }
        let silent = self.silence(around, at);
        self.taken.give_back(around.shared, at);
        if let Some(object) = self.device.take() {
            let object = Arc::into_inner(object)
                .expect("interrupts are disconnected, objects stopped and outside references run down: nobody is left");
            object.device.release_hardware(&around.added.added, at);
        }
        let location = around.hardware.location();
        if silent {
            self.buffers.free(at, location, &around.shared.quarantine);
        } else {
            self.buffers.quarantine(at, location, &around.shared.quarantine);
        }
    }

    /// Switches messages and transfers off. `false`: the function did not take it, so it may still write.
    fn silence(&self, around: &Surroundings<'_, D>, at: &mut At<'_, Passive>) -> bool {
        let [messages, transfers] = around.hardware.silence(at);
        let silent = transfers.is_ok();
        for error in [messages, transfers].into_iter().filter_map(Result::err) {
            around.shared.report(error, at);
        }
        silent
    }
}
