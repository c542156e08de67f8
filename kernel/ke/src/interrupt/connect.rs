//! Connecting an interrupt to a vector or a line, and disconnecting it with proof that no callback is left.

use super::{Interrupt, Mode, ServiceRoutine, Source, cpu_block, moving};
use crate::{
    at::At,
    barrier,
    dispatch::{DispatchRoutine, Head},
    hal::{self, HalRef, Point},
    level::{IsrLevel, Passive, irql},
    line::{Line, Member, Share},
    percpu, verifier,
};
use alloc::sync::Arc;
use core::{fmt, panic::Location, ptr, sync::atomic::Ordering::Relaxed};

/// What an interrupt is connected to. `io::connect` has the forms of IoConnectInterruptEx, and checks what it states.
pub struct Connection {
    /// The CPU that takes it.
    pub cpu: u32,
    /// The vector on that CPU; its class (`vector >> 4`) is the DIRQL.
    pub vector: u8,
    /// How the source signals.
    pub mode: Mode,
    /// The source.
    pub source: Arc<dyn Source>,
}

/// What a connected interrupt remembers of its connection.
pub(super) struct Attached {
    pub(super) seat: Seat,
    pub(super) mode: Mode,
    pub(super) source: Arc<dyn Source>,
    /// The source cannot mask, so the core latches.
    pub(super) latches: bool,
    /// What an interrupt dispatches to that is not masked.
    pub(super) routine: DispatchRoutine,
    /// Of the interrupt, which lives while this does.
    head: *const Head,
}

/// Where an interrupt is dispatched from.
pub(super) enum Seat {
    /// A vector's slot, of which it is the only owner.
    Vector { cpu: u32, vector: u8 },
    /// A line, of which it is a member.
    Line(Arc<Line>),
}

impl Attached {
    #[inline(always)]
    pub(super) fn head(&self) -> &Head {
        // SAFETY: the interrupt is alive while it is connected, and this is freed when it is disconnected.
        unsafe { &*self.head }
    }

    /// The CPU, and the vector there.
    pub(super) fn place(&self) -> (u32, u8) {
        match &self.seat {
            Seat::Vector { cpu, vector } => (*cpu, *vector),
            Seat::Line(line) => line.place(),
        }
    }

    pub(super) fn line(&self) -> Option<&Arc<Line>> {
        match &self.seat {
            Seat::Vector { .. } => None,
            Seat::Line(line) => Some(line),
        }
    }
}

