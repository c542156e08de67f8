//! Interrupt objects (KINTERRUPT, WDFINTERRUPT): connecting, dispatch to the ISR, its DPC and work item, teardown.
//!
//! [`Interrupt<R>`](Interrupt) is generic over the [`ServiceRoutine`] that the framework makes of a driver's callbacks,
//! so that ISR, lock and counters inline into one dispatch routine. Connecting chooses that routine; nothing on the path
//! tests what was known then.
//!
//! **Invariant:** an object in a vector's slot is connected, and the registry keeps it alive. Disconnecting refuses new
//! DPCs and work items, masks the source, passes the barrier on the granted CPU (what was on its way is served), empties
//! the slot, passes it again (no ISR runs or can start), and flushes what was queued: after it no callback of the object
//! runs.

use crate::{
    at::At,
    core_lock::CoreLock,
    dispatch::{self, Head},
    hal::Point,
    interrupt_lock::InterruptLock,
    level::{Dirql, Dispatch, IsrLevel, Level, Passive, irql},
    raw_dpc::{DpcKind, RawDpc},
    storm::{StormCause, StormWatch},
    wait_lock::WaitLock,
    work::{RawWork, WorkKind},
};
use alloc::{string::String, sync::Arc, vec, vec::Vec};
use core::{
    cell::UnsafeCell,
    panic::Location,
    ptr,
    sync::atomic::{
        AtomicBool,
        Ordering::{AcqRel, Acquire},
    },
};

mod activity;
mod connect;
mod mask;
mod moving;
mod registry;
mod serve;
mod verified;

pub use connect::{ConnectError, Connection};
use mask::Gate;
pub use mask::Masked;
pub(crate) use registry::Registry;
pub use registry::connected_interrupts;
use registry::cpu_block;

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

    /// The interrupt was masked for good because of a storm, and the console told; [`Interrupt::forgive`] ends that. At
    /// DISPATCH.
    fn storm(&self, context: &Self::Context, this: &Interrupt<Self>, cause: StormCause, at: &mut At<'_, Dispatch>) {
        let _ = (context, this, cause, at);
    }

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
    /// The last resort against a storm of what cannot be masked: keeps the device from sending anything (PCI: bus master
    /// off) until it is started anew. `false`: there is no such means, or it did not take.
    fn cut_off(&self, at: &mut At<'_, Dirql>) -> bool {
        let _ = at;
        false
    }
    /// Whether [`Self::mask`] may succeed at all. If not, it need not be asked.
    fn can_mask(&self) -> bool {
        true
    }
}

/// LevelSensitive or Latched (KINTERRUPT_MODE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Asserted until the device is served.
    LevelSensitive,
    /// An edge, or a message.
    Latched,
}

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
    /// Why it, or its line, was masked for good, if it was.
    pub storm: Option<StormCause>,
    /// Whether what comes reaches the ISR: not while it is reported inactive.
    pub active: bool,
}

/// An interrupt object. `repr(C)`, so that the head is first.
#[repr(C)]
pub struct Interrupt<R: ServiceRoutine> {
    head: Head,
    connected: AtomicBool,
    dpc: RawDpc,
    /// Of the interrupts that the ISR was asked about; its storms while it is alone on its vector.
    watch: StormWatch,
    lock: InterruptLock<R::State, R::Level>,
    /// Some while it is connected: set before the vector can dispatch, taken when no callback is left.
    context: UnsafeCell<Option<R::Context>>,
    /// What it shares with its masks.
    gate: Arc<Gate>,
    routine: R,
    work: RawWork,
    /// Held over connecting, moving and disconnecting.
    setup: WaitLock<()>,
    /// Where it was before it moved, and what it had counted by then.
    earlier: CoreLock<Vec<(u32, u64)>>,
}

// SAFETY: the context changes only while nobody can reach it: under the registry's lock before `connected` is set, and
// after the barriers of `disconnect`. Everything else is shared by its own rules.
unsafe impl<R: ServiceRoutine> Sync for Interrupt<R> {}
// SAFETY: the context may be sent, as everything else may.
unsafe impl<R: ServiceRoutine> Send for Interrupt<R> {}

impl<R: ServiceRoutine> Interrupt<R> {
    const DPC: DpcKind = DpcKind::new(serve::run_dpc::<R>, R::type_name);
    const REPORT: DpcKind = DpcKind::new(serve::report_storm::<R>, || "interrupt storm report");
    const WORK: WorkKind = WorkKind { routine: serve::run_work_item::<R> };

