//! The interrupt object, the driver's handle to it, and the framework's.
//!
//! **Invariant:** an object holds its device exactly while it is connected, as the core's context: the core gives it back
//! when no callback runs or can start.

use super::{
    assignment::{Assignment, Signal},
    context::{DpcCx, IsrCx, WorkCx},
    handler::{Deferral, EvtDpc, EvtIsr, EvtWorkItem},
};
use crate::{Device, InterruptRow, Result, device::DeviceObject};
use alloc::{format, string::String, sync::Arc};
use core::{any::type_name, fmt, mem};
use io::{Grant, Policy};
use ke::{
    At, AtMost, CanTry, CeilingTooLow, Claim, Connection, Dirql, Dispatch, InterruptGuard, InterruptLock, IsrLevel,
    Level, LockableFrom, Masked, MayWait, Mode, Nested, Passive, ServiceRoutine, SpinLock, WaitLock,
};

/// What the core runs: the driver's handler, and what the framework knows about its interrupt.
pub(crate) struct Routine<H: EvtIsr> {
    handler: H,
    device_name: String,
    number: u16,
    wishes: OwnWishes,
}

/// What a driver asks of an interrupt.
#[derive(Debug, Default)]
pub(crate) struct OwnWishes {
    pub policy: Policy,
    /// A line, also where the bus has messages.
    pub line: bool,
    /// Whether it shares its line; as usual on its bus unless stated.
    pub shares: Option<bool>,
}

impl<H: EvtIsr> Routine<H> {
    pub fn number(&self) -> u16 {
        self.number
    }
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

    fn describe(&self) -> String {
        format!("{} interrupt {}", self.device_name, self.number)
    }

    fn type_name() -> &'static str {
        type_name::<H>()
    }
}

/// The object, shared by the framework and the driver's handle.
struct Object<H: EvtIsr> {
    interrupt: Arc<ke::Interrupt<Routine<H>>>,
    /// Held over connecting and disconnecting.
    setup: WaitLock<Setup<H::Device>>,
    /// From start to stop of the device.
    signal: SpinLock<Option<Signal>>,
}

/// What the interrupt is to be connected to.
struct Setup<D: Device> {
    /// From start to stop of the device.
    target: Option<(Arc<DeviceObject<D>>, Assignment)>,
    /// The driver disabled it; it stays disconnected over restarts until the driver enables it.
    disabled: bool,
    reached: Reached,
}

/// How far attaching got; each step includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Nothing,
    Connected,
    SwitchedOn,
    Enabled,
}

impl<H: EvtIsr> Object<H> {
    /// Connects to the target and runs the enable callback. On an error everything has been undone.
    fn attach(&self, setup: &mut Setup<H::Device>, at: &mut At<'_, Passive>) -> Result<()> {
        let attached = self.try_attach(setup, at);
        if attached.is_err() {
            // What cannot be undone is not worse than what is being returned.
            let _ = self.detach(setup, at);
        }
        attached
    }

    fn try_attach(&self, setup: &mut Setup<H::Device>, at: &mut At<'_, Passive>) -> Result<()> {
        let Some((device, assignment)) = &setup.target else { return Ok(()) };
        let context = Context { device: device.clone(), this: self.interrupt.clone() };
        match assignment {
            Assignment::Message { grant, source } => {
                let (cpu, vector, source) = (grant.cpu, grant.vector, source.clone());
                self.interrupt.connect(at, Connection { cpu, vector, mode: Mode::Latched, source }, context)?;
            }
            Assignment::Line { core, line, shared, .. } => {
                self.interrupt.connect_line(at, core, line.trigger.into(), *shared, context)?;
            }
        }
        setup.reached = Reached::Connected;
        assignment.switch_on(at)?;
        setup.reached = Reached::SwitchedOn;
        self.in_critical_section(at, |handler, device, state, irq| handler.evt_enable(device, state, irq))?;
        setup.reached = Reached::Enabled;
        Ok(())
    }

    /// Runs the disable callback, if the enable callback has succeeded, and disconnects. Nothing happens when nothing is
    /// connected. An error of the source does not stop it.
    fn detach(&self, setup: &mut Setup<H::Device>, at: &mut At<'_, Passive>) -> Result<(), io::Error> {
        let reached = mem::replace(&mut setup.reached, Reached::Nothing);
        if reached >= Reached::Enabled {
            self.in_critical_section(at, |handler, device, state, irq| handler.evt_disable(device, state, irq));
        }
        let off = match &setup.target {
            Some((_, assignment)) if reached >= Reached::SwitchedOn => assignment.switch_off(at),
            _ => Ok(()),
        };
        drop(self.interrupt.disconnect(at));
        off
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
        this.synchronize_connected(at, run)
            .expect("connecting and disconnecting hold the setup lock, as the caller does")
    }
}

/// A driver's handle to its interrupt (WDFINTERRUPT). The framework owns the object. Not `Clone`: put it in the device.
pub struct Interrupt<H: EvtIsr>(Arc<Object<H>>);

