//! Lines: interrupts that several objects may share, and those whose ISRs run at PASSIVE.
//!
//! A line is what stands in a vector's slot for all its members. At DIRQL it asks them in the order they connected:
//!
//! - **level**: until the first claim. Nobody claims: the line is still asserted and fires again after the end of interrupt.
//! - **edge**: all of them, again and again until a whole pass claims nothing, because an edge that comes meanwhile from
//!   another device makes no new one.
//!
//! Members whose ISR runs at PASSIVE are asked by the line's own thread, after those at DIRQL: a level line is masked until
//! that pass is over, an edge is taken and the pass repeated when another came meanwhile.
//!
//! **Invariant:** the members are an array that is never changed, only replaced; the old one is freed when the barrier on
//! the line's CPU, and the turn of the pass at PASSIVE, say that nobody walks it.
//!
//! **Invariant:** the source is masked while there is a storm or nobody is there; a level line also while a member or the pass
//! wants it masked. An edge line latches for a member instead: a controller forgets edges that find its input masked.

use crate::{
    at::At,
    barrier,
    dispatch::{self, DispatchRoutine, Head},
    event::Event,
    hal::{HalWord, from_word},
    interrupt::{Claim, ConnectError, Mode, Source},
    level::{Dirql, Dispatch, Level, Passive, irql},
    percpu,
    raw_dpc::{DpcKind, Importance, RawDpc},
    thread::{self, JoinHandle, ThreadOptions},
    wait::Patience,
    wait_lock::WaitLock,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    fmt,
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    },
};

/// So many interrupts in a row that nobody claims mask the line.
pub const STORM: u32 = 1_000;
/// So many passes over an edge line's members in one interrupt mask the line.
pub const MOST_PASSES: u32 = 100;
/// Above workers and ordinary threads: a level line is masked meanwhile.
const PASS_PRIORITY: u8 = 24;

/// One interrupt object on a line.
#[derive(Clone, Copy)]
pub(crate) struct Member {
    pub(crate) head: *const Head,
    pub(crate) ask: Ask,
    pub(crate) shares: bool,
}

/// How a member is asked whether the interrupt was its own.
#[derive(Clone, Copy)]
pub(crate) enum Ask {
    /// In service, at the line's class.
    AtDirql(AskAtDirql),
    /// In the line's thread.
    AtPassive(AskAtPassive),
}

// SAFETY: a member's object is alive while it is connected, and may be used from any CPU.
unsafe impl Send for Member {}
// SAFETY: as above.
unsafe impl Sync for Member {}

type AskAtDirql = unsafe fn(*const Head, HalWord) -> Claim;
type AskAtPassive = unsafe fn(*const Head, &mut At<'_, Passive>) -> Claim;

/// The members by level, each in the order in which they connected.
#[derive(Default)]
struct Members {
    at_dirql: Vec<(*const Head, AskAtDirql)>,
    at_passive: Vec<(*const Head, AskAtPassive)>,
    all: Vec<Member>,
}

impl Members {
    fn of(all: Vec<Member>) -> Box<Self> {
        let mut members = Members::default();
        for member in &all {
            match member.ask {
                Ask::AtDirql(ask) => members.at_dirql.push((member.head, ask)),
                Ask::AtPassive(ask) => members.at_passive.push((member.head, ask)),
            }
        }
        Box::new(Members { all, ..members })
    }
}

/// A vector that interrupt objects can share. `repr(C)`, so that the head is first.
#[repr(C)]
pub struct Line {
    head: Head,
    members: AtomicPtr<Members>,
    /// Whether a member's ISR runs at PASSIVE.
    has_pass: AtomicBool,
    mode: Mode,
    cpu: u32,
    vector: u8,
    source: Arc<dyn Source>,
    /// Interrupts, and those that nobody claimed; the line's CPU counts.
    count: AtomicU64,
    unclaimed: AtomicU64,
    last_unclaimed: AtomicU64,
    unclaimed_in_a_row: AtomicU32,
    /// How many members want it masked, the pass over those at PASSIVE included.
    masks: AtomicU32,
    /// How many reasons there are to let nothing through: nobody is there, a storm.
    shuts: AtomicU32,
    /// A [`Storm`].
    stormed: AtomicU8,
    report: RawDpc,
    pass: Pass,
    /// Connecting and disconnecting, one at a time; holds the pass's thread.
    setup: WaitLock<Option<JoinHandle>>,
}

/// The pass over the members at PASSIVE.
struct Pass {
    /// [`WANTED`], [`CLAIMED`], [`AGAIN`].
    word: AtomicU32,
    ends: AtomicBool,
    wake: Event,
    carrier: RawDpc,
    /// Held over a pass, and by whoever makes sure that none is under way.
    turn: WaitLock<()>,
}

/// An interrupt came that the pass has not begun to serve.
const WANTED: u32 = 1;
/// A member at DIRQL has claimed it: the pass need not.
const CLAIMED: u32 = 2;
/// The next interrupt is a replay, for the members at DIRQL to be asked once more: it need not be anybody's.
const AGAIN: u32 = 4;

/// Why a line is masked for good.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Storm {
    None,
    NobodyClaims,
    ClaimsWithoutEnd,
}

