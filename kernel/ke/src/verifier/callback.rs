//! Callbacks under watch: what holds when one begins must hold when it returns.

use super::{Callback, is_on, order::Taken, report};
use crate::{
    at::At,
    hal::{self, HalRef},
    level::{Level, Passive, irql},
};
use core::{fmt, sync::atomic::Ordering::Relaxed};

/// Which callback it is, for a report and for how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    Isr,
    PassiveIsr,
    Dpc,
    WorkItem,
    Other,
}

impl Watched {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Isr | Self::PassiveIsr => "ISR",
            Self::Dpc => "DPC",
            Self::WorkItem => "work item",
            Self::Other => "callback",
        }
    }

    fn longest(self, hal: HalRef<'_>) -> u64 {
        let state = &hal::system(hal).verifier;
        match self {
            Self::Isr => state.longest_isr.load(Relaxed),
            Self::Dpc => state.longest_dpc.load(Relaxed),
            Self::PassiveIsr | Self::WorkItem | Self::Other => u64::MAX,
        }
    }
}

/// Runs the callback `f`, called `name` in a report. While the verifier is on, it must return at the IRQL that it was called at, and
/// without a lock that it took. Any IRQL.
///
/// ```
/// use ke::{At, Passive, verifier};
/// fn d0_entry(at: &mut At<'_, Passive>, driver: impl FnOnce(&mut At<'_, Passive>)) {
///     verifier::callback(at, format_args!("d0_entry of edu"), driver)
/// }
/// ```
pub fn callback<'c, L: Level, T>(
    at: &mut At<'c, L>,
    name: fmt::Arguments<'_>,
    f: impl FnOnce(&mut At<'c, L>) -> T,
) -> T {
    let hal = at.hal;
    if !is_on(hal) {
        return f(at);
    }
    let began = Began::now(hal);
    let result = f(at);
    began.check(hal, Watched::Other, name);
    result
}

/// Runs `f`, all of `callback`, with what the core does around it.
pub(crate) fn watched<T>(hal: HalRef<'_>, callback: &Callback, f: impl FnOnce() -> T) -> T {
    let began = Began::now(hal);
    let result = f();
    began.check(hal, callback.what, format_args!("{}", (callback.name)()));
    result
}

/// How things stood when a callback began.
struct Began {
    levels: (u8, u8),
    /// Entries of the CPU, and of the thread.
    held: usize,
    waits: usize,
    at: u64,
}

impl Began {
    fn now(hal: HalRef<'_>) -> Self {
        let levels = levels(hal);
        let held = if is_passive(levels) {
            0
        } else {
            let held = &hal::percpu(hal).held;
            held.purge(hal);
            held.count()
        };
        Began { levels, held, waits: hal::current_thread(hal).waits.count(), at: hal.now() }
    }

    fn check(self, hal: HalRef<'_>, what: Watched, name: fmt::Arguments<'_>) {
        if !is_on(hal) {
            return;
        }
        let after = levels(hal);
        let held = if is_passive(after) { held_at_passive(hal) } else { held_from(hal, self.held) };
        if let Some(taken) = held {
            report::forgotten(hal, what.name(), name, taken);
        }
        if after != self.levels {
            report::level(hal, what.name(), name, self.levels, after);
        }
        if let Some(taken) = hal::current_thread(hal).waits.from(self.waits).next() {
            report::forgotten(hal, what.name(), name, taken);
        }
        let (ran, longest) = (hal.now().saturating_sub(self.at), what.longest(hal));
        if ran > longest {
            report::too_long(hal, what.name(), name, ran, longest);
        }
    }
}

/// What this CPU holds, from entry `first` on. At DISPATCH or above.
fn held_from(hal: HalRef<'_>, first: usize) -> Option<Taken> {
    let held = &hal::percpu(hal).held;
    held.purge(hal);
    held.from(hal, first).next()
}

/// What this CPU holds although the running thread is at PASSIVE: whoever lowers under a forgotten guard gets there.
pub(super) fn held_at_passive(hal: HalRef<'_>) -> Option<Taken> {
    // SAFETY: the run-time level says so, and the callback's own token is not used meanwhile.
    let mut at = unsafe { At::<Passive>::mint(hal) };
    let raised = at.raise_to_dispatch();
    held_from(raised.at.hal, 0)
}

fn levels(hal: HalRef<'_>) -> (u8, u8) {
    (hal.level(), hal.task_priority())
}

fn is_passive((word, task_priority): (u8, u8)) -> bool {
    word.max(task_priority) == irql::PASSIVE
}
