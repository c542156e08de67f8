//! An interrupt at an instruction of our choice.
//!
//! The local APIC's timer is borrowed from the core's clock and aimed at the vector of a [`Shot`]. Under QEMU's
//! `-icount shift=0` a tick is an instruction, so a shot of `n` ticks interrupts `n` instructions after it was armed.
//! What the interrupt leads to counts itself: its ISR, its DPC, and its [`End`], which sets an event.
//!
//! A second shot follows an ISR at DIRQL long after, unless [`Shot::disarm`] comes before: it wakes whom the first one did
//! not, so that a lost wake-up is a failure with a sentence, not a hang.
//!
//! **Invariant:** while the timer is borrowed nothing waits with a time limit and no two threads of one priority are ready:
//! the core leaves its clock alone.

use super::software::{connect, lock_of_class};
use alloc::{format, string::String, sync::Arc};
use core::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use hal_x86_64::local_apic;
use ke::{
    At, AtMost, Claim, Dirql, Dispatch, Event, Interrupt, JoinHandle, Masked, Passive, ServiceRoutine, Thread, irql,
    thread::{self, State, ThreadOptions},
};

/// The second shot's delay, in ticks: far longer than anything that the first one leads to.
const RESCUE: u32 = 1_000_000;

/// Better than the thread that sweeps, and than the workers.
const WOKEN_PRIORITY: u8 = 20;

/// Where the interrupt ends up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In the DPC that its ISR queues.
    Dpc,
    /// In a thread that the DPC wakes, which preempts the one that sweeps.
    Thread,
    /// In the work item that its ISR queues.
    WorkItem,
    /// In its ISR, which runs at PASSIVE.
    PassiveIsr,
}

impl End {
    pub const ALL: [End; 4] = [End::Dpc, End::Thread, End::WorkItem, End::PassiveIsr];
}

/// The class of the ISR at DIRQL that runs, 0 for none: what it interrupts must be lower.
static IN_SERVICE: AtomicU32 = AtomicU32::new(0);

/// How often each callback ran since the last [`Counts::reset`].
#[derive(Debug, Default)]
pub struct Counts {
    isrs: AtomicU32,
    dpcs: AtomicU32,
    ends: AtomicU32,
    wrong_levels: AtomicU32,
}

/// What [`Counts`] say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Runs {
    pub isrs: u32,
    pub dpcs: u32,
    pub ends: u32,
    /// Callbacks that did not run at their level.
    pub wrong_levels: u32,
}

impl Runs {
    /// Whether it came this far on the way to `whole`, and no farther.
    pub fn is_part_of(self, whole: Runs) -> bool {
        self.isrs <= whole.isrs
            && self.dpcs <= whole.dpcs.min(self.isrs)
            && self.ends <= self.isrs
            && self.wrong_levels == 0
    }
}

impl Counts {
    pub fn isr(&self, here: u8, expected: u8) {
        self.one(&self.isrs, here, expected);
    }

    /// An ISR at DIRQL: `body` is what it does.
    pub fn isr_at_dirql(&self, here: u8, expected: u8, body: impl FnOnce()) {
        let interrupted = IN_SERVICE.swap(expected.into(), Relaxed);
        if interrupted >= expected.into() {
            self.wrong_levels.fetch_add(1, Relaxed);
        }
        self.isr(here, expected);
        body();
        IN_SERVICE.store(interrupted, Relaxed);
    }

    pub fn dpc(&self, here: u8) {
        self.one(&self.dpcs, here, irql::DISPATCH);
    }

    pub fn end(&self, here: u8, expected: u8) {
        self.one(&self.ends, here, expected);
    }

    fn one(&self, count: &AtomicU32, here: u8, expected: u8) {
        count.fetch_add(1, Relaxed);
        if here != expected {
            self.wrong_levels.fetch_add(1, Relaxed);
        }
    }

    pub fn reset(&self) {
        for count in [&self.isrs, &self.dpcs, &self.ends, &self.wrong_levels] {
            count.store(0, Relaxed);
        }
    }

