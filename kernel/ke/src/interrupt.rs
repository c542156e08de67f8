//! Interrupt objects (KINTERRUPT, WDFINTERRUPT): connecting, dispatch to the ISR, its DPC and work item, teardown.
//!
//! [`Interrupt<R>`](Interrupt) is generic over the [`ServiceRoutine`] that the framework makes of a driver's callbacks,
//! so that ISR, lock and counters inline into one dispatch routine. Connecting chooses that routine; nothing on the path
//! tests what was known then.
//!
//! **Invariant:** an object in a vector's slot is connected, and the registry keeps it alive. Disconnecting refuses new
//! DPCs and work items, silences the source, passes the barrier on the granted CPU (no ISR runs or can start), empties
//! the slot, and flushes what was queued: after it no callback of the object runs.

use crate::{
    at::At,
    barrier,
    dispatch::{self, DispatchRoutine, Head},
    hal::{self, HalRef, HalWord, Point, from_word},
    interrupt_lock::InterruptLock,
    level::{Dirql, Dispatch, IsrLevel, Level, Passive, irql},
    line::{Ask, Line, Member, Share},
    masked::{Maskable, Masked},
    percpu,
    raw_dpc::{DpcKind, RawDpc},
    spin_lock::SpinLock,
    work::{self, RawWork, WorkKind},
};
use alloc::{boxed::Box, string::String, sync::Arc, vec, vec::Vec};
use core::{
    cell::UnsafeCell,
    fmt, mem,
    panic::Location,
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    },
};

/// Whether an interrupt was the device's own: the ISR's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[must_use]
pub enum Claim {
    /// TRUE: it was, and the device no longer asserts it.
    Mine,
    /// FALSE: somebody else's on a shared line, or nobody's.
    NotMine,
}

/// What an interrupt object does. The framework implements it for a driver's callbacks.
pub trait ServiceRoutine: Send + Sync + Sized + 'static {
    /// Behind the interrupt's lock.
    type State: Send + 'static;
    /// Where the ISR runs.
    type Level: IsrLevel;

    /// What every callback needs and exists exactly while the interrupt is connected: the device.
    type Context: Send + Sync + 'static;

    /// EvtInterruptIsr: at the synchronize IRQL, the lock held.
    fn service(
        &self,
        context: &Self::Context,
        state: &mut Self::State,
        this: &Interrupt<Self>,
        at: &mut At<'_, Self::Level>,
    ) -> Claim;

    /// EvtInterruptDpc, at DISPATCH.
    fn dpc(&self, context: &Self::Context, this: &Interrupt<Self>, at: &mut At<'_, Dispatch>);

    /// EvtInterruptWorkItem, at PASSIVE in a worker.
    fn work_item(&self, context: &Self::Context, this: &Interrupt<Self>, at: &mut At<'_, Passive>);

    /// The name in tables: which device, which message.
    fn describe(&self) -> String;

    /// The name in bug checks: the driver's handler type.
    fn type_name() -> &'static str {
        core::any::type_name::<Self>()
    }
}

/// Where an interrupt comes from, as far as it can be masked: an MSI capability, an MSI-X table entry, a line's entry in
/// the I/O APIC. It has been programmed with [`At::msi_message`] before the interrupt is connected.
pub trait Source: Send + Sync {
    /// Masks the source, read back so that nothing is on its way from it afterwards. `false`: it cannot be masked, so
    /// the core latches what comes.
    fn mask(&self, at: &mut At<'_, Dirql>) -> bool;
    /// Unmasks it.
    fn unmask(&self, at: &mut At<'_, Dirql>);
}

/// LevelSensitive or Latched (KINTERRUPT_MODE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Asserted until the device is served.
    LevelSensitive,
    /// An edge, or a message.
    Latched,
}

/// What an interrupt is connected to: the fully specified form of IoConnectInterruptEx.
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
struct Attached {
    cpu: u32,
    vector: u8,
    mode: Mode,
    source: Arc<dyn Source>,
    /// The line that it is a member of.
    line: Option<Arc<Line>>,
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
            Self::OutOfMemory => f.write_str("there is no memory for the passive-level interrupt's thread"),
        }
    }
}

