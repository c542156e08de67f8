//! The interrupt object: what the core runs for it, and how far it is brought up.
//!
//! | | the core's object | the disable callback |
//! |---|---|---|
//! | low power | stays connected, inactive, where the interrupt or its device asks for that; else goes | runs |
//! | disabled by the driver | stays on a device that is not pageable, as in KMDF; else goes | runs |
//! | stopped, removed | goes | runs |
//! | gone by surprise | goes | does not run |
//!
//! **Invariant:** an object holds its device from assignment to release; the core holds it as its context exactly while the
//! interrupt is connected, and gives it back when no callback runs or can start.

use super::{
    assignment::Assignment,
    context::{DpcCx, IsrCx, WorkCx},
    handler::{Deferral, EvtIsr},
};
use crate::{Device, Result, Status, device::DeviceObject, pnp::Shared};
use alloc::{format, string::String, sync::Arc};
use core::{any::type_name, mem};
use io::Policy;
use ke::{At, Claim, Dispatch, InterruptLock, Passive, ServiceRoutine, SpinLock, StormCause, WaitLock};

/// What the core runs: the driver's handler, and what the framework knows about its interrupt.
pub(crate) struct Routine<H: EvtIsr> {
    pub handler: H,
    pub device_name: String,
    pub number: u16,
    pub wishes: OwnWishes,
}

/// What a driver asks of an interrupt.
#[derive(Debug, Default)]
pub(crate) struct OwnWishes {
    pub policy: Policy,
    /// A line, also where the bus has messages.
    pub line: bool,
    /// Whether it shares its line; as usual on its bus unless stated.
    pub shares: Option<bool>,
    /// Whether it stays connected, inactive, while the device sleeps.
    pub inactive_in_low_power: bool,
}

/// What there is while an interrupt is connected.
pub(crate) struct Context<H: EvtIsr> {
    pub device: Arc<DeviceObject<H::Device>>,
    /// The interrupt itself, for callbacks that mask it.
    pub this: Arc<ke::Interrupt<Routine<H>>>,
}

impl<H: EvtIsr> ServiceRoutine for Routine<H> {
    type State = H::State;
    type Level = H::Level;
    type Context = Context<H>;

    #[inline(always)]
    fn service(
        &self,
        context: &Context<H>,
        state: &mut H::State,
        this: &ke::Interrupt<Self>,
        at: &mut At<'_, H::Level>,
    ) -> Claim {
        self.handler.evt_isr(&context.device.device, state, &mut IsrCx::new(at.reborrow(), this, context))
    }

    #[inline(always)]
    fn dpc(&self, context: &Context<H>, this: &ke::Interrupt<Self>, at: &mut At<'_, Dispatch>) {
        H::Deferred::dpc(&self.handler, &context.device.device, &mut DpcCx::new(at.reborrow(), this, context));
    }

    #[inline(always)]
    fn work_item(&self, context: &Context<H>, this: &ke::Interrupt<Self>, at: &mut At<'_, Passive>) {
        H::Deferred::work_item(&self.handler, &context.device.device, &mut WorkCx::new(at.reborrow(), this, context));
    }

    fn storm(&self, context: &Context<H>, this: &ke::Interrupt<Self>, cause: StormCause, at: &mut At<'_, Dispatch>) {
        let trouble = Status::Storm { number: self.number, cause };
        context.device.trouble.acquire(at).get_or_insert(trouble);
        self.handler.evt_storm(&context.device.device, cause, &mut DpcCx::new(at.reborrow(), this, context));
    }

    fn describe(&self) -> String {
        format!("{} interrupt {}", self.device_name, self.number)
    }

    fn type_name() -> &'static str {
        type_name::<H>()
    }
}

/// The object, shared by the framework and the driver's handle.
pub(super) struct Object<H: EvtIsr> {
    pub interrupt: Arc<ke::Interrupt<Routine<H>>>,
    /// Held over everything that connects, moves and disconnects.
    pub setup: WaitLock<Setup<H::Device>>,
    /// From start to stop of the device; the same as in `setup`, for those who cannot wait.
    pub assigned: SpinLock<Option<Assignment>>,
}

/// What the interrupt is to be connected to, and whether it is.
pub(super) struct Setup<D: Device> {
    /// From start to stop of the device.
    pub target: Option<Target<D>>,
    /// The device is in D0, or on its way from or to it.
    awake: bool,
    /// The driver disabled it; it stays so over low power and restarts until the driver enables it.
    disabled: bool,
    pub reached: Reached,
}

pub(crate) struct Target<D: Device> {
    pub device: Arc<DeviceObject<D>>,
    pub assignment: Assignment,
    /// Where its vector is from.
    pub shared: Arc<Shared>,
}

/// How far bringing it up got; each step includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reached {
    Nothing,
    Connected,
    /// The device may signal. The core's object is active, or kept inactive.
    SwitchedOn,
    Enabled,
}

/// Why an interrupt is brought down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Down {
    LowPower,
    Stop,
    /// The hardware is gone.
    Surprise,
}

impl<H: EvtIsr> Object<H> {
    pub fn new(
        device_name: String,
        number: u16,
        handler: H,
        lock: InterruptLock<H::State, H::Level>,
        wishes: OwnWishes,
    ) -> Arc<Self> {
        let setup = Setup { target: None, awake: false, disabled: false, reached: Reached::Nothing };
        Arc::new(Object {
            interrupt: ke::Interrupt::new(Routine { handler, device_name, number, wishes }, lock),
            setup: WaitLock::new(setup),
            assigned: SpinLock::new(None),
        })
    }