/// Why an interrupt was not connected; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// It is connected already.
    Connected,
    /// The machine has no such CPU.
    NoSuchCpu {
        /// The CPU asked for.
        cpu: u32,
        /// How many there are.
        cpus: u32,
    },
    /// The vector's class is not a device's.
    NotADeviceVector(u8),
    /// The vector is in use on that CPU.
    VectorTaken {
        /// The CPU.
        cpu: u32,
        /// The vector.
        vector: u8,
    },
    /// The lock's synchronize IRQL is below the vector's: the ISR would be interrupted under its own lock.
    SynchronizeTooLow {
        /// The vector's class.
        irql: u8,
        /// The lock's ceiling.
        ceiling: u8,
    },
    /// The line has a member, and it or the new one does not share (ShareVector).
    NotShared {
        /// The line's CPU.
        cpu: u32,
        /// The line's vector.
        vector: u8,
    },
    /// The line signals in another way than the interrupt was to be connected for.
    OtherMode {
        /// How the line signals.
        line: Mode,
    },
    /// It is not connected, so it cannot be moved.
    NotConnected,
    /// It is a member of a line, so it cannot be moved alone.
    OnALine,
    /// A line keeps the class of its vector when it moves, because its members' ISRs were chosen for it.
    OtherClass {
        /// The line's class.
        irql: u8,
        /// The vector asked for.
        vector: u8,
    },
    /// The source cannot be sent there.
    Refused {
        /// The CPU.
        cpu: u32,
        /// The vector.
        vector: u8,
    },
    /// No memory for the thread in which passive-level ISRs run.
    OutOfMemory,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("the interrupt is connected already"),
            Self::NoSuchCpu { cpu, cpus } => write!(f, "there is no CPU {cpu} among {cpus}"),
            Self::NotADeviceVector(vector) => write!(f, "vector {vector:#x} is not in a device class (3 to 12)"),
            Self::VectorTaken { cpu, vector } => write!(f, "vector {vector:#x} is in use on CPU {cpu}"),
            Self::SynchronizeTooLow { irql, ceiling } => {
                write!(f, "an interrupt at IRQL {irql} cannot use a lock whose synchronize IRQL is {ceiling}")
            }
            Self::NotShared { cpu, vector } => {
                write!(f, "vector {vector:#x} of CPU {cpu} has an owner, and not both would share it")
            }
            Self::OtherMode { line: Mode::Latched } => f.write_str("the line is edge triggered"),
            Self::OtherMode { line: Mode::LevelSensitive } => f.write_str("the line is level triggered"),
            Self::NotConnected => f.write_str("the interrupt is not connected"),
            Self::OnALine => f.write_str("the interrupt is on a line, which moves with all its members"),
            Self::OtherClass { irql, vector } => {
                write!(f, "a line at IRQL {irql} cannot move to vector {vector:#x}, which is in another class")
            }
            Self::Refused { cpu, vector } => {
                write!(f, "the interrupt's source cannot be sent to vector {vector:#x} of CPU {cpu}")
            }
            Self::OutOfMemory => f.write_str("there is no memory for the passive-level interrupt's thread"),
        }
    }
}

impl core::error::Error for ConnectError {}

impl<R: ServiceRoutine> Interrupt<R> {
    /// Takes a vector of its own: from here on its ISR may run, with `context`. PASSIVE. The lock's ceiling
    /// has settled.
    #[track_caller]
    pub fn connect(
        self: &Arc<Self>,
        at: &mut At<'_, Passive>,
        connection: Connection,
        context: R::Context,
    ) -> Result<(), ConnectError> {
        self.connect_as::<false>(at, connection, context)
    }

    #[track_caller]
    pub(super) fn connect_as<const V: bool>(
        self: &Arc<Self>,
        at: &mut At<'_, Passive>,
        connection: Connection,
        context: R::Context,
    ) -> Result<(), ConnectError> {
        at.point(Point::Connect, self.address(), Location::caller());
        if R::Level::PASSIVE {
            let Connection { cpu, vector, mode, source } = connection;
            let line = Line::new(cpu, vector, mode, source);
            return self.connect_to(at, &line, false, context);
        }
        let (cpu, vector) = (connection.cpu, connection.vector);
        let target = cpu_block(at.hal, cpu)?;
        let irql = self.check_level(vector)?;
        let Connection { mode, source, .. } = connection;
        let attached = self.attached_to::<V>(Seat::Vector { cpu, vector }, mode, source, irql);
        let _setup = self.setup.acquire(at);
        hal::system(at.hal).connected.claim(at, self.clone(), |hal| {
            if self.is_attached() {
                return Err(ConnectError::Connected);
            }
            if !target.is_free(vector) {
                return Err(ConnectError::VectorTaken { cpu, vector });
            }
            if V {
                self.watch_deferred(hal);
            }
            // SAFETY: not connected, and under the registry's lock.
            unsafe { self.attach(hal, attached, irql, context) };
            let taken = target.take_slot(vector, Arc::as_ptr(self).cast());
            debug_assert!(taken, "it was free, and the registry's lock is held");
            Ok(())
        })?;
        self.gate.settle(at);
        Ok(())
    }