impl core::error::Error for ConnectError {}

/// What is known of a connected interrupt (WDF_INTERRUPT_INFO with counts).
#[derive(Debug, Clone)]
pub struct InterruptInfo {
    /// Which device, which message.
    pub name: String,
    /// The vector.
    pub vector: u8,
    /// The vector's class.
    pub irql: u8,
    /// The IRQL of the ISR and of `synchronize`.
    pub synchronize_irql: u8,
    /// How the source signals.
    pub mode: Mode,
    /// The CPU that takes it.
    pub cpu: u32,
    /// How often the ISR ran, for each CPU.
    pub counts: Vec<u64>,
    /// How often it answered `NotMine`.
    pub unclaimed: u64,
    /// Whether it is masked.
    pub masked: bool,
}

/// An interrupt object. `repr(C)`, so that the head is first.
#[repr(C)]
pub struct Interrupt<R: ServiceRoutine> {
    head: Head,
    connected: AtomicBool,
    dpc: RawDpc,
    /// ISR runs on the granted CPU; changes under the lock.
    count: AtomicU64,
    unclaimed: AtomicU64,
    lock: InterruptLock<R::State, R::Level>,
    /// Some while it is connected: set before the vector can dispatch, taken when no callback is left.
    context: UnsafeCell<Option<R::Context>>,
    /// Some once it has been connected; used only while it is.
    machine: UnsafeCell<Option<HalRef<'static>>>,
    routine: R,
    masks: AtomicU32,
    work: RawWork,
    /// Null while it is not connected. Read at DISPATCH or above; freed after a barrier.
    attached: AtomicPtr<Attached>,
}

// SAFETY: the context changes only while nobody can reach it: under the registry's lock before `connected` is set, and
// after the barriers of `disconnect`. Everything else is shared by its own rules.
unsafe impl<R: ServiceRoutine> Sync for Interrupt<R> {}
// SAFETY: the reference to the machine is used where the machine's own code runs alone; everything else is `Send`.
unsafe impl<R: ServiceRoutine> Send for Interrupt<R> {}

impl<R: ServiceRoutine> Interrupt<R> {
    const DPC: DpcKind = DpcKind { routine: run_dpc::<R>, name: R::type_name };
    const WORK: WorkKind = WorkKind { routine: run_work_item::<R> };

    /// An interrupt that is not connected (WdfInterruptCreate).
    pub fn new(routine: R, lock: InterruptLock<R::State, R::Level>) -> Arc<Self> {
        let this = Arc::new(Interrupt {
            head: Head::new(dispatch::unexpected, irql::DEVICE_LOWEST, R::type_name()),
            connected: AtomicBool::new(false),
            dpc: RawDpc::new(const { &Self::DPC }),
            count: AtomicU64::new(0),
            unclaimed: AtomicU64::new(0),
            lock,
            context: UnsafeCell::new(None),
            machine: UnsafeCell::new(None),
            routine,
            masks: AtomicU32::new(0),
            work: RawWork::new(const { &Self::WORK }),
            attached: AtomicPtr::default(),
        });
        let address = Arc::as_ptr(&this).cast::<()>();
        this.dpc.set_context(address);
        this.work.place(address);
        this
    }

    /// What it does.
    pub fn routine(&self) -> &R {
        &self.routine
    }

    /// Its lock.
    pub fn lock(&self) -> &InterruptLock<R::State, R::Level> {
        &self.lock
    }