    /// From here on there is something to connect it to.
    pub fn assign(&self, target: Target<H::Device>, at: &mut At<'_, Passive>) {
        let mut setup = self.setup.acquire(at);
        *self.assigned.acquire(at) = Some(target.assignment.clone());
        setup.target = Some(target);
    }

    /// Undoes [`Self::assign`]: it is disconnected.
    pub fn revoke(&self, at: &mut At<'_, Passive>) {
        let mut setup = self.setup.acquire(at);
        drop(self.assigned.acquire(at).take());
        setup.target = None;
    }

    /// The device enters D0: connects and enables, unless the driver has disabled it. On an error it is disconnected.
    pub fn wake(&self, at: &mut At<'_, Passive>) -> Result<()> {
        let mut setup = self.setup.acquire(at);
        setup.awake = true;
        self.bring_up(&mut setup, at)
    }

    /// The device leaves D0. An error stops nothing.
    pub fn sleep(&self, why: Down, at: &mut At<'_, Passive>) -> Result<()> {
        let mut setup = self.setup.acquire(at);
        setup.awake = false;
        if why == Down::Surprise {
            setup.reached = setup.reached.min(Reached::SwitchedOn);
        }
        let keeps = self.interrupt.routine().wishes.inactive_in_low_power || !H::Device::POWER_PAGEABLE;
        self.bring_down(&mut setup, keeps && why == Down::LowPower, at)
    }

    pub fn disable(&self, at: &mut At<'_, Passive>) -> Result<()> {
        self.refuse_own_callbacks(at)?;
        let mut setup = self.setup.acquire(at);
        setup.disabled = true;
        self.bring_down(&mut setup, !H::Device::POWER_PAGEABLE, at)
    }

    pub fn enable(&self, at: &mut At<'_, Passive>) -> Result<()> {
        self.refuse_own_callbacks(at)?;
        let mut setup = self.setup.acquire(at);
        setup.disabled = false;
        self.bring_up(&mut setup, at)
    }

    fn refuse_own_callbacks(&self, at: &At<'_, Passive>) -> Result<()> {
        if self.interrupt.is_in_callback(at) { Err(Status::OwnCallback) } else { Ok(()) }
    }

    fn bring_up(&self, setup: &mut Setup<H::Device>, at: &mut At<'_, Passive>) -> Result<()> {
        if !setup.awake || setup.disabled || setup.reached == Reached::Enabled {
            return Ok(());
        }
        let brought_up = self.try_bring_up(setup, at);
        if brought_up.is_err() {
            // What cannot be undone is not worse than what is being returned.
            let _ = self.bring_down(setup, false, at);
        }
        brought_up
    }

    fn try_bring_up(&self, setup: &mut Setup<H::Device>, at: &mut At<'_, Passive>) -> Result<()> {
        let Some(Target { device, assignment, .. }) = &setup.target else { return Ok(()) };
        if setup.reached == Reached::Nothing {
            let context = Context { device: device.clone(), this: self.interrupt.clone() };
            let resource = assignment.resource(at);
            let stated = resource.fully_specified::<Routine<H>>(at, self.interrupt.lock().ceiling());
            stated.connect(at, &self.interrupt, context)?;
            setup.reached = Reached::Connected;
            resource.switch_on(at)?;
            setup.reached = Reached::SwitchedOn;
        } else {
            // Kept connected, inactive.
            self.interrupt.report_active(at);
        }
        self.in_critical_section(at, |handler, device, state, irq| handler.evt_enable(device, state, irq))?;
        setup.reached = Reached::Enabled;
        Ok(())
    }

    /// Runs the disable callback, if the enable callback has succeeded, and disconnects, or keeps connected what is. An error
    /// stops nothing; the callback's goes first.
    fn bring_down(&self, setup: &mut Setup<H::Device>, keep: bool, at: &mut At<'_, Passive>) -> Result<()> {
        let kept = if keep { setup.reached.min(Reached::SwitchedOn) } else { Reached::Nothing };
        let reached = mem::replace(&mut setup.reached, kept);
        let disabled = match reached {
            Reached::Enabled => {
                self.in_critical_section(at, |handler, device, state, irq| handler.evt_disable(device, state, irq))
            }
            _ => Ok(()),
        };
        if keep {
            if reached >= Reached::SwitchedOn {
                self.interrupt.report_inactive(at);
            }
            return disabled;
        }
        let off = match &setup.target {
            Some(Target { assignment, .. }) if reached >= Reached::SwitchedOn => assignment.resource(at).switch_off(at),
            _ => Ok(()),
        };
        if reached >= Reached::Connected {
            drop(self.interrupt.disconnect(at));
        }
        disabled.and(off.map_err(Into::into))
    }

    fn in_critical_section<R>(
        &self,
        at: &mut At<'_, Passive>,
        f: impl FnOnce(&H, &H::Device, &mut H::State, &mut IsrCx<'_, H>) -> R,
    ) -> R {
        let this = &self.interrupt;
        let run = |context: &Context<H>, state: &mut H::State, at: &mut At<'_, H::Level>| {
            let irq = &mut IsrCx::new(at.reborrow(), this, context);
            f(&this.routine().handler, &context.device.device, state, irq)
        };
        this.synchronize_connected(at, run).expect("it is connected and active, and `setup` is held")
    }
}
