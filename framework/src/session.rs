//! One run of a device: from prepared hardware to released hardware, in KMDF's order.
//!
//! The way up is [`Session::bring_up`]; [`Session::take_down`] undoes exactly what was reached, whether the device is
//! stopped or a step failed.
//!
//! **Invariant:** DMA buffers die last: the device's interrupts are gone, `d0_exit` has run, and the bus has seen the
//! function take "bus master off".

use crate::{
    Creator, Device, PowerState, Resources, Result,
    device::{AddedObject, DeviceObject},
    dma::Buffers,
    interrupt::Assignment,
    pnp::Shared,
};
use alloc::{sync::Arc, vec::Vec};
use io::{Grant, PciDevice};
use ke::{At, Passive, irql};

/// A device that is starting, started or stopping.
pub(crate) struct Session<D: Device> {
    reached: Reached,
    device: Option<Arc<DeviceObject<D>>>,
    /// Vectors taken, each block with its length.
    blocks: Vec<(Grant, u16)>,
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
    pub pci: &'a Arc<PciDevice>,
    pub added: &'a Arc<AddedObject<D>>,
    pub creator: &'a mut Creator<D>,
    pub instance: u32,
}

impl<D: Device> Session<D> {
    /// Takes a device from stopped to running. On an error everything has been undone.
    pub fn start(around: &mut Surroundings<'_, D>, at: &mut At<'_, Passive>) -> Result<Self> {
        let mut session =
            Session { reached: Reached::Nothing, device: None, blocks: Vec::new(), buffers: Buffers::default() };
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
        around.pci.enable(at)?;
        let mut resources = Resources {
            creator: around.creator,
            buffers: &mut self.buffers,
            pci: around.pci,
            added: around.added,
            instance: around.instance,
        };
        let device = D::prepare_hardware(&mut resources, at)?;
        let object = Arc::new(DeviceObject { device, added: around.added.clone() });
        self.device = Some(object.clone());
        self.reached = Reached::Prepared;

        let mut assignments = self.assign_interrupts(around, at)?;
        for item in &around.creator.objects {
            item.start(&object, at);
        }
        self.reached = Reached::ObjectsStarted;
        // Not before the driver has seen the device: it may still be at a transfer of an earlier run.
        around.pci.set_bus_master(at, true)?;

        object.device.d0_entry(PowerState::D3Final, at)?;
        self.reached = Reached::PoweredUp;

        for interrupt in &around.creator.interrupts {
            // An object that the bus had no message for stays unconnected, as in KMDF.
            let Some(assignment) = assignments.get_mut(usize::from(interrupt.message())).and_then(Option::take) else {
                continue;
            };
            interrupt.connect(&object, assignment, at)?;
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
        around.shared.free_vectors(&mut self.blocks, at);
        if let Some(object) = self.device.take() {
            let object = Arc::into_inner(object)
                .expect("interrupts are disconnected, objects stopped and outside references run down: nobody is left");
            object.device.release_hardware(&around.added.added, at);
        }
        let location = around.pci.location();
        if silent {
            self.buffers.free(at, location, &around.shared.quarantine);
        } else {
            self.buffers.quarantine(at, location, &around.shared.quarantine);
        }
    }

    /// Switches messages and bus master off. `false`: the function did not take it, so it may still write.
    fn silence(&self, around: &Surroundings<'_, D>, at: &mut At<'_, Passive>) -> bool {
        let messages = around.pci.disable_messages(at);
        let master = around.pci.set_bus_master(at, false);
        for error in [messages.err(), master.err()].into_iter().flatten() {
            around.shared.report(error, at);
        }
        master.is_ok()
    }

    /// Gives each interrupt object its vector, settles the locks, and programs the messages. By message number.
    fn assign_interrupts(
        &mut self,
        around: &mut Surroundings<'_, D>,
        at: &mut At<'_, Passive>,
    ) -> Result<Vec<Option<Assignment>>> {
        let Some(messages) = around.pci.messages() else { return Ok(Vec::new()) };
        let bound: Vec<_> =
            around.creator.interrupts.iter().filter(|interrupt| interrupt.message() < messages.count()).collect();
        let Some(used) = bound.iter().map(|interrupt| interrupt.message() + 1).max() else { return Ok(Vec::new()) };

        let ceiling = |settled: Option<u8>| settled.unwrap_or(irql::DEVICE_HIGHEST);
        let mut grants: Vec<Option<Grant>> = (0..used).map(|_| None).collect();
        match messages.block(used) {
            // One block for all: the first object's wishes, under everybody's ceiling.
            Some(count) => {
                let ceiling = bound.iter().map(|i| ceiling(i.settled_ceiling())).min().unwrap_or(irql::DEVICE_HIGHEST);
                let first = around.shared.assign_vectors(bound[0].policy(), ceiling, count, &mut self.blocks, at)?;
                grants.iter_mut().enumerate().for_each(|(n, grant)| *grant = Some(first.nth(n as u16)));
            }
            None => {
                for interrupt in &bound {
                    let ceiling = ceiling(interrupt.settled_ceiling());
                    let grant = around.shared.assign_vectors(interrupt.policy(), ceiling, 1, &mut self.blocks, at)?;
                    grants[usize::from(interrupt.message())] = Some(grant);
                }
            }
        }
        // Highest first: the first member of a set to settle then settles it at the set's highest level.
        let mut by_level: Vec<_> = bound.iter().filter_map(|i| Some((i, grants[usize::from(i.message())]?))).collect();
        by_level.sort_by_key(|(_, grant)| core::cmp::Reverse(grant.irql()));
        for (interrupt, grant) in by_level {
            interrupt.settle(grant.irql())?;
        }
        let contents: Vec<_> = grants.iter().map(|grant| grant.map(|g| at.msi_message(g.cpu, g.vector))).collect();
        let sources = around.pci.program_messages(at, &contents)?.into_iter().map(Arc::new);
        let assign = |(grant, source): (Option<Grant>, _)| grant.map(|grant| Assignment { grant, source });
        Ok(grants.into_iter().zip(sources).map(assign).collect())
    }
}
