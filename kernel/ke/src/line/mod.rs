//! Lines: interrupts that several objects may share, and those whose ISRs run at PASSIVE.
//!
//! A line is what stands in a vector's slot for all its members. At DIRQL it asks them in the order they connected
//! ([`walk`]); members whose ISR runs at PASSIVE are asked by the line's own thread, after those at DIRQL ([`pass`]).
//!
//! **Invariant:** the members are an array that is never changed, only replaced; the old one is freed when the barrier on
//! the line's CPU, and the turn of the pass at PASSIVE, say that nobody walks it.
//!
//! **Invariant:** the source is masked while there is a storm or nobody is asked, or the line moves; a level line also while
//! a member or the pass wants it masked. An edge line latches for a member instead: a controller forgets edges that find
//! its input masked.

use crate::{
    at::At,
    barrier,
    dispatch::{self, DispatchRoutine, Head},
    hal::{self, HalRef},
    interrupt::{ConnectError, Mode, Source},
    level::{Dirql, Level, Passive, irql},
    percpu::{self, PerCpu},
    storm::{StormCause, StormWatch},
    wait_lock::WaitLock,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    fmt, ptr,
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32,
        Ordering::{AcqRel, Acquire, Relaxed, SeqCst},
    },
};
use members::Members;
use pass::Pass;

mod members;
mod moving;
mod pass;
mod share;
mod walk;

pub(crate) use members::{Ask, AskAtDirql, AskAtPassive, Member};
pub(crate) use share::Share;
pub use walk::MOST_PASSES;

/// A vector that interrupt objects can share. `repr(C)`, so that the head is first.
#[repr(C)]
pub struct Line {
    head: Head,
    members: AtomicPtr<Members>,
    /// Whether there are members whose ISR runs at DIRQL, and such whose ISR runs at PASSIVE.
    has_dirql: AtomicBool,
    has_pass: AtomicBool,
    mode: Mode,
    place: Place,
    source: Arc<dyn Source>,
    /// How many members want it masked, the pass over those at PASSIVE included.
    masks: AtomicU32,
    /// How many reasons there are to let nothing through: nobody is asked, a storm, a move.
    shuts: AtomicU32,
    watch: StormWatch,
    pass: Pass,
    /// Connecting, moving and disconnecting, one at a time; holds the pass's thread.
    setup: WaitLock<Option<crate::JoinHandle>>,
}

/// The CPU that takes the line, and its vector there: one word, so that both are read together while the line moves.
struct Place(AtomicU32);

impl Place {
    fn new(cpu: u32, vector: u8) -> Self {
        Place(AtomicU32::new(cpu << 8 | u32::from(vector)))
    }

    fn set(&self, other: Place) {
        self.0.store(other.0.into_inner(), Relaxed);
    }

    fn get(&self) -> (u32, u8) {
        let word = self.0.load(Relaxed);
        (word >> 8, word as u8)
    }
}

impl Line {
    /// A line on `vector` of `cpu`, with nobody on it. Its source has been programmed, masked.
    pub fn new(cpu: u32, vector: u8, mode: Mode, source: Arc<dyn Source>) -> Arc<Self> {
        let line = Arc::new(Line {
            // What a source that cannot mask sends before the line is opened is not lost.
            head: Head::new(dispatch::latch, walk::storm, vector >> 4, "shared line"),
            members: AtomicPtr::new(Box::into_raw(Members::of(Vec::new()))),
            has_dirql: AtomicBool::new(false),
            has_pass: AtomicBool::new(false),
            mode,
            place: Place::new(cpu, vector),
            source,
            masks: AtomicU32::new(0),
            // Nobody is asked yet.
            shuts: AtomicU32::new(1),
            watch: StormWatch::new(&walk::REPORT),
            pass: Pass::new(),
            setup: WaitLock::new(None),
        });
        line.head.vector.store(vector, Relaxed);
        let address = Arc::as_ptr(&line).cast();
        line.watch.place(address);
        line.pass.place();
        line
    }

    /// The CPU that takes it.
    pub fn cpu(&self) -> u32 {
        self.place.get().0
    }

    /// The vector on that CPU.
    pub fn vector(&self) -> u8 {
        self.place.get().1
    }

    /// The CPU and the vector there, read as one.
    pub(crate) fn place(&self) -> (u32, u8) {
        self.place.get()
    }

    /// The vector's class, wherever the line moves.
    pub fn irql(&self) -> u8 {
        self.vector() >> 4
    }

    /// How the source signals.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Interrupts on the line.
    pub fn count(&self) -> u64 {
        self.head.count()
    }

    /// Interrupts that no member claimed.
    pub fn unclaimed(&self) -> u64 {
        self.watch.unclaimed()
    }

    /// Why the line was masked for good, if it was.
    pub fn storm(&self) -> Option<StormCause> {
        self.watch.cause()
    }