    /// Whether it is connected; stale as soon as it is read.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Acquire)
    }

    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// How often its ISR ran.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// IoConnectInterruptEx, fully specified: from here on its ISR may run, with `context`. PASSIVE. The lock's ceiling
    /// has settled.
    #[track_caller]
    pub fn connect(
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
        let cpus = at.cpu_count();
        let target = percpu::of(at.hal, cpu).ok_or(ConnectError::NoSuchCpu { cpu, cpus })?;
        let irql = self.check_level(vector)?;
        let Connection { mode, source, .. } = connection;
        let attached = Attached { cpu, vector, mode, source, line: None };
        hal::system(at.hal).connected.claim(at, self.clone(), |hal| {
            if self.is_connected() {
                return Err(ConnectError::Connected);
            }
            if !target.is_free(vector) {
                return Err(ConnectError::VectorTaken { cpu, vector });
            }
            // SAFETY: not connected, and under the registry's lock.
            unsafe { self.attach(hal, attached, irql, context) };
            target.vector(vector).store(Arc::as_ptr(self).cast::<Head>().cast_mut(), Release);
            Ok(())
        })?;
        self.settle_mask(at);
        Ok(())
    }

    /// IoConnectInterruptEx, line based: joins the members of `line`, which must signal by `mode`. Unless it is alone there,
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
        let (cpu, vector, mode) = (line.cpu(), line.vector(), line.mode());
        let attached = Attached { cpu, vector, mode, source, line: Some(line.clone()) };
        hal::system(at.hal).connected.claim(at, self.clone(), |hal| {
            if self.is_connected() {
                return Err(ConnectError::Connected);
            }
            // SAFETY: not connected, and under the registry's lock.
            unsafe { self.attach(hal, attached, irql, context) };
            Ok(())
        })?;
        let ask = match R::Level::PASSIVE {
            true => Ask::AtPassive(serve_at_passive::<R>),
            false if self.lock.ceiling() > irql => Ask::AtDirql(serve_raised::<R>),
            false => Ask::AtDirql(serve::<R>),
        };
        let member = Member { head: Arc::as_ptr(self).cast(), ask, shares };
        self.settle_mask(at);
        if let Err(error) = line.add(at, member) {
            let _context = self.disconnect(at);
            return Err(error);
        }
        Ok(())
    }

    /// The class of `vector`, if an interrupt with this lock can be connected there.
    fn check_level(&self, vector: u8) -> Result<u8, ConnectError> {
        let (irql, ceiling) = (vector >> 4, self.lock.ceiling());
        if !(irql::DEVICE_LOWEST..=irql::DEVICE_HIGHEST).contains(&irql) {
            return Err(ConnectError::NotADeviceVector(vector));
        }
        if irql > ceiling && !R::Level::PASSIVE {
            return Err(ConnectError::SynchronizeTooLow { irql, ceiling });
        }
        Ok(irql)
    }

    /// # Safety
    /// It is not connected, and the registry's lock is held.
    unsafe fn attach(&self, hal: HalRef<'_>, attached: Attached, irql: u8, context: R::Context) {
        // SAFETY: by the contract nobody else reaches either. The machine is there while the interrupt is connected: when
        // a machine ends, its registry disconnects what is left.
        unsafe {
            *self.context.get() = Some(context);
            *self.machine.get() = Some(mem::transmute::<HalRef<'_>, HalRef<'static>>(hal));
        }
        self.head.level.store(u32::from(irql), Relaxed);
        self.head.vector.store(attached.vector, Relaxed);
        self.head.set_routine(self.routine_for(irql));
        self.attached.store(Box::into_raw(Box::new(attached)), Release);
        self.connected.store(true, Release);
    }

    /// IoDisconnectInterruptEx with the flushes: when it returns, no ISR, DPC or work item of this interrupt runs or will
    /// run, whatever the device does. Gives the context back; `None` when it was not connected. PASSIVE; not from its own
    /// callbacks.
    #[track_caller]
    pub fn disconnect(&self, at: &mut At<'_, Passive>) -> Option<R::Context> {
        at.point(Point::Disconnect, self.address(), Location::caller());
        if !self.connected.swap(false, AcqRel) {
            return None;
        }
        let attached = self.attached.swap(ptr::null_mut(), AcqRel);
        // SAFETY: made by `attach`; whoever else reads it is at DISPATCH or above, and it is freed after the barriers below.
        let attached = unsafe { Box::from_raw(attached) };
        if let Some(line) = &attached.line {
            line.remove(at, ptr::from_ref(&self.head));
        } else {
            let _can_mask = attached.source.mask(&mut at.raise_to_dirql(irql::DEVICE_HIGHEST).at);
            let cpu = percpu::of(at.hal, attached.cpu).expect("connecting checked that the machine has this CPU");
            // What was on its way is still served; what cannot be masked finds an empty slot from here on.
            barrier::on_cpu(at, cpu);
            cpu.vector(attached.vector).store(ptr::from_ref(&cpu.unexpected).cast_mut(), Release);
            barrier::on_cpu(at, cpu);
        }
        barrier::twice(at);
        if attached.line.is_some() {
            // Nobody masks through it any more: what it held masked of the line, it holds no longer.
            attached.source.unmask(&mut at.raise_to_dirql(irql::DEVICE_HIGHEST).at);
        }
        self.work.flush(at);
        // A critical section at PASSIVE that found it connected is over when its lock is free.
        drop(self.lock.acquire(at));
        // SAFETY: no callback is left, and nobody enters: it is not connected.
        let context = unsafe { (*self.context.get()).take() };
        hal::system(at.hal).connected.release(at, ptr::from_ref(self).cast());
        context
    }

    /// Runs `f` in the critical section, with the context: for the enable and disable callbacks, which are never part of
    /// automatic serialization either. `None` when it is not connected. PASSIVE.
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
        let context = self.is_connected().then(|| unsafe { self.context() });
        context.map(|context| f(context, state, &mut at))
    }

    /// # Safety
    /// It is connected, and `disconnect` waits for the caller: a callback, or a section at DISPATCH or above.
    #[inline(always)]
    unsafe fn context(&self) -> &R::Context {
        // SAFETY: by the contract it is set, and nobody changes it.
        unsafe { (*self.context.get()).as_ref().unwrap_unchecked() }
    }

    /// WdfInterruptQueueDpcForIsr. `false`: queued already and not started, or not connected. Any IRQL.
    #[inline]
    #[track_caller]
    pub fn queue_dpc<L: Level>(&self, at: &mut At<'_, L>) -> bool {
        at.point(Point::QueueDpc, ptr::from_ref(&self.dpc).addr(), Location::caller());
        if L::IRQL >= irql::DISPATCH {
            // SAFETY: at DISPATCH or above. Connected, so alive: disconnecting first refuses, then waits with the barrier
            // until every section like this one is over, then until what it queued has run.
            return self.is_connected() && unsafe { self.dpc.insert_here(at.hal) };
        }
        // SAFETY: `L` is below DISPATCH, so it is `Passive`, and `at` is borrowed for as long as this token lives.
        let mut at = unsafe { At::<Passive>::mint(at.hal) };
        let raised = at.raise_to_dispatch();
        // SAFETY: as above.
        self.is_connected() && unsafe { self.dpc.insert_here(raised.at.hal) }
    }

    /// WdfInterruptQueueWorkItemForIsr. `false`: queued already and not started, or not connected. Any IRQL.
    #[inline]
    #[track_caller]
    pub fn queue_work_item<L: Level>(&self, at: &mut At<'_, L>) -> bool {
        at.point(Point::QueueWorkItem, ptr::from_ref(&self.work).addr(), Location::caller());
        if L::IRQL >= irql::DISPATCH {
            // SAFETY: as in `queue_dpc`; disconnecting flushes the work item too.
            return self.is_connected() && unsafe { self.work.queue(at, || ()) };
        }
        // SAFETY: `L` is below DISPATCH, so it is `Passive`, and `at` is borrowed for as long as this token lives.
        let mut at = unsafe { At::<Passive>::mint(at.hal) };
        let mut raised = at.raise_to_dispatch();
        // SAFETY: as above.
        self.is_connected() && unsafe { self.work.queue(&mut raised.at, || ()) }
    }

    /// Masks the interrupt while the result lives: its ISR does not start; one that runs is not waited for. Any IRQL.
    #[track_caller]
    pub fn mask<L: Level>(self: &Arc<Self>, at: &mut At<'_, L>) -> Masked {
        at.point(Point::Mask, self.address(), Location::caller());
        self.masks.fetch_add(1, AcqRel);
        self.settle_mask(at);
        Masked::new(self.clone())
    }

    /// Makes head and source agree with the number of masks, whoever else changes it at the same time.
    fn settle_mask<L: Level>(&self, at: &mut At<'_, L>) {
        let mut raised = at.raise_to_dirql(irql::DEVICE_HIGHEST);
        let at = &mut raised.at;
        loop {
            let masked = self.masks.load(Acquire) != 0;
            self.apply_mask(masked, at);
            if (self.masks.load(Acquire) != 0) == masked {
                return;
            }
        }
    }

    fn apply_mask(&self, masked: bool, at: &mut At<'_, Dirql>) {
        // SAFETY: above DISPATCH, and the reference ends with this function.
        let Some(attached) = (unsafe { self.attached() }) else { return };
        if masked {
            if !attached.source.mask(at) {
                self.head.set_routine(dispatch::latch);
            }
            return;
        }
        self.head.set_routine(self.routine_for(self.head.level()));
        attached.source.unmask(at);
        if self.head.latched.swap(false, SeqCst) {
            at.hal.send_vector(attached.cpu, attached.vector);
        }
    }

    fn routine_for(&self, irql: u8) -> DispatchRoutine {
        if self.lock.ceiling() > irql { single_raised::<R> } else { single::<R> }
    }

    /// What it is connected to.
    ///
    /// # Safety
    /// The caller is at DISPATCH or above until it lets the reference go: then the barrier of `disconnect` waits for it.
    unsafe fn attached(&self) -> Option<&Attached> {
        // SAFETY: by the contract.
        unsafe { self.attached.load(Acquire).as_ref() }
    }

    /// WdfInterruptGetInfo: `None` while it is not connected. IRQL <= DISPATCH.
    pub fn info<L: crate::AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> Option<InterruptInfo> {
        let raised = at.raise_to_dispatch();
        // SAFETY: at DISPATCH until `raised` drops, which is after the last use.
        let attached = unsafe { self.attached() }?;
        let mut counts = vec![0; raised.at.cpu_count() as usize];
        counts[attached.cpu as usize] = self.count();
        Some(InterruptInfo {
            name: self.routine.describe(),
            vector: attached.vector,
            irql: attached.vector >> 4,
            synchronize_irql: self.lock.ceiling(),
            mode: attached.mode,
            cpu: attached.cpu,
            counts,
            unclaimed: self.unclaimed.load(Relaxed),
            masked: self.masks.load(Relaxed) != 0,
        })
    }

    /// The ISR's run under the lock. At the synchronize IRQL.
    ///
    /// # Safety
    /// Called by a dispatch routine at the ceiling, which does not hold the lock.
    #[inline(always)]
    unsafe fn serve(&self, word: HalWord) -> Claim {
        // SAFETY: the stub passes what it was given.
        let hal = unsafe { from_word(word) };
        // SAFETY: by the contract.
        let claim = unsafe {
            self.lock.body().with_word(hal, |state| {
                self.count.store(self.count.load(Relaxed) + 1, Relaxed);
                // SAFETY: here code at DIRQL begins on this CPU; `R::Level` is not `Passive`, or it were not connected.
                let mut at = At::<R::Level>::mint(hal);
                at.note(Point::IsrStart, self.address());
                let claim = self.routine.service(self.context(), state, self, &mut at);
                at.note(if claim == Claim::Mine { Point::IsrMine } else { Point::IsrNotMine }, self.address());
                claim
            })
        };
        if claim == Claim::NotMine {
            self.unclaimed.fetch_add(1, Relaxed);
        }
        claim
    }
}