impl<H: EvtIsr> Interrupt<H> {
    /// WdfInterruptAcquireLock: raises to the set's ceiling and excludes its ISRs on all CPUs until the guard drops.
    /// It always does, connected or not.
    #[inline]
    #[track_caller]
    pub fn acquire_lock<'a, C: Level>(&'a self, at: &'a mut At<'_, C>) -> InterruptGuard<'a, H::State, H::Level>
    where
        H::Level: LockableFrom<C>,
    {
        self.0.interrupt.lock().acquire(at)
    }

    /// WdfInterruptSynchronize: runs `f` in that critical section and returns what it returns.
    #[inline]
    #[track_caller]
    pub fn synchronize<C: Level, R>(
        &self,
        at: &mut At<'_, C>,
        f: impl FnOnce(&mut H::State, &mut At<'_, H::Level>) -> R,
    ) -> R
    where
        H::Level: LockableFrom<C>,
    {
        self.0.interrupt.lock().synchronize(at, f)
    }

    /// WdfInterruptTryToAcquireLock: `None` when it is taken. PASSIVE, and passive-level interrupts only.
    #[track_caller]
    pub fn try_acquire_lock<'a, C: MayWait>(
        &'a self,
        at: &'a mut At<'_, C>,
    ) -> Option<InterruptGuard<'a, H::State, H::Level>>
    where
        H::Level: CanTry,
    {
        self.0.interrupt.lock().try_acquire(at)
    }

    /// KeSynchronizeExecution on a higher interrupt: from an ISR, or inside another lock, onto this lock if its ceiling
    /// is strictly above the current IRQL.
    #[track_caller]
    pub fn synchronize_nested<R>(
        &self,
        at: &mut At<'_, Dirql>,
        f: impl FnOnce(&mut H::State, &mut At<'_, Dirql>) -> R,
    ) -> Result<R, Nested>
    where
        H: EvtIsr<Level = Dirql>,
    {
        self.0.interrupt.lock().synchronize_nested(at, f)
    }

    /// The lock, to make other interrupts members of the same set.
    pub fn lock(&self) -> &InterruptLock<H::State, H::Level> {
        self.0.interrupt.lock()
    }

    /// The handler.
    pub fn handler(&self) -> &H {
        &self.0.interrupt.routine().handler
    }

    /// WdfInterruptQueueDpcForIsr. `false`: queued already, or not connected. Any IRQL.
    #[inline]
    #[track_caller]
    pub fn queue_dpc<L: Level>(&self, at: &mut At<'_, L>) -> bool
    where
        H: EvtDpc,
    {
        self.0.interrupt.queue_dpc(at)
    }

    /// WdfInterruptQueueWorkItemForIsr. `false`: queued already, or not connected. Any IRQL.
    #[inline]
    #[track_caller]
    pub fn queue_work_item<L: Level>(&self, at: &mut At<'_, L>) -> bool
    where
        H: EvtWorkItem,
    {
        self.0.interrupt.queue_work_item(at)
    }

    /// Keeps the interrupt from arriving until the value is unmasked or dropped (counted). What comes meanwhile is
    /// delivered then. Any IRQL: mask in the ISR, keep the value in the state, unmask in the DPC.
    #[track_caller]
    pub fn mask<L: Level>(&self, at: &mut At<'_, L>) -> Masked {
        self.0.interrupt.mask(at)
    }

    /// WdfInterruptDisable: the disable callback, then disconnected, and so over restarts until [`Self::enable`].
    /// PASSIVE; not from the interrupt's own work item or passive-level ISR, which this waits for.
    #[track_caller]
    pub fn disable<L: MayWait>(&self, at: &mut At<'_, L>) -> Result<()> {
        let at = &mut at.as_passive();
        let mut setup = self.0.setup.acquire(at);
        setup.disabled = true;
        Ok(self.0.detach(&mut setup, at)?)
    }

    /// WdfInterruptEnable: connected again, then the enable callback. PASSIVE.
    #[track_caller]
    pub fn enable<L: MayWait>(&self, at: &mut At<'_, L>) -> Result<()> {
        let at = &mut at.as_passive();
        let mut setup = self.0.setup.acquire(at);
        if !mem::take(&mut setup.disabled) {
            return Ok(());
        }
        self.0.attach(&mut setup, at)
    }

    /// WdfInterruptGetInfo: what it was given; `None` while it is not connected. IRQL <= DISPATCH.
    pub fn info<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> Option<Info> {
        let info = self.0.interrupt.info(at)?;
        Some(Info {
            number: self.0.interrupt.routine().number,
            signal: self.0.signal.with(at, |signal, _| *signal)?,
            cpu: info.cpu,
            vector: info.vector,
            irql: info.irql,
            synchronize_irql: info.synchronize_irql,
            mode: info.mode,
        })
    }
}

/// What an interrupt was given (WDF_INTERRUPT_INFO). The affinity that was granted is one CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// The number of the message or line among the device's, from 0.
    pub number: u16,
    /// Message or line, with the line's polarity and whether it is shared.
    pub signal: Signal,
    /// The CPU that takes it.
    pub cpu: u32,
    /// The vector on that CPU.
    pub vector: u8,
    /// The vector's class.
    pub irql: u8,
    /// The IRQL of the ISR and of `synchronize`.
    pub synchronize_irql: u8,
    /// Latched for messages, and for lines as they are.
    pub mode: Mode,
}

/// What the framework does with an interrupt of a device.
pub(crate) trait AnyInterrupt<D: Device>: Send + Sync {
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
    /// Connects and enables it, unless the driver has disabled it.
    fn connect(&self, device: &Arc<DeviceObject<D>>, assignment: Assignment, at: &mut At<'_, Passive>) -> Result<()>;
    /// Disables and disconnects it, if it is connected. When the hardware is gone, by `surprise`, the disable callback
    /// does not run. An error of the source does not stop it.
    fn disconnect(&self, surprise: bool, at: &mut At<'_, Passive>) -> Result<(), io::Error>;
    /// A line for the monitor.
    fn row(&self, at: &mut At<'_, Passive>) -> InterruptRow;
}

impl<H: EvtIsr> Interrupt<H> {
    /// An interrupt of `device_name` that nothing is assigned to, and the framework's handle to it.
    pub(crate) fn create(
        device_name: String,
        number: u16,
        handler: H,
        lock: InterruptLock<H::State, H::Level>,
        wishes: OwnWishes,
    ) -> (Self, Arc<dyn AnyInterrupt<H::Device>>) {
        let object = Arc::new(Object {
            interrupt: ke::Interrupt::new(Routine { handler, device_name, number, wishes }, lock),
            setup: WaitLock::new(Setup { target: None, disabled: false, reached: Reached::Nothing }),
            signal: SpinLock::new(None),
        });
        (Interrupt(object.clone()), Arc::new(Keeper(object)))
    }
}

/// The framework's handle to the object.
struct Keeper<H: EvtIsr>(Arc<Object<H>>);

impl<H: EvtIsr> AnyInterrupt<H::Device> for Keeper<H> {
    fn handler(&self) -> &'static str {
        type_name::<H>()
    }

    fn number(&self) -> u16 {
        self.0.interrupt.routine().number
    }

    fn policy(&self) -> &Policy {
        &self.0.interrupt.routine().wishes.policy
    }

    fn wants_line(&self) -> bool {
        self.0.interrupt.routine().wishes.line
    }

    fn shares(&self) -> Option<bool> {
        self.0.interrupt.routine().wishes.shares
    }

    fn settled_ceiling(&self) -> Option<u8> {
        self.0.interrupt.lock().settled_ceiling()
    }

    fn settle(&self, irql: u8) -> Result<(), CeilingTooLow> {
        self.0.interrupt.lock().settle(irql)
    }

    fn connect(
        &self,
        device: &Arc<DeviceObject<H::Device>>,
        assignment: Assignment,
        at: &mut At<'_, Passive>,
    ) -> Result<()> {
        let mut setup = self.0.setup.acquire(at);
        *self.0.signal.acquire(at) = Some(assignment.signal());
        setup.target = Some((device.clone(), assignment));
        if setup.disabled {
            return Ok(());
        }
        self.0.attach(&mut setup, at)
    }

    fn disconnect(&self, surprise: bool, at: &mut At<'_, Passive>) -> Result<(), io::Error> {
        let mut setup = self.0.setup.acquire(at);
        if surprise {
            setup.reached = setup.reached.min(Reached::SwitchedOn);
        }
        let detached = self.0.detach(&mut setup, at);
        setup.target = None;
        *self.0.signal.acquire(at) = None;
        detached
    }

    fn row(&self, at: &mut At<'_, Passive>) -> InterruptRow {
        let Routine { device_name, number, .. } = self.0.interrupt.routine();
        let signal = *self.0.signal.acquire(at);
        let info = self.0.interrupt.info(at);
        InterruptRow {
            device: device_name.clone(),
            handler: type_name::<H>(),
            message: *number,
            signal,
            passive: H::Level::PASSIVE,
            grant: info.as_ref().map(|info| Grant { cpu: info.cpu, vector: info.vector }),
            synchronize_irql: self.0.interrupt.lock().ceiling(),
            mode: info.as_ref().map_or(Mode::Latched, |info| info.mode),
            unclaimed: info.as_ref().map_or(0, |info| info.unclaimed),
            masked: info.as_ref().is_some_and(|info| info.masked),
            counts: info.map_or_else(Default::default, |info| info.counts),
        }
    }
}

impl<H: EvtIsr> fmt::Debug for Interrupt<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handler = type_name::<H>();
        f.debug_struct("Interrupt")
            .field("handler", &handler)
            .field("number", &self.0.interrupt.routine().number)
            .finish_non_exhaustive()
    }
}
