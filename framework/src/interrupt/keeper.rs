//! The framework's handle to an interrupt of a device, whatever its handler is.

use super::{
    handle::Interrupt,
    handler::EvtIsr,
    object::{Down, Object, OwnWishes, Routine, Target},
};
use crate::{Device, InterruptRow, Result, object::Cleanup};
use alloc::{string::String, sync::Arc};
use core::any::type_name;
use io::{Affinity, Grant, Policy};
use ke::{At, CeilingTooLow, InterruptLock, IsrLevel, Mode, Passive};

/// What the framework does with an interrupt of a device.
pub(crate) trait AnyInterrupt<D: Device>: Cleanup {
    /// The driver's handler type.
    fn handler(&self) -> &'static str;
    /// Which message or line of the device it is bound to.
    fn number(&self) -> u16;
    fn policy(&self) -> &Policy;
    /// Whether it asks for a line where the bus has messages too.
    fn wants_line(&self) -> bool;
    /// Whether it shares its line, if the driver says so.
    fn shares(&self) -> Option<bool>;
    /// The IRQL that its lock's set has settled on, if it has.
    fn settled_ceiling(&self) -> Option<u8>;
    /// Settles its lock's set at `irql`, or checks that `irql` fits.
    fn settle(&self, irql: u8) -> Result<(), CeilingTooLow>;
    /// From here on there is something to connect it to.
    fn assign(&self, target: Target<D>, at: &mut At<'_, Passive>);
    /// Undoes [`Self::assign`]: it is disconnected.
    fn revoke(&self, at: &mut At<'_, Passive>);
    /// The device enters D0: connects and enables it, unless the driver has disabled it or nothing is assigned to it. On an
    /// error it is disconnected.
    fn wake(&self, at: &mut At<'_, Passive>) -> Result<()>;
    /// The device leaves D0: disables and disconnects it, as far as `why` asks for that. An error stops nothing.
    fn sleep(&self, why: Down, at: &mut At<'_, Passive>) -> Result<()>;
    /// Moves it to a CPU of `affinity`, while it fires.
    fn set_affinity(&self, affinity: &Affinity, at: &mut At<'_, Passive>) -> Result<Grant>;
    /// Lets it through again after a storm of its own.
    fn forgive(&self, at: &mut At<'_, Passive>);
    /// A line for the monitor.
    fn row(&self, at: &mut At<'_, Passive>) -> InterruptRow;
}

/// An interrupt of `device_name` that nothing is assigned to: the driver's handle to it, and the framework's.
pub(crate) fn create<H: EvtIsr>(
    device_name: String,
    number: u16,
    handler: H,
    lock: InterruptLock<H::State, H::Level>,
    wishes: OwnWishes,
) -> (Interrupt<H>, Arc<dyn AnyInterrupt<H::Device>>) {
    let object = Object::new(device_name, number, handler, lock, wishes);
    (Interrupt(object.clone()), Arc::new(Keeper(object)))
}

struct Keeper<H: EvtIsr>(Arc<Object<H>>);

impl<H: EvtIsr> Keeper<H> {
    fn wishes(&self) -> &OwnWishes {
        &self.0.interrupt.routine().wishes
    }
}

impl<H: EvtIsr> Cleanup for Keeper<H> {
    fn cleanup(&self, at: &mut At<'_, Passive>) {
        self.0.interrupt.routine().handler.evt_cleanup(at);
    }
}

impl<H: EvtIsr> AnyInterrupt<H::Device> for Keeper<H> {
    fn handler(&self) -> &'static str {
        type_name::<H>()
    }

    fn number(&self) -> u16 {
        self.0.interrupt.routine().number
    }

    fn policy(&self) -> &Policy {
        &self.wishes().policy
    }

    fn wants_line(&self) -> bool {
        self.wishes().line
    }

    fn shares(&self) -> Option<bool> {
        self.wishes().shares
    }

    fn settled_ceiling(&self) -> Option<u8> {
        self.0.interrupt.lock().settled_ceiling()
    }

    fn settle(&self, irql: u8) -> Result<(), CeilingTooLow> {
        self.0.interrupt.lock().settle(irql)
    }

    fn assign(&self, target: Target<H::Device>, at: &mut At<'_, Passive>) {
        self.0.assign(target, at);
    }

    fn revoke(&self, at: &mut At<'_, Passive>) {
        self.0.revoke(at);
    }

    fn wake(&self, at: &mut At<'_, Passive>) -> Result<()> {
        self.0.wake(at)
    }

    fn sleep(&self, why: Down, at: &mut At<'_, Passive>) -> Result<()> {
        self.0.sleep(why, at)
    }

    fn set_affinity(&self, affinity: &Affinity, at: &mut At<'_, Passive>) -> Result<Grant> {
        self.0.set_affinity(affinity, at)
    }

    fn forgive(&self, at: &mut At<'_, Passive>) {
        self.0.interrupt.forgive(at);
    }

    fn row(&self, at: &mut At<'_, Passive>) -> InterruptRow {
        let Routine { device_name, number, .. } = self.0.interrupt.routine();
        let info = self.0.info(at);
        let connected = self.0.interrupt.info(at);
        InterruptRow {
            device: device_name.clone(),
            handler: type_name::<H>(),
            message: *number,
            signal: info.map(|info| info.signal),
            passive: H::Level::PASSIVE,
            grant: connected.as_ref().and(info).map(|info| info.grant()),
            synchronize_irql: self.0.interrupt.lock().ceiling(),
            mode: info.map_or(Mode::Latched, |info| info.mode),
            unclaimed: connected.as_ref().map_or(0, |info| info.unclaimed),
            masked: connected.as_ref().is_some_and(|info| info.masked),
            storm: connected.as_ref().and_then(|info| info.storm),
            active: connected.as_ref().is_some_and(|info| info.active),
            counts: connected.map_or_else(Default::default, |info| info.counts),
        }
    }
}
