//! The pass over a line's members at PASSIVE, in the line's own thread.
//!
//! A level line is masked until the pass is over; an edge is taken and the pass repeated when another came meanwhile.
//!
//! **Invariant:** an interrupt that wants a pass queues the pass's work, and the thread begins it before the pass begins: no
//! interrupt is left without a pass that began after it.

use super::{Line, MOST_PASSES, members::AskAtPassive};
use crate::{
    at::At,
    interrupt::{Claim, ConnectError, Mode},
    level::{Dirql, Passive, irql},
    storm::StormCause,
    thread::{self, JoinHandle, ThreadOptions},
    wait_lock::{WaitGuard, WaitLock},
    work_queue::{Work, WorkQueue},
};
use alloc::sync::Arc;
use core::{
    ptr,
    sync::atomic::{
        AtomicBool,
        Ordering::{AcqRel, Release},
    },
};

/// Above workers and ordinary threads: a level line is masked meanwhile.
const PASS_PRIORITY: u8 = 24;

/// What interrupt and thread tell each other.
pub(super) struct Pass {
    /// An interrupt came that the pass has not begun to serve.
    wanted: Work,
    /// The thread is to end, when it has served what was wanted before.
    ends: Work,
    /// The thread's.
    queue: WorkQueue,
    /// A member at DIRQL has claimed the interrupt: the pass need not.
    claimed: AtomicBool,
    /// The next interrupt is a replay, for the members at DIRQL to be asked once more: it need not be anybody's.
    again: AtomicBool,
    /// Held over a pass and its replay, and by whoever makes sure that none is under way.
    turn: WaitLock<()>,
}

impl Pass {
    pub(super) fn new() -> Self {
        Pass {
            wanted: Work::new(),
            ends: Work::new(),
            queue: WorkQueue::new(),
            claimed: AtomicBool::new(false),
            again: AtomicBool::new(false),
            turn: WaitLock::new(()),
        }
    }

    /// Once, where it stays.
    pub(super) fn place(&self) {
        self.wanted.bind(&self.queue, ptr::null());
        self.ends.bind(&self.queue, ptr::null());
    }

    /// While the result lives, no pass is under way, and none asks for a replay.
    pub(super) fn take_turn<'a, 'c: 'a>(&'a self, at: &mut At<'c, Passive>) -> WaitGuard<'a, ()> {
        self.turn.acquire(at)
    }

    /// Whether the interrupt is a replay.
    pub(super) fn take_again(&self) -> bool {
        self.again.swap(false, AcqRel)
    }

    /// An interrupt that the pass has to look at. `true`: the first since the last pass began.
    ///
    /// # Safety
    /// In service on the line's CPU.
    #[inline(always)]
    pub(super) unsafe fn want(&self, at: &mut At<'_, Dirql>) -> bool {
        // SAFETY: above DISPATCH with interrupts on; bound when the line was made, whose thread ends before it goes.
        unsafe { self.wanted.queue(at, || ()) }
    }

    /// As [`Self::want`], for an interrupt that a member at DIRQL has claimed.
    ///
    /// # Safety
    /// As [`Self::want`].
    pub(super) unsafe fn want_claimed(&self, at: &mut At<'_, Dirql>) {
        self.claimed.store(true, Release);
        // SAFETY: the same contract.
        unsafe { self.want(at) };
    }
}

impl Line {
    /// With `setup` held.
    pub(super) fn spawn_pass(self: &Arc<Self>, at: &mut At<'_, Passive>) -> Result<JoinHandle, ConnectError> {
        let line = self.clone();
        let options = ThreadOptions::named("passive-level interrupt").priority(PASS_PRIORITY);
        thread::spawn(at, options, move |at| line.run_passes(at)).map_err(|_| ConnectError::OutOfMemory)
    }

    /// With `setup` held, and no member left that could want a pass.
    pub(super) fn join_pass(&self, at: &mut At<'_, Passive>, thread: JoinHandle) {
        // SAFETY: bound when the line was made, which lives until its thread has ended, below.
        unsafe { self.pass.ends.queue(&mut at.raise_to_dispatch().at, || ()) };
        // The thread ends by itself; only a device that is gone could interrupt this wait, and there is none here.
        let _ = thread.join(at);
    }

    /// The line's thread.
    fn run_passes(&self, at: &mut At<'_, Passive>) {
        while !at.hal.dead() {
            let Some(work) = self.pass.queue.take(at) else { continue };
            // SAFETY: taken just now, and both are the line's.
            let work = unsafe { work.as_ref() };
            work.begin();
            let _turn = self.pass.turn.acquire(at);
            let claims = self.ask_at_passive(at);
            // Asked nobody: who wants the thread to end has seen to it that no member is left.
            let ends = ptr::eq(work, &self.pass.ends);
            if !ends {
                self.end_pass(claims, at);
            }
            let _nobody_watches = work.end();
            if ends {
                return;
            }
        }
    }

    /// The members at PASSIVE have been asked once. The turn is held.
    fn end_pass(&self, claimed: bool, at: &mut At<'_, Passive>) {
        // Level: still asserted, it fires again. Edge: until a whole pass claims nothing.
        let mut endless = claimed && self.mode == Mode::Latched;
        for _ in 1..MOST_PASSES {
            if !endless {
                break;
            }
            endless = self.ask_at_passive(at);
        }
        // SAFETY: the turn is held.
        let others = !unsafe { self.current() }.at_dirql.is_empty();
        let claimed_at_dirql = others && self.pass.claimed.swap(false, AcqRel);
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
            self.pass.again.store(true, Release);
            let (cpu, vector) = self.place();
            at.hal.send_vector(cpu, vector);
        }
    }

    /// Asks the members at PASSIVE once; a level line's until the first claim. Whether one claimed. The turn is held.
    #[inline(always)]
    fn ask_at_passive(&self, at: &mut At<'_, Passive>) -> bool {
        // SAFETY: the turn is held; a member's object is alive while it is in the array.
        let mut ask = |&(head, ask): &(_, AskAtPassive)| unsafe { ask(head, at) } == Claim::Mine;
        // SAFETY: the turn is held.
        let Some((first, others)) = unsafe { self.current() }.at_passive.split_first() else { return false };
        let mut claimed = ask(first);
        for member in others {
            if claimed && self.mode == Mode::LevelSensitive {
                break;
            }
            claimed |= ask(member);
        }
        claimed
    }
}