const WAKE: DpcKind = DpcKind { routine: wake_pass, name: || "passive-level interrupt" };
const REPORT: DpcKind = DpcKind { routine: report_storm, name: || "interrupt storm report" };

impl Line {
    /// A line on `vector` of `cpu`, with nobody on it. Its source has been programmed, masked.
    pub fn new(cpu: u32, vector: u8, mode: Mode, source: Arc<dyn Source>) -> Arc<Self> {
        let line = Arc::new(Line {
            head: Head::new(walk_level, vector >> 4, "shared line"),
            members: AtomicPtr::new(Box::into_raw(Members::of(Vec::new()))),
            has_pass: AtomicBool::new(false),
            mode,
            cpu,
            vector,
            source,
            masks: AtomicU32::new(0),
            // Nobody is there yet.
            shuts: AtomicU32::new(1),
            count: AtomicU64::new(0),
            unclaimed: AtomicU64::new(0),
            last_unclaimed: AtomicU64::new(0),
            unclaimed_in_a_row: AtomicU32::new(0),
            stormed: AtomicU8::new(Storm::None as u8),
            report: RawDpc::new(&REPORT),
            pass: Pass {
                word: AtomicU32::new(0),
                ends: AtomicBool::new(false),
                wake: Event::new(),
                carrier: RawDpc::new(&WAKE),
                turn: WaitLock::new(()),
            },
            setup: WaitLock::new(None),
        });
        line.head.vector.store(vector, Relaxed);
        let address = Arc::as_ptr(&line).cast();
        line.report.set_context(address);
        line.pass.carrier.set_context(address);
        line
    }

    /// The CPU that takes it.
    pub fn cpu(&self) -> u32 {
        self.cpu
    }

    /// The vector on that CPU.
    pub fn vector(&self) -> u8 {
        self.vector
    }

    /// The vector's class.
    pub fn irql(&self) -> u8 {
        self.vector >> 4
    }

    /// How the source signals.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Interrupts on the line.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Interrupts that no member claimed.
    pub fn unclaimed(&self) -> u64 {
        self.unclaimed.load(Relaxed)
    }

    /// Whether the line was masked because nobody claimed its interrupts.
    pub fn has_stormed(&self) -> bool {
        self.stormed.load(Acquire) != Storm::None as u8
    }

    /// Lets a line that was masked for a storm interrupt again. Any IRQL.
    pub fn forgive<L: Level>(&self, at: &mut At<'_, L>) {
        self.unclaimed_in_a_row.store(0, Relaxed);
        if self.stormed.swap(Storm::None as u8, AcqRel) != Storm::None as u8 {
            if self.mode == Mode::Latched {
                // An edge may have been lost meanwhile.
                self.head.latched.store(true, SeqCst);
            }
            self.open(&mut at.raise_to_dirql(irql::DEVICE_HIGHEST).at);
        }
    }