impl<R: ServiceRoutine> Maskable for Interrupt<R> {
    fn undo_mask(&self) {
        self.masks.fetch_sub(1, SeqCst);
        if !self.is_connected() {
            return;
        }
        // SAFETY: set before it was first connected, and it is connected.
        let Some(hal) = (unsafe { *self.machine.get() }) else { return };
        if hal.level().max(hal.task_priority()) == irql::PASSIVE {
            // SAFETY: the run-time level says so.
            self.settle_mask(&mut unsafe { At::<Passive>::mint(hal) });
        } else {
            // SAFETY: raising from here restores CR8 as it is, which is all that a `Dirql` token stands for.
            self.settle_mask(&mut unsafe { At::<Dirql>::mint(hal) });
        }
    }
}

/// A lone owner whose lock needs no more than the vector's class.
///
/// # Safety
/// `head` is the head of a connected `Interrupt<R>`, in service at its class.
unsafe extern "sysv64-unwind" fn single<R: ServiceRoutine>(head: *const Head, word: HalWord) {
    // SAFETY: the same contract.
    let _claim = unsafe { serve::<R>(head, word) };
}

/// A lone owner whose lock has a higher ceiling than the vector's class.
///
/// # Safety
/// As [`single`].
unsafe extern "sysv64-unwind" fn single_raised<R: ServiceRoutine>(head: *const Head, word: HalWord) {
    // SAFETY: the same contract.
    let _claim = unsafe { serve_raised::<R>(head, word) };
}