    /// Joins the members of `line`, which must signal by `mode`. Unless it is alone there,
    /// all members `share`. PASSIVE. The lock's ceiling has settled.
    #[track_caller]
    pub fn connect_line(
        self: &Arc<Self>,
        at: &mut At<'_, Passive>,
        line: &Arc<Line>,
        mode: Mode,
        share: bool,
        context: R::Context,
    ) -> Result<(), ConnectError> {
        at.point(Point::Connect, self.address(), Location::caller());
        if line.mode() != mode {
            return Err(ConnectError::OtherMode { line: line.mode() });
        }
        self.connect_to(at, line, share, context)
    }

    fn connect_to(
        self: &Arc<Self>,
        at: &mut At<'_, Passive>,
        line: &Arc<Line>,
        shares: bool,
        context: R::Context,
    ) -> Result<(), ConnectError> {
        let irql = self.check_level(line.vector())?;
        let source: Arc<dyn Source> = Arc::new(Share::new(line.clone()));
        // Its own dispatch routine is not what a line calls.
        let attached = self.attached_to::<false>(Seat::Line(line.clone()), line.mode(), source, irql);
        let verified = verifier::is_on(at.hal);
        let _setup = self.setup.acquire(at);
        hal::system(at.hal).connected.claim(at, self.clone(), |hal| {
            if self.is_attached() {
                return Err(ConnectError::Connected);
            }
            if verified {
                self.watch_deferred(hal);
            }
            // SAFETY: not connected, and under the registry's lock.
            unsafe { self.attach(hal, attached, irql, context) };
            Ok(())
        })?;
        let ask = self.ask(irql, verified);
        let member =
            Member { head: Arc::as_ptr(self).cast(), ask, shares, active: true, moved: moving::note_moved::<R> };
        self.gate.settle(at);
        if let Err(error) = line.add(at, member) {
            let _context = self.detach(at);
            return Err(error);
        }
        Ok(())
    }

    /// The class of `vector`, if an interrupt with this lock can be connected there.
    pub(super) fn check_level(&self, vector: u8) -> Result<u8, ConnectError> {
        let (irql, ceiling) = (vector >> 4, self.lock.ceiling());
        if !(irql::DEVICE_LOWEST..=irql::DEVICE_HIGHEST).contains(&irql) {
            return Err(ConnectError::NotADeviceVector(vector));
        }
        if irql > ceiling && !R::Level::PASSIVE {
            return Err(ConnectError::SynchronizeTooLow { irql, ceiling });
        }
        Ok(irql)
    }

    /// What it will remember of a connection at class `irql`.
    pub(super) fn attached_to<const V: bool>(
        &self,
        seat: Seat,
        mode: Mode,
        source: Arc<dyn Source>,
        irql: u8,
    ) -> Attached {
        let latches = !source.can_mask();
        Attached { seat, mode, source, latches, routine: self.routine_for::<V>(irql), head: &self.head }
    }

    /// # Safety
    /// It is not connected, and the registry's lock is held.
    unsafe fn attach(&self, hal: HalRef<'_>, attached: Attached, irql: u8, context: R::Context) {
        // SAFETY: by the contract nobody else reaches it.
        unsafe { *self.context.get() = Some(context) };
        self.work.bind(hal);
        self.head.level.store(u32::from(irql), Relaxed);
        self.head.vector.store(attached.place().1, Relaxed);
        self.head.set_routine(attached.routine);
        // SAFETY: by the contract. The machine is there while the interrupt is connected: when it ends, its registry
        // abandons what is left.
        unsafe { self.gate.attach(hal, attached) };
        self.set_connected(true);
    }

    /// IoDisconnectInterruptEx with the flushes: when it returns, no ISR, DPC or work item of this interrupt runs or will
    /// run, whatever the device does. Gives the context back; `None` when it was not connected. PASSIVE; from its own callbacks it
    /// is a bug check, because they use the context.
    #[track_caller]
    pub fn disconnect(&self, at: &mut At<'_, Passive>) -> Option<R::Context> {
        at.point(Point::Disconnect, self.address(), Location::caller());
        if self.is_in_callback(at) {
            verifier::report_own_wait(at.hal, format_args!("{}", R::type_name()), Location::caller());
        }
        let _setup = self.setup.acquire(at);
        let context = self.detach(at);
        at.note(Point::Disconnected, self.address());
        context
    }