    /// The members' names, in the order in which they are asked. PASSIVE.
    pub fn members(&self, at: &mut At<'_, Passive>) -> Vec<&'static str> {
        let _setup = self.setup.acquire(at);
        // SAFETY: members change under `setup` alone; a connected object is alive.
        unsafe { self.current().all.iter().map(|member| (*member.head).name()).collect() }
    }

    /// Adds `member`. The first one puts the line into the vector's slot.
    pub(crate) fn add(self: &Arc<Self>, at: &mut At<'_, Passive>, member: Member) -> Result<(), ConnectError> {
        let mut setup = self.setup.acquire(at);
        let cpus = at.cpu_count();
        let target = percpu::of(at.hal, self.cpu).ok_or(ConnectError::NoSuchCpu { cpu: self.cpu, cpus })?;
        // SAFETY: members change under `setup` alone.
        let now = unsafe { self.current() };
        if !now.all.iter().all(|other| other.shares && member.shares) {
            return Err(ConnectError::NotShared { cpu: self.cpu, vector: self.vector });
        }
        let first = now.all.is_empty();
        if first && !target.is_free(self.vector) {
            return Err(ConnectError::VectorTaken { cpu: self.cpu, vector: self.vector });
        }
        if matches!(member.ask, Ask::AtPassive(_)) && setup.is_none() {
            self.pass.ends.store(false, Relaxed);
            let line = self.clone();
            let options = ThreadOptions::named("passive-level interrupt").priority(PASS_PRIORITY);
            let thread = thread::spawn(at, options, move |at| line.run_passes(at));
            *setup = Some(thread.map_err(|_| ConnectError::OutOfMemory)?);
        }
        let mut all = now.all.clone();
        all.push(member);
        self.replace(at, all);
        if first {
            target.vector(self.vector).store(Arc::as_ptr(self).cast::<Head>().cast_mut(), Release);
            self.open(&mut at.raise_to_dirql(irql::DEVICE_HIGHEST).at);
        }
        Ok(())
    }

    /// Takes the member at `head` out: when this returns, nobody asks it any more. The last one empties the slot.
    pub(crate) fn remove(&self, at: &mut At<'_, Passive>, head: *const Head) {
        let mut setup = self.setup.acquire(at);
        // SAFETY: members change under `setup` alone.
        let mut all = unsafe { self.current() }.all.clone();
        let Some(place) = all.iter().position(|member| ptr::eq(member.head, head)) else { return };
        all.remove(place);
        let (nobody, nobody_at_passive) =
            (all.is_empty(), all.iter().all(|member| matches!(member.ask, Ask::AtDirql(_))));
        if nobody {
            self.shut(&mut at.raise_to_dirql(irql::DEVICE_HIGHEST).at);
            let cpu = percpu::of(at.hal, self.cpu).expect("adding a member checked that the machine has this CPU");
            cpu.vector(self.vector).store(ptr::from_ref(&cpu.unexpected).cast_mut(), Release);
        }
        self.replace(at, all);
        if nobody_at_passive && let Some(thread) = setup.take() {
            self.pass.ends.store(true, Release);
            self.pass.wake.set(at);
            // The thread ends by itself; only a device that is gone could interrupt this wait, and there is none here.
            let _ = thread.join(at);
        }
        // The report and the carrier may still be queued.
        barrier::flush_queued_dpcs(at);
    }

    /// # Safety
    /// The caller is at DISPATCH or above on the line's CPU, or has `setup` or the pass's turn, until it lets the
    /// reference go.
    unsafe fn current(&self) -> &Members {
        // SAFETY: by the contract and the first invariant.
        unsafe { &*self.members.load(Acquire) }
    }

    fn routine(&self) -> DispatchRoutine {
        match (self.mode, self.has_pass.load(Relaxed)) {
            (Mode::LevelSensitive, false) => walk_level,
            (Mode::Latched, false) => walk_edge,
            (Mode::LevelSensitive, true) => walk_level_with_pass,
            (Mode::Latched, true) => walk_edge_with_pass,
        }
    }

    /// With `setup` held.
    fn replace(&self, at: &mut At<'_, Passive>, all: Vec<Member>) {
        let members = Members::of(all);
        self.has_pass.store(!members.at_passive.is_empty(), Relaxed);
        let old = self.members.swap(Box::into_raw(members), AcqRel);
        self.settle_source(&mut at.raise_to_dirql(irql::DEVICE_HIGHEST).at);
        let cpu = percpu::of(at.hal, self.cpu).expect("adding a member checked that the machine has this CPU");
        barrier::on_cpu(at, cpu);
        drop(self.pass.turn.acquire(at));
        // SAFETY: made by `Box::into_raw`, and nobody walks it any more.
        drop(unsafe { Box::from_raw(old) });
    }

    /// One more wants the source masked.
    pub(crate) fn mask_more(&self, at: &mut At<'_, Dirql>) {
        self.masks.fetch_add(1, AcqRel);
        self.settle_source(at);
    }

    /// One less.
    pub(crate) fn mask_less(&self, at: &mut At<'_, Dirql>) {
        self.masks.fetch_sub(1, AcqRel);
        self.settle_source(at);
    }

    /// One more reason to let nothing through: nobody is there, or a storm.
    fn shut(&self, at: &mut At<'_, Dirql>) {
        self.shuts.fetch_add(1, AcqRel);
        self.settle_source(at);
    }

    /// One less.
    fn open(&self, at: &mut At<'_, Dirql>) {
        self.shuts.fetch_sub(1, AcqRel);
        self.settle_source(at);
    }

    /// Makes source and head agree with who wants the line masked, whoever else changes it at the same time.
    fn settle_source(&self, at: &mut At<'_, Dirql>) {
        loop {
            let wishes = (self.masks.load(Acquire) != 0, self.shuts.load(Acquire) != 0);
            self.apply(wishes, at);
            if wishes == (self.masks.load(Acquire) != 0, self.shuts.load(Acquire) != 0) {
                return;
            }
        }
    }

    fn apply(&self, (masked, shut): (bool, bool), at: &mut At<'_, Dirql>) {
        // A controller forgets the edges that find its input masked: for a member they are latched here instead.
        let latching = masked && self.mode == Mode::Latched;
        if shut || masked && !latching {
            if !self.source.mask(at) {
                self.head.set_routine(dispatch::latch);
            }
            return;
        }
        self.head.set_routine(if latching { dispatch::latch } else { self.routine() });
        self.source.unmask(at);
        if !latching && self.head.latched.swap(false, SeqCst) {
            at.hal.send_vector(self.cpu, self.vector);
        }
    }

    /// Asks the members at DIRQL once. `first_only`: until the first claim.
    ///
    /// # Safety
    /// In service on the line's CPU.
    #[inline(always)]
    unsafe fn ask(&self, word: HalWord, first_only: bool) -> Claim {
        let mut claim = Claim::NotMine;
        // SAFETY: above DISPATCH on the line's CPU; a member's object is alive while it is in the array.
        unsafe {
            for &(head, ask) in &self.current().at_dirql {
                if ask(head, word) == Claim::Mine {
                    claim = Claim::Mine;
                    if first_only {
                        break;
                    }
                }
            }
        }
        claim
    }

    /// # Safety
    /// In service on the line's CPU.
    #[inline(always)]
    unsafe fn ask_until_clean(&self, word: HalWord) -> Claim {
        let mut claim = Claim::NotMine;
        for _ in 0..MOST_PASSES {
            // SAFETY: the same contract.
            match unsafe { self.ask(word, false) } {
                Claim::Mine => claim = Claim::Mine,
                Claim::NotMine => return claim,
            }
        }
        // SAFETY: the stub passes what it was given; code at DIRQL.
        self.storm(Storm::ClaimsWithoutEnd, &mut unsafe { At::<Dirql>::mint(from_word(word)) });
        claim
    }

    #[inline(always)]
    fn count_one(&self) {
        self.count.store(self.count.load(Relaxed) + 1, Relaxed);
    }

    /// Nobody claimed, on a line all of whose members are at DIRQL: on the line's CPU, which has counted the interrupt. What
    /// is claimed costs nothing here, so "in a row" is told by the count.
    #[cold]
    fn nobody_claimed(&self, at: &mut At<'_, Dirql>) {
        let count = self.count.load(Relaxed);
        if self.last_unclaimed.swap(count, Relaxed) + 1 != count {
            self.unclaimed_in_a_row.store(0, Relaxed);
        }
        self.one_more_unclaimed(at);
    }

    #[cold]
    fn one_more_unclaimed(&self, at: &mut At<'_, Dirql>) {
        self.unclaimed.fetch_add(1, Relaxed);
        if self.unclaimed_in_a_row.fetch_add(1, Relaxed) + 1 >= STORM {
            self.storm(Storm::NobodyClaims, at);
        }
    }

    #[cold]
    fn storm(&self, why: Storm, at: &mut At<'_, Dirql>) {
        if self.stormed.compare_exchange(Storm::None as u8, why as u8, AcqRel, Relaxed).is_ok() {
            self.shut(at);
            let cpu = percpu::of(at.hal, self.cpu).expect("adding a member checked that the machine has this CPU");
            // SAFETY: a line is flushed before it goes; above DISPATCH with interrupts on.
            unsafe { self.report.insert_on(at.hal, cpu, Importance::MediumHigh, [0; 2], || ()) };
        }
    }

    /// An interrupt that the pass has to look at. `true`: the first since the last pass began.
    ///
    /// # Safety
    /// In service on the line's CPU.
    unsafe fn want_pass(&self, claimed: bool, at: &mut At<'_, Dirql>) -> bool {
        let bits = if claimed { WANTED | CLAIMED } else { WANTED };
        let first = self.pass.word.fetch_or(bits, AcqRel) & WANTED == 0;
        // SAFETY: a line is flushed before it goes; above DISPATCH with interrupts on.
        unsafe { self.pass.carrier.insert_here(at.hal) };
        first
    }

    /// The line's thread.
    fn run_passes(&self, at: &mut At<'_, Passive>) {
        loop {
            let waited = self.pass.wake.wait_with(at, Patience::FOREVER);
            debug_assert!(waited.is_ok(), "a wait without a deadline or an alert ends by its grant");
            self.pass.wake.clear(at);
            let word = self.pass.word.fetch_and(!(WANTED | CLAIMED), AcqRel);
            if word & WANTED != 0 {
                self.run_pass(word & CLAIMED != 0, at);
            }
            // What was wanted is served first: a level line is masked until then.
            if self.pass.ends.load(Acquire) && self.pass.word.load(Acquire) & WANTED == 0 {
                return;
            }
        }
    }

    fn run_pass(&self, claimed_at_dirql: bool, at: &mut At<'_, Passive>) {
        let turn = self.pass.turn.acquire(at);
        let mut claimed = false;
        let mut endless = false;
        for pass in 1..=MOST_PASSES {
            let claims = self.ask_at_passive(at);
            claimed |= claims;
            // Level: still asserted, it fires again. Edge: until a whole pass claims nothing.
            if !claims || self.mode == Mode::LevelSensitive {
                break;
            }
            endless = pass == MOST_PASSES;
        }
        // SAFETY: the turn is held.
        let others = !unsafe { self.current() }.at_dirql.is_empty();
        drop(turn);
        let mut raised = at.raise_to_dirql(irql::DEVICE_HIGHEST);
        let at = &mut raised.at;
        if claimed || claimed_at_dirql {
            self.unclaimed_in_a_row.store(0, Relaxed);
        } else {
            self.one_more_unclaimed(at);
        }
        if self.mode == Mode::LevelSensitive {
            self.mask_less(at);
        } else if endless {
            self.storm(Storm::ClaimsWithoutEnd, at);
        } else if claimed && others {
            // While a member here held the line, an edge of one at DIRQL made none.
            self.pass.word.fetch_or(AGAIN, AcqRel);
            at.hal.send_vector(self.cpu, self.vector);
        }
    }

    /// Asks the members at PASSIVE once; a level line's until the first claim. Whether one claimed. The turn is held.
    fn ask_at_passive(&self, at: &mut At<'_, Passive>) -> bool {
        let mut claimed = false;
        // SAFETY: the turn is held; a member's object is alive while it is in the array.
        for &(head, ask) in &unsafe { self.current() }.at_passive {
            // SAFETY: as above.
            claimed |= unsafe { ask(head, at) } == Claim::Mine;
            if claimed && self.mode == Mode::LevelSensitive {
                break;
            }
        }
        claimed
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw`; nobody else has the line.
        drop(unsafe { Box::from_raw(*self.members.get_mut()) });
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, vector, mode) = (self.cpu, self.vector, self.mode);
        f.debug_struct("Line").field("cpu", &cpu).field("vector", &vector).field("mode", &mode).finish_non_exhaustive()
    }
}

/// # Safety
/// As every [`crate::dispatch::DispatchRoutine`]; `head` is the head of a [`Line`].
unsafe extern "sysv64-unwind" fn walk_level(head: *const Head, word: HalWord) {
    // SAFETY: by the contract; the head is the first field.
    let line = unsafe { &*head.cast::<Line>() };
    line.count_one();
    // SAFETY: in service.
    let claim = unsafe { line.ask(word, true) };
    if claim == Claim::NotMine {
        // SAFETY: the stub passes what it was given; code at DIRQL.
        line.nobody_claimed(&mut unsafe { At::<Dirql>::mint(from_word(word)) });
    }
}

/// # Safety
/// As [`walk_level`].
unsafe extern "sysv64-unwind" fn walk_edge(head: *const Head, word: HalWord) {
    // SAFETY: by the contract; the head is the first field.
    let line = unsafe { &*head.cast::<Line>() };
    line.count_one();
    // SAFETY: in service.
    let claim = unsafe { line.ask_until_clean(word) };
    if claim == Claim::NotMine {
        // SAFETY: the stub passes what it was given; code at DIRQL.
        line.nobody_claimed(&mut unsafe { At::<Dirql>::mint(from_word(word)) });
    }
}

/// # Safety
/// As [`walk_level`].
unsafe extern "sysv64-unwind" fn walk_level_with_pass(head: *const Head, word: HalWord) {
    // SAFETY: by the contract; the head is the first field.
    let line = unsafe { &*head.cast::<Line>() };
    line.count_one();
    // SAFETY: in service.
    if unsafe { line.ask(word, true) } == Claim::Mine {
        line.unclaimed_in_a_row.store(0, Relaxed);
        return;
    }
    // SAFETY: the stub passes what it was given; code at DIRQL.
    let mut at = unsafe { At::<Dirql>::mint(from_word(word)) };
    // SAFETY: in service.
    if unsafe { line.want_pass(false, &mut at) } {
        // Before the end of interrupt, until the pass is over.
        line.mask_more(&mut at);
    }
}

/// # Safety
/// As [`walk_level`].
unsafe extern "sysv64-unwind" fn walk_edge_with_pass(head: *const Head, word: HalWord) {
    // SAFETY: by the contract; the head is the first field.
    let line = unsafe { &*head.cast::<Line>() };
    line.count_one();
    let again = line.pass.word.fetch_and(!AGAIN, AcqRel) & AGAIN != 0;
    // SAFETY: in service. Whatever they claim, the edge may also be one of a member at PASSIVE.
    let claimed = unsafe { line.ask_until_clean(word) } == Claim::Mine;
    // SAFETY: the stub passes what it was given; code at DIRQL.
    let mut at = unsafe { At::<Dirql>::mint(from_word(word)) };
    // A replay too: an edge that came since it was asked for is one with it. It counts as claimed, as it may be nobody's.
    // SAFETY: in service.
    unsafe { line.want_pass(claimed || again, &mut at) };
}

/// # Safety
/// As [`DpcKind::routine`] is called; the context is the [`Line`] whose DPC this is.
unsafe fn wake_pass(dpc: NonNull<RawDpc>, mut at: At<'_, Dispatch>) {
    // SAFETY: called as a DPC's routine; the line is flushed before it goes.
    let line = unsafe { &*RawDpc::begin(dpc).cast::<Line>() };
    line.pass.wake.set(&mut at);
}

/// # Safety
/// As [`wake_pass`].
unsafe fn report_storm(dpc: NonNull<RawDpc>, at: At<'_, Dispatch>) {
    // SAFETY: called as a DPC's routine; the line is flushed before it goes.
    let line = unsafe { &*RawDpc::begin(dpc).cast::<Line>() };
    let why = if line.stormed.load(Acquire) == Storm::NobodyClaims as u8 {
        "nobody claims its interrupts"
    } else {
        "its members claim interrupts without end"
    };
    at.print(format_args!(
        "interrupt storm: vector {:#x} of CPU {} is masked because {why} ({} of {} unclaimed); its members are",
        line.vector,
        line.cpu,
        line.unclaimed(),
        line.count(),
    ));
    // SAFETY: at DISPATCH on the line's CPU; a member's object is alive while it is in the array.
    for member in &unsafe { line.current() }.all {
        // SAFETY: as above.
        at.print(format_args!(" {}", unsafe { (*member.head).name() }));
    }
    at.print(format_args!("\n"));
}

/// One member's say in whether its line is masked.
pub(crate) struct Share {
    pub(crate) line: Arc<Line>,
    masks: AtomicBool,
}

impl Share {
    pub(crate) fn new(line: Arc<Line>) -> Self {
        Share { line, masks: AtomicBool::new(false) }
    }
}

impl Source for Share {
    fn mask(&self, at: &mut At<'_, Dirql>) -> bool {
        if !self.masks.swap(true, AcqRel) {
            self.line.mask_more(at);
        }
        true
    }

    fn unmask(&self, at: &mut At<'_, Dirql>) {
        if self.masks.swap(false, AcqRel) {
            self.line.mask_less(at);
        }
    }
}