/// As [`single`], for a walk over the members of a line.
///
/// # Safety
/// As [`single`].
#[inline(always)]
unsafe fn serve<R: ServiceRoutine>(head: *const Head, word: HalWord) -> Claim {
    // SAFETY: by the contract; the head is the first field.
    unsafe { (*head.cast::<Interrupt<R>>()).serve(word) }
}

/// As [`single_raised`], for a walk over the members of a line.
///
/// # Safety
/// As [`single`].
#[inline(always)]
unsafe fn serve_raised<R: ServiceRoutine>(head: *const Head, word: HalWord) -> Claim {
    // SAFETY: by the contract; the head is the first field.
    let this = unsafe { &*head.cast::<Interrupt<R>>() };
    // SAFETY: the stub passes what it was given; code at DIRQL begins here.
    let mut at = unsafe { At::<Dirql>::mint(from_word(word)) };
    let raised = at.raise_to_dirql(this.lock.ceiling());
    // SAFETY: at the ceiling now.
    let claim = unsafe { this.serve(word) };
    drop(raised);
    claim
}

/// The ISR's run at PASSIVE, in the thread of its line.
///
/// # Safety
/// `head` is the head of a connected `Interrupt<R>` whose level is `Passive`, which is not freed before this returns.
unsafe fn serve_at_passive<R: ServiceRoutine>(head: *const Head, at: &mut At<'_, Passive>) -> Claim {
    // SAFETY: by the contract; the head is the first field.
    let this = unsafe { &*head.cast::<Interrupt<R>>() };
    if this.masks.load(Acquire) != 0 {
        this.head.latched.store(true, SeqCst);
        // As in `latch`: unmasked meanwhile, one of the two sees the other.
        if this.masks.load(SeqCst) != 0 || !this.head.latched.swap(false, SeqCst) {
            return Claim::NotMine;
        }
    }
    let mut guard = this.lock.acquire(at);
    let (state, mut at) = guard.parts();
    this.count.store(this.count.load(Relaxed) + 1, Relaxed);
    at.note(Point::IsrStart, this.address());
    // SAFETY: a member of a line is connected until the line lets it go.
    let claim = this.routine.service(unsafe { this.context() }, state, this, &mut at);
    at.note(if claim == Claim::Mine { Point::IsrMine } else { Point::IsrNotMine }, this.address());
    if claim == Claim::NotMine {
        this.unclaimed.fetch_add(1, Relaxed);
    }
    claim
}