    /// Lets a line that was masked for a storm interrupt again. Any IRQL.
    pub fn forgive<L: Level>(&self, at: &mut At<'_, L>) {
        if self.watch.forgive() {
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
        // SAFETY: members change under `setup` alone.
        unsafe { self.current() }.names().collect()
    }

    /// Adds `member`. The first one puts the line into the vector's slot.
    pub(crate) fn add(self: &Arc<Self>, at: &mut At<'_, Passive>, member: Member) -> Result<(), ConnectError> {
        let mut setup = self.setup.acquire(at);
        // SAFETY: members change under `setup` alone.
        let now = unsafe { self.current() }.all();
        if !now.iter().all(|other| other.shares && member.shares) {
            let (cpu, vector) = self.place();
            return Err(ConnectError::NotShared { cpu, vector });
        }
        let (first, nobody_asked) = (now.is_empty(), !Members::any_active(now));
        if first {
            // Shut, because nobody is asked: nothing comes before it is opened below.
            self.take_slot(at, self.place())?;
        }
        if matches!(member.ask, Ask::AtPassive(_)) && setup.is_none() {
            match self.spawn_pass(at) {
                Ok(thread) => *setup = Some(thread),
                Err(error) => {
                    if first {
                        self.empty_slot(at, self.place());
                    }
                    return Err(error);
                }
            }
        }
        let mut all = now.to_vec();
        all.push(member);
        self.replace(at, all);
        if nobody_asked {
            self.open(&mut at.raise_to_dirql(irql::DEVICE_HIGHEST).at);
        }
        Ok(())
    }

    /// Asks the member at `head`, or no longer: when this returns, nobody asks it any more. While none is asked, the line is
    /// masked.
    pub(crate) fn set_active(&self, at: &mut At<'_, Passive>, head: *const Head, active: bool) {
        let _setup = self.setup.acquire(at);
        // SAFETY: members change under `setup` alone.
        let mut all = unsafe { self.current() }.all().to_vec();
        let asked_before = Members::any_active(&all);
        let Some(member) = all.iter_mut().find(|member| ptr::eq(member.head, head)) else { return };
        member.active = active;
        let asked = Members::any_active(&all);
        if asked_before && !asked {
            self.shut(&mut at.raise_to_dirql(irql::DEVICE_HIGHEST).at);
        }
        self.replace(at, all);
        if asked && !asked_before {
            self.open(&mut at.raise_to_dirql(irql::DEVICE_HIGHEST).at);
        }
    }

    /// Takes the member at `head` out: when this returns, nobody asks it any more. The last one empties the slot.
    pub(crate) fn remove(&self, at: &mut At<'_, Passive>, head: *const Head) {
        let mut setup = self.setup.acquire(at);
        // SAFETY: members change under `setup` alone.
        let mut all = unsafe { self.current() }.all().to_vec();
        let Some(place) = all.iter().position(|member| ptr::eq(member.head, head)) else { return };
        let asked_before = Members::any_active(&all);
        all.remove(place);
        let (nobody, nobody_at_passive) =
            (all.is_empty(), all.iter().all(|member| matches!(member.ask, Ask::AtDirql(_))));
        if asked_before && !Members::any_active(&all) {
            self.shut(&mut at.raise_to_dirql(irql::DEVICE_HIGHEST).at);
        }
        if nobody {
            self.empty_slot(at, self.place());
        }
        self.replace(at, all);
        if nobody_at_passive && let Some(thread) = setup.take() {
            self.join_pass(at, thread);
        }
        // The report may still be queued.
        barrier::flush_queued_dpcs(at);
    }

    /// Puts the line into the slot of `place`.
    fn take_slot(&self, at: &mut At<'_, Passive>, (cpu, vector): (u32, u8)) -> Result<(), ConnectError> {
        hal::system(at.hal).connected.take_slot(at, cpu, vector, ptr::from_ref(self).cast())
    }

    /// What is still on its way there is unexpected from now on.
    fn empty_slot(&self, at: &mut At<'_, Passive>, (cpu, vector): (u32, u8)) {
        block_of(at.hal, cpu).empty_slot(vector);
    }

    /// # Safety
    /// The caller is at DISPATCH or above on the line's CPU, or has `setup` or the pass's turn, until it lets the
    /// reference go.
    unsafe fn current(&self) -> &Members {
        // SAFETY: by the contract and the first invariant.
        unsafe { &*self.members.load(Acquire) }
    }

    /// With `setup` held.
    fn replace(&self, at: &mut At<'_, Passive>, all: Vec<Member>) {
        let members = Members::of(all);
        self.has_dirql.store(!members.at_dirql.is_empty(), Relaxed);
        self.has_pass.store(!members.at_passive.is_empty(), Relaxed);
        let old = self.members.swap(Box::into_raw(members), AcqRel);
        self.settle_source(&mut at.raise_to_dirql(irql::DEVICE_HIGHEST).at);
        barrier::on_cpu(at, block_of(at.hal, self.cpu()));
        drop(self.pass.take_turn(at));
        // SAFETY: made by `Box::into_raw`, and nobody walks it any more.
        drop(unsafe { Box::from_raw(old) });
    }

    /// One more wants the source masked.
    fn mask_more(&self, at: &mut At<'_, Dirql>) {
        self.masks.fetch_add(1, AcqRel);
        self.settle_source(at);
    }

    /// One less.
    fn mask_less(&self, at: &mut At<'_, Dirql>) {
        self.masks.fetch_sub(1, AcqRel);
        self.settle_source(at);
    }

    /// One more reason to let nothing through.
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
            let (cpu, vector) = self.place();
            at.hal.send_vector(cpu, vector);
        }
    }

    fn routine(&self) -> DispatchRoutine {
        match (self.mode, self.has_pass.load(Relaxed)) {
            (Mode::LevelSensitive, false) => walk::level,
            (Mode::Latched, false) => walk::edge,
            (Mode::LevelSensitive, true) => walk::level_with_pass,
            (Mode::Latched, true) if self.has_dirql.load(Relaxed) => walk::edge_with_pass,
            (Mode::Latched, true) => walk::edge_for_pass,
        }
    }
}

/// The block of a line's CPU.
fn block_of(hal: HalRef<'_>, cpu: u32) -> &PerCpu {
    percpu::of(hal, cpu).expect("a line's first member, and a move, check that the machine has its CPU")
}

impl Drop for Line {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw`; nobody else has the line.
        drop(unsafe { Box::from_raw(*self.members.get_mut()) });
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, vector) = self.place();
        let line = &mut f.debug_struct("Line");
        line.field("cpu", &cpu).field("vector", &vector).field("mode", &self.mode).finish_non_exhaustive()
    }
}
