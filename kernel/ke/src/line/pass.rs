//! The pass over a line's members at PASSIVE, in the line's own thread.
//!
//! A level line is masked until the pass is over; an edge is taken and the pass repeated when another came meanwhile.
//!
//! **Invariant:** an interrupt that wants a pass sets [`WANTED`] before it wakes the thread, and the thread takes it before
//! the pass begins: no interrupt is left without a pass that began after it.

use super::{Line, MOST_PASSES};
use crate::{
    at::At,
    event::Event,
    interrupt::{Claim, ConnectError, Mode},
    level::{Dirql, Dispatch, Passive, irql},
    raw_dpc::{DpcKind, RawDpc},
    storm::StormCause,
    thread::{self, JoinHandle, ThreadOptions},
    wait::Patience,
    wait_lock::{WaitGuard, WaitLock},
};
use alloc::sync::Arc;
use core::{
    ptr::NonNull,
    sync::atomic::{
        AtomicBool, AtomicU32,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

/// Above workers and ordinary threads: a level line is masked meanwhile.
const PASS_PRIORITY: u8 = 24;

/// An interrupt came that the pass has not begun to serve.
const WANTED: u32 = 1;
/// A member at DIRQL has claimed it: the pass need not.
const CLAIMED: u32 = 2;
/// The next interrupt is a replay, for the members at DIRQL to be asked once more: it need not be anybody's.
const AGAIN: u32 = 4;

const WAKE: DpcKind = DpcKind { routine: wake_pass, name: || "passive-level interrupt" };

/// What interrupt and thread tell each other.
pub(super) struct Pass {
    /// [`WANTED`], [`CLAIMED`], [`AGAIN`].
    word: AtomicU32,
    ends: AtomicBool,
    wake: Event,
    carrier: RawDpc,
    /// Held over a pass and its replay, and by whoever makes sure that none is under way.
    turn: WaitLock<()>,
}

impl Pass {
    pub(super) fn new() -> Self {
        Pass {
            word: AtomicU32::new(0),
            ends: AtomicBool::new(false),
            wake: Event::new(),
            carrier: RawDpc::new(&WAKE),
            turn: WaitLock::new(()),
        }
    }

    pub(super) fn place(&self, line: *const ()) {
        self.carrier.set_context(line);
    }

    /// While the result lives, no pass is under way, and none asks for a replay.
    pub(super) fn take_turn<'a, 'c: 'a>(&'a self, at: &mut At<'c, Passive>) -> WaitGuard<'a, ()> {
        self.turn.acquire(at)
    }

    /// Whether the interrupt is a replay.
    pub(super) fn take_again(&self) -> bool {
        self.word.fetch_and(!AGAIN, AcqRel) & AGAIN != 0
    }
}

impl Line {
    /// With `setup` held.
    pub(super) fn spawn_pass(self: &Arc<Self>, at: &mut At<'_, Passive>) -> Result<JoinHandle, ConnectError> {
        self.pass.ends.store(false, Relaxed);
        let line = self.clone();
        let options = ThreadOptions::named("passive-level interrupt").priority(PASS_PRIORITY);
        thread::spawn(at, options, move |at| line.run_passes(at)).map_err(|_| ConnectError::OutOfMemory)
    }

    /// With `setup` held.
    pub(super) fn end_pass(&self, at: &mut At<'_, Passive>, thread: JoinHandle) {
        self.pass.ends.store(true, Release);
        self.pass.wake.set(at);
        // The thread ends by itself; only a device that is gone could interrupt this wait, and there is none here.
        let _ = thread.join(at);
    }

    /// An interrupt that the pass has to look at. `true`: the first since the last pass began.
    ///
    /// # Safety
    /// In service on the line's CPU.
    pub(super) unsafe fn want_pass(&self, claimed: bool, at: &mut At<'_, Dirql>) -> bool {
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
        let _turn = self.pass.turn.acquire(at);
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
        let mut raised = at.raise_to_dirql(irql::DEVICE_HIGHEST);
        let at = &mut raised.at;
        if claimed || claimed_at_dirql {
            self.watch.claimed();
        } else if self.watch.one_more_unclaimed() {
            self.begin_storm(StormCause::NobodyClaims, at);
        }
        if self.mode == Mode::LevelSensitive {
            self.mask_less(at);
        } else if endless {
            self.begin_storm(StormCause::ClaimsWithoutEnd, at);
        } else if claimed && others {
            // While a member here held the line, an edge of one at DIRQL made none.
            self.pass.word.fetch_or(AGAIN, AcqRel);
            let (cpu, vector) = self.place();
            at.hal.send_vector(cpu, vector);
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

/// # Safety
/// As [`DpcKind::routine`] is called; the context is the [`Line`] whose DPC this is.
unsafe fn wake_pass(dpc: NonNull<RawDpc>, mut at: At<'_, Dispatch>) {
    // SAFETY: called as a DPC's routine; the line is flushed before it goes.
    let line = unsafe { &*RawDpc::begin(dpc).cast::<Line>() };
    line.pass.wake.set(&mut at);
}