/// # Safety
/// As [`DpcKind::routine`] is called; the DPC's context is an `Interrupt<R>` that is not freed before this returns.
unsafe fn run_dpc<R: ServiceRoutine>(dpc: NonNull<RawDpc>, mut at: At<'_, Dispatch>) {
    // SAFETY: by the contract.
    let this = unsafe { RawDpc::begin(dpc) };
    // SAFETY: by the contract: disconnecting flushes.
    let this = unsafe { &*this.cast::<Interrupt<R>>() };
    // SAFETY: disconnecting flushes this DPC before it takes the context.
    let context = unsafe { this.context() };
    at.note(Point::DpcStart, this.address());
    this.routine.dpc(context, this, &mut at);
    at.note(Point::DpcEnd, this.address());
}

/// # Safety
/// As [`run_dpc`].
unsafe fn run_work_item<R: ServiceRoutine>(this: *const (), at: &mut At<'_, Passive>) {
    // SAFETY: by the contract: disconnecting flushes.
    let this = unsafe { &*this.cast::<Interrupt<R>>() };
    // SAFETY: disconnecting flushes this work item before it takes the context.
    let context = unsafe { this.context() };
    at.note(Point::WorkItemStart, this.address());
    this.routine.work_item(context, this, at);
    at.note(Point::WorkItemEnd, this.address());
    work::finished(at, &this.work);
}