    pub fn runs(&self) -> Runs {
        Runs {
            isrs: self.isrs.load(Relaxed),
            dpcs: self.dpcs.load(Relaxed),
            ends: self.ends.load(Relaxed),
            wrong_levels: self.wrong_levels.load(Relaxed),
        }
    }
}

/// What a shot's callbacks share.
struct Record {
    irql: u8,
    end: End,
    counts: Counts,
    sweeper: Arc<Thread>,
    /// The sweeping thread was waiting when the interrupt came.
    met_waiting: AtomicBool,
    /// What a device's status register would say: the ISR at PASSIVE is asked until it has nothing to claim.
    raised: AtomicBool,
    wake: Event,
    ends: AtomicBool,
    done: Event,
}

impl Record {
    fn note_sweeper(&self) {
        if self.counts.runs().isrs == 0 {
            self.met_waiting.store(self.sweeper.state() == State::Parked, Relaxed);
        }
    }

    fn end<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) {
        self.counts.end(at.irql(), L::IRQL);
        self.done.set(at);
    }

    /// The thread of [`End::Thread`].
    fn run_woken(&self, at: &mut At<'_, Passive>) {
        // It uses no device, so nothing but the event ends its wait.
        while self.wake.wait(at).is_ok() {
            self.wake.clear(at);
            if self.ends.load(Acquire) {
                return;
            }
            self.end(at);
        }
    }
}

/// The ISR at DIRQL, and what it leads to.
struct AtDirql(Arc<Record>);

impl ServiceRoutine for AtDirql {
    type State = ();
    type Level = Dirql;
    type Context = ();

    fn service(&self, _: &(), _: &mut (), this: &Interrupt<Self>, at: &mut At<'_, Dirql>) -> Claim {
        self.0.note_sweeper();
        self.0.counts.isr_at_dirql(at.irql(), self.0.irql, || {
            local_apic::start_timer(RESCUE);
            match self.0.end {
                End::WorkItem => this.queue_work_item(at),
                _ => this.queue_dpc(at),
            };
        });
        Claim::Mine
    }

    fn dpc(&self, _: &(), _: &Interrupt<Self>, at: &mut At<'_, Dispatch>) {
        self.0.counts.dpc(at.irql());
        match self.0.end {
            End::Thread => self.0.wake.set(at),
            _ => self.0.end(at),
        }
    }

    fn work_item(&self, _: &(), _: &Interrupt<Self>, at: &mut At<'_, Passive>) {
        self.0.end(at);
    }

    fn describe(&self) -> String {
        "sweep".into()
    }
}

/// The ISR at PASSIVE.
struct AtPassive(Arc<Record>);

impl ServiceRoutine for AtPassive {
    type State = ();
    type Level = Passive;
    type Context = ();

    fn service(&self, _: &(), _: &mut (), _: &Interrupt<Self>, at: &mut At<'_, Passive>) -> Claim {
        if !self.0.raised.swap(false, Relaxed) {
            return Claim::NotMine;
        }
        self.0.note_sweeper();
        self.0.counts.isr(at.irql(), irql::PASSIVE);
        self.0.end(at);
        Claim::Mine
    }