    /// With `setup` held.
    #[track_caller]
    fn detach(&self, at: &mut At<'_, Passive>) -> Option<R::Context> {
        if !self.is_attached() {
            return None;
        }
        self.set_connected(false);
        // Freed when this returns, after the barriers below: whoever else reads it is at DISPATCH or above.
        let attached = self.gate.replace(None)?;
        match &attached.seat {
            Seat::Line(line) => line.remove(at, ptr::from_ref(&self.head)),
            Seat::Vector { cpu, vector } => {
                let _can_mask = attached.source.mask(&mut at.raise_to_dirql(irql::DEVICE_HIGHEST).at);
                let cpu = percpu::of(at.hal, *cpu).expect("connecting checked that the machine has this CPU");
                // What was on its way is still served; what cannot be masked finds an empty slot from here on.
                barrier::on_cpu(at, cpu);
                cpu.empty_slot(*vector);
                barrier::on_cpu(at, cpu);
            }
        }
        barrier::twice(at);
        // Nobody masks or unmasks through the source any more.
        self.settle_for_good(at, &attached);
        if self.watch.forgive() {
            // A storm is over with the connection.
            self.gate.forget_mask();
        }
        self.flush_at_passive(at, Location::caller());
        self.leave_deferred();
        // SAFETY: no callback is left, and nobody enters: it is not connected.
        let context = unsafe { (*self.context.get()).take() };
        hal::system(at.hal).connected.release(at, ptr::from_ref(self).cast());
        context
    }

    /// What nobody masks or unmasks through any more is left as it should be.
    fn settle_for_good(&self, at: &mut At<'_, Passive>, attached: &Attached) {
        let mut raised = at.raise_to_dirql(irql::DEVICE_HIGHEST);
        match &attached.seat {
            // What it held masked of the line, it holds no longer.
            Seat::Line(_) => attached.source.unmask(&mut raised.at),
            // Who gave up a mask meanwhile may have unmasked it.
            Seat::Vector { .. } => {
                let _can_mask = attached.source.mask(&mut raised.at);
            }
        }
    }

    /// Runs `f` in the critical section, with the context: for the enable and disable callbacks, which are never part of
    /// automatic serialization either. `None` when it is not connected, active or not. PASSIVE.
    #[track_caller]
    pub fn synchronize_connected<T>(
        &self,
        at: &mut At<'_, Passive>,
        f: impl FnOnce(&R::Context, &mut R::State, &mut At<'_, R::Level>) -> T,
    ) -> Option<T> {
        let mut guard = self.lock.acquire(at);
        let (state, mut at) = guard.parts();
        // SAFETY: under the lock, so if it is connected now, `disconnect` waits for this section: with its barrier above
        // DISPATCH, for the lock at PASSIVE.
        let context = self.is_attached().then(|| unsafe { self.context() })?;
        at.note(Point::CallbackStart, self.address());
        let result = verifier::callback(&mut at, format_args!("{}", R::type_name()), |at| f(context, state, at));
        at.note(Point::CallbackEnd, self.address());
        Some(result)
    }

    /// # Safety
    /// It is connected, and `disconnect` waits for the caller: a callback, or a section at DISPATCH or above.
    #[inline(always)]
    pub(super) unsafe fn context(&self) -> &R::Context {
        // SAFETY: by the contract it is set, and nobody changes it.
        unsafe { (*self.context.get()).as_ref().unwrap_unchecked() }
    }

    /// What it is connected to.
    ///
    /// # Safety
    /// As [`Gate::attached`](super::mask::Gate::attached).
    pub(super) unsafe fn attached(&self) -> Option<&Attached> {
        // SAFETY: the same contract.
        unsafe { self.gate.attached() }
    }
}