/// What the registry knows of a connected interrupt.
trait Connected: Send + Sync {
    fn info(&self, at: &mut At<'_, Passive>) -> Option<InterruptInfo>;
    fn address(&self) -> *const ();
    /// Its machine ends.
    fn abandon(&self);
}

impl<R: ServiceRoutine> Connected for Interrupt<R> {
    fn info(&self, at: &mut At<'_, Passive>) -> Option<InterruptInfo> {
        Interrupt::info(self, at)
    }
    fn address(&self) -> *const () {
        ptr::from_ref(self).cast()
    }
    fn abandon(&self) {
        self.connected.store(false, Release);
    }
}

/// The connected interrupts of a machine. Whoever connects does so under its lock.
pub(crate) struct Registry {
    connected: SpinLock<Vec<Arc<dyn Connected>>>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Registry { connected: SpinLock::new(Vec::new()) }
    }

    fn claim<R: ServiceRoutine>(
        &self,
        at: &mut At<'_, Passive>,
        interrupt: Arc<Interrupt<R>>,
        install: impl FnOnce(HalRef<'_>) -> Result<(), ConnectError>,
    ) -> Result<(), ConnectError> {
        self.connected.with(at, |connected, at| {
            connected.reserve(1);
            install(at.hal)?;
            connected.push(interrupt);
            Ok(())
        })
    }

    fn release(&self, at: &mut At<'_, Passive>, address: *const ()) {
        let released = self.connected.with(at, |connected, _| {
            let place = connected.iter().position(|each| ptr::eq(each.address(), address))?;
            Some(connected.swap_remove(place))
        });
        // Dropped here, at PASSIVE, if the driver's handle is gone already.
        drop(released);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for each in self.connected.get_mut() {
            each.abandon();
        }
    }
}

/// All connected interrupts, ordered by CPU and vector. PASSIVE.
pub fn connected_interrupts(at: &mut At<'_, Passive>) -> Vec<InterruptInfo> {
    let registry = &hal::system(at.hal).connected;
    let connected = registry.connected.with(at, |connected, _| connected.to_vec());
    let mut infos: Vec<_> = connected.iter().filter_map(|each| each.info(at)).collect();
    infos.sort_by_key(|info| (info.cpu, info.vector));
    infos
}