    fn dpc(&self, _: &(), _: &Interrupt<Self>, _: &mut At<'_, Dispatch>) {}

    fn work_item(&self, _: &(), _: &Interrupt<Self>, _: &mut At<'_, Passive>) {}

    fn describe(&self) -> String {
        "sweep, passive".into()
    }
}

enum Target {
    Dirql(Arc<Interrupt<AtDirql>>),
    Passive(Arc<Interrupt<AtPassive>>),
}

/// An interrupt that the timer raises.
pub struct Shot {
    record: Arc<Record>,
    target: Target,
    thread: Option<JoinHandle>,
}

impl Shot {
    /// An interrupt of the class `irql` that ends as `end` says; `sweeper` is the calling thread.
    pub fn new(at: &mut At<'_, Passive>, irql: u8, end: End, sweeper: &Arc<Thread>) -> Result<Self, String> {
        let record = Arc::new(Record {
            irql,
            end,
            counts: Counts::default(),
            sweeper: sweeper.clone(),
            met_waiting: AtomicBool::new(false),
            raised: AtomicBool::new(false),
            wake: Event::new(),
            ends: AtomicBool::new(false),
            done: Event::new(),
        });
        let target = match end {
            End::PassiveIsr => Target::Passive(Interrupt::new(AtPassive(record.clone()), lock_of_class(irql)?)),
            _ => Target::Dirql(Interrupt::new(AtDirql(record.clone()), lock_of_class(irql)?)),
        };
        let mut shot = Shot { record: record.clone(), target, thread: None };
        if end == End::Thread {
            let options = ThreadOptions::named("sweep, woken").priority(WOKEN_PRIORITY);
            let thread = thread::spawn(at, options, move |at| record.run_woken(at));
            shot.thread = Some(thread.map_err(|error| format!("{error}"))?);
        }
        shot.connect(at)?;
        Ok(shot)
    }

    /// Borrows the timer, and aims it at this interrupt.
    pub fn connect(&self, at: &mut At<'_, Passive>) -> Result<(), String> {
        let vector = self.connect_only(at)?;
        local_apic::start_timer(0);
        local_apic::aim_timer(vector);
        Ok(())
    }

    /// Connects it again, while the timer runs: to the same vector, as nobody else has come meanwhile.
    pub fn reconnect(&self, at: &mut At<'_, Passive>) {
        // Without it the shot leads to nothing, which is noticed.
        let _connected = self.connect_only(at);
    }

    fn connect_only(&self, at: &mut At<'_, Passive>) -> Result<u8, String> {
        match &self.target {
            Target::Dirql(interrupt) => connect(at, interrupt, self.record.irql),
            Target::Passive(interrupt) => connect(at, interrupt, self.record.irql),
        }
    }

    pub fn disconnect(&self, at: &mut At<'_, Passive>) {
        match &self.target {
            Target::Dirql(interrupt) => interrupt.disconnect(at),
            Target::Passive(interrupt) => interrupt.disconnect(at),
        };
    }

    /// Gives the timer back to the core.
    pub fn end(self, at: &mut At<'_, Passive>) -> Result<(), String> {
        local_apic::start_timer(0);
        self.disconnect(at);
        local_apic::mask_timer(false);
        // What the clock was armed for is past, or the core arms it anew when it has looked.
        local_apic::start_timer(1);
        if let Some(thread) = self.thread {
            self.record.ends.store(true, Release);
            self.record.wake.set(at);
            thread.join(at).map_err(|gone| format!("{gone}"))?;
        }
        Ok(())
    }

    /// Before the shot: nothing has run.
    pub fn reset(&self, at: &mut At<'_, Passive>) {
        self.record.raised.store(true, Relaxed);
        self.record.done.clear(at);
        self.record.met_waiting.store(false, Relaxed);
        self.record.counts.reset();
    }

    /// The interrupt comes `ticks` from now.
    #[inline(always)]
    pub fn arm(&self, ticks: u32) {
        local_apic::start_timer(ticks);
    }

    /// There is no second shot.
    pub fn disarm(&self) {
        local_apic::start_timer(0);
    }

    pub fn runs(&self) -> Runs {
        self.record.counts.runs()
    }

    /// What it must have led to.
    pub fn expected(&self) -> Runs {
        let dpcs = u32::from(matches!(self.record.end, End::Dpc | End::Thread));
        Runs { isrs: 1, dpcs, ends: 1, wrong_levels: 0 }
    }

    /// Whether it came when the sweeping thread waited.
    pub fn met_waiting(&self) -> bool {
        self.record.met_waiting.load(Relaxed)
    }

    /// Set by what it leads to.
    pub fn done(&self) -> &Event {
        &self.record.done
    }

    pub fn mask(&self, at: &mut At<'_, Passive>) -> Masked {
        match &self.target {
            Target::Dirql(interrupt) => interrupt.mask(at),
            Target::Passive(interrupt) => interrupt.mask(at),
        }
    }
}