    /// An interrupt that is not connected (WdfInterruptCreate).
    pub fn new(routine: R, lock: InterruptLock<R::State, R::Level>) -> Arc<Self> {
        let this = Arc::new(Interrupt {
            head: Head::new(dispatch::unexpected, serve::storm::<R>, irql::DEVICE_LOWEST, R::type_name()),
            connected: AtomicBool::new(false),
            dpc: RawDpc::new(const { &Self::DPC }),
            watch: StormWatch::new(const { &Self::REPORT }),
            lock,
            context: UnsafeCell::new(None),
            gate: Gate::new(),
            routine,
            work: RawWork::new(const { &Self::WORK }),
            setup: WaitLock::new(()),
            earlier: CoreLock::new(Vec::new()),
        });
        let address = Arc::as_ptr(&this).cast::<()>();
        this.dpc.set_context(address);
        this.watch.place(address);
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

    /// Whether it is connected, and active; stale as soon as it is read.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Acquire)
    }

    /// The gate is told too; whoever has to settles it. `true`: it was.
    fn set_connected(&self, connected: bool) -> bool {
        let was = self.connected.swap(connected, AcqRel);
        self.gate.set_active(connected);
        was
    }

    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// Why it was masked for good, if it was; that of a line is the line's.
    pub fn storm(&self) -> Option<StormCause> {
        self.watch.cause()
    }

    /// Lets an interrupt that was masked for a storm through again; what came meanwhile is delivered now. One on a line
    /// is forgiven with its line. Any IRQL.
    pub fn forgive<L: Level>(&self, at: &mut At<'_, L>) {
        if self.watch.forgive() {
            self.gate.open(at);
        }
    }

    /// Whether the running thread is in its work item, or in its ISR at PASSIVE or another section of a lock at PASSIVE: so that it
    /// must not wait for the interrupt's callbacks. PASSIVE.
    pub fn is_in_callback(&self, at: &At<'_, Passive>) -> bool {
        self.work.is_mine(at) || self.lock.is_mine(at)
    }

    /// How often its ISR ran.
    pub fn count(&self) -> u64 {
        self.head.count()
    }

    /// WdfInterruptQueueDpcForIsr. `false`: queued already and not started, or not connected. Any IRQL.
    #[inline]
    #[track_caller]
    pub fn queue_dpc<L: Level>(&self, at: &mut At<'_, L>) -> bool {
        at.point(Point::QueueDpc, self.address(), Location::caller());
        let queued = self.queue_dpc_at(at);
        at.note_if(!queued, Point::DpcUnqueued, self.address());
        queued
    }

    #[inline]
    fn queue_dpc_at<L: Level>(&self, at: &mut At<'_, L>) -> bool {
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
        at.point(Point::QueueWorkItem, self.address(), Location::caller());
        let queued = self.queue_work_item_at(at);
        at.note_if(!queued, Point::WorkItemUnqueued, self.address());
        queued
    }

    #[inline]
    fn queue_work_item_at<L: Level>(&self, at: &mut At<'_, L>) -> bool {
        if L::IRQL >= irql::DISPATCH {
            // SAFETY: as in `queue_dpc`; bound by connecting, and disconnecting flushes the work item too.
            return self.is_connected() && unsafe { self.work.queue(at, || ()) };
        }
        // SAFETY: `L` is below DISPATCH, so it is `Passive`, and `at` is borrowed for as long as this token lives.
        let mut at = unsafe { At::<Passive>::mint(at.hal) };
        let mut raised = at.raise_to_dispatch();
        // SAFETY: as above.
        self.is_connected() && unsafe { self.work.queue(&mut raised.at, || ()) }
    }

    /// WdfInterruptGetInfo: `None` while it is not connected. IRQL <= DISPATCH.
    pub fn info<L: crate::AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> Option<InterruptInfo> {
        let mut raised = at.raise_to_dispatch();
        let at = &mut raised.at;
        let mut counts = vec![0; at.cpu_count() as usize];
        let mut counted = 0;
        for &(cpu, total) in self.earlier.acquire(at).iter() {
            counts[cpu as usize] += total - counted;
            counted = total;
        }
        // SAFETY: at DISPATCH until `raised` drops, which is after the last use.
        let attached = unsafe { self.attached() }?;
        let (cpu, vector) = attached.place();
        counts[cpu as usize] += self.count() - counted;
        Some(InterruptInfo {
            name: self.routine.describe(),
            vector,
            irql: vector >> 4,
            synchronize_irql: self.lock.ceiling(),
            mode: attached.mode,
            cpu,
            counts,
            unclaimed: self.watch.unclaimed(),
            masked: self.gate.is_masked(),
            storm: attached.line().map_or_else(|| self.storm(), |line| line.storm()),
            active: self.is_connected(),
        })
    }
}
