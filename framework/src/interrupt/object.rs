//! The interrupt object, the driver's handle to it, and the builder that makes both.
//!
//! **Invariant:** an object holds its device exactly while it is connected, as the core's context: the core gives it back
//! when no callback runs or can start.

use super::{
    context::{DpcCx, IsrCx, WorkCx},
    handler::{Deferral, EvtDpc, EvtIsr, EvtWorkItem},
};
use crate::{Creator, Device, InterruptRow, Result, device::DeviceObject};
use alloc::{format, string::String, sync::Arc};
use core::{any::type_name, fmt, mem};
use io::{Affinity, Grant, MessageSource, Policy, Priority};
use ke::{
    At, AtMost, CanTry, CeilingTooLow, Claim, Connection, Dirql, Dispatch, InterruptGuard, InterruptLock, IsrLevel,
    Level, LockableFrom, Masked, MayWait, Mode, Nested, Passive, ServiceRoutine, WaitLock,
};

/// What the core runs: the driver's handler, and what the framework knows about its interrupt.
pub(crate) struct Routine<H: EvtIsr> {
    handler: H,
    device_name: String,
    message: u16,
    policy: Policy,
}

impl<H: EvtIsr> Routine<H> {
    pub fn message(&self) -> u16 {
        self.message
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
        format!("{} message {}", self.device_name, self.message)
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

/// What the bus gave an interrupt.
#[derive(Clone)]
pub(crate) struct Assignment {
    pub grant: Grant,
    pub source: Arc<MessageSource>,
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
        let Some((device, Assignment { grant, source })) = &setup.target else { return Ok(()) };
        let connection =
            Connection { cpu: grant.cpu, vector: grant.vector, mode: Mode::Latched, source: source.clone() };
        let context = Context { device: device.clone(), this: self.interrupt.clone() };
        self.interrupt.connect(at, connection, context)?;
        setup.reached = Reached::Connected;
        source.switch_on(at)?;
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
            Some((_, Assignment { source, .. })) if reached >= Reached::SwitchedOn => source.switch_off(at),
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
        self.0.interrupt.info(at).map(|info| Info {
            message: self.0.interrupt.routine().message,
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
    /// The message's number, from 0.
    pub message: u16,
    /// The CPU that takes it.
    pub cpu: u32,
    /// The vector on that CPU.
    pub vector: u8,
    /// The vector's class.
    pub irql: u8,
    /// The IRQL of the ISR and of `synchronize`.
    pub synchronize_irql: u8,
    /// Latched for messages.
    pub mode: Mode,
}

/// What the framework does with an interrupt of a device.
pub(crate) trait AnyInterrupt<D: Device>: Send + Sync {
    /// The driver's handler type.
    fn handler(&self) -> &'static str;
    fn message(&self) -> u16;
    fn policy(&self) -> &Policy;
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

/// The framework's handle to the object.
struct Keeper<H: EvtIsr>(Arc<Object<H>>);

impl<H: EvtIsr> AnyInterrupt<H::Device> for Keeper<H> {
    fn handler(&self) -> &'static str {
        type_name::<H>()
    }

    fn message(&self) -> u16 {
        self.0.interrupt.routine().message
    }

    fn policy(&self) -> &Policy {
        &self.0.interrupt.routine().policy
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
        detached
    }

    fn row(&self, at: &mut At<'_, Passive>) -> InterruptRow {
        let Routine { device_name, message, .. } = self.0.interrupt.routine();
        let info = self.0.interrupt.info(at);
        InterruptRow {
            device: device_name.clone(),
            handler: type_name::<H>(),
            message: *message,
            passive: H::Level::PASSIVE,
            grant: info.as_ref().map(|info| Grant { cpu: info.cpu, vector: info.vector }),
            synchronize_irql: self.0.interrupt.lock().ceiling(),
            mode: Mode::Latched,
            unclaimed: info.as_ref().map_or(0, |info| info.unclaimed),
            masked: info.as_ref().is_some_and(|info| info.masked),
            counts: info.map_or_else(Default::default, |info| info.counts),
        }
    }
}

/// Made by [`Creator::interrupt`]: wishes, then [`Self::create`].
#[must_use = "nothing is created until `.create()`"]
pub struct InterruptBuilder<'a, H: EvtIsr> {
    creator: &'a mut Creator<H::Device>,
    handler: H,
    lock: InterruptLock<H::State, H::Level>,
    message: Option<u16>,
    policy: Policy,
}

impl<'a, H: EvtIsr> InterruptBuilder<'a, H> {
    pub(crate) fn new(
        creator: &'a mut Creator<H::Device>,
        handler: H,
        lock: InterruptLock<H::State, H::Level>,
    ) -> Self {
        InterruptBuilder { creator, handler, lock, message: None, policy: Policy::default() }
    }

    /// Binds to message or line `n` of the device instead of the next one.
    pub fn message(mut self, n: u16) -> Self {
        self.message = Some(n);
        self
    }

    /// WdfInterruptSetExtendedPolicy: which CPUs may take it. The grant is one of them.
    pub fn affinity(mut self, affinity: Affinity) -> Self {
        self.policy.affinity = affinity;
        self
    }

    /// WdfInterruptSetPolicy: how urgent it is.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.policy.priority = priority;
        self
    }

    /// WdfInterruptCreate. In `prepare_hardware` it fails when the bus assigned no such message; in `device_add` nobody
    /// knows yet, and the object stays unconnected then.
    pub fn create(self) -> Result<Interrupt<H>> {
        let InterruptBuilder { creator, handler, lock, message, policy } = self;
        let message = creator.bind(message)?;
        let routine = Routine { handler, device_name: creator.device_name.clone(), message, policy };
        let object = Arc::new(Object {
            interrupt: ke::Interrupt::new(routine, lock),
            setup: WaitLock::new(Setup { target: None, disabled: false, reached: Reached::Nothing }),
        });
        creator.interrupts.push(Arc::new(Keeper(object.clone())));
        Ok(Interrupt(object))
    }
}

/// State of one's own, or the lock of a set: either can be given to [`Creator::interrupt`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither the state `{T}` nor a `&InterruptLock<{T}, {L}>`",
    label = "not this interrupt's `State`"
)]
pub trait IntoLock<T, L: IsrLevel> {
    /// The lock that the interrupt will use.
    fn into_lock(self) -> InterruptLock<T, L>;
}

impl<T: Send + 'static, L: IsrLevel> IntoLock<T, L> for T {
    fn into_lock(self) -> InterruptLock<T, L> {
        InterruptLock::new(self)
    }
}

impl<T: Send + 'static, L: IsrLevel> IntoLock<T, L> for &InterruptLock<T, L> {
    fn into_lock(self) -> InterruptLock<T, L> {
        self.clone()
    }
}

impl<H: EvtIsr> fmt::Debug for Interrupt<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handler = type_name::<H>();
        f.debug_struct("Interrupt")
            .field("handler", &handler)
            .field("message", &self.0.interrupt.routine().message)
            .finish_non_exhaustive()
    }
}

impl<H: EvtIsr> fmt::Debug for InterruptBuilder<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (handler, policy) = (type_name::<H>(), &self.policy);
        f.debug_struct("InterruptBuilder").field("handler", &handler).field("policy", policy).finish_non_exhaustive()
    }
}
