//! Storms: interrupts that come without end and leave their CPU no time.
//!
//! Three kinds are told apart ([`StormCause`]). Nobody claims: [`STORM`] in a row. The members of an edge line claim pass
//! after pass: [`crate::MOST_PASSES`]. All are claimed, and yet come too fast: the [watchdog](crate::watchdog) sees that.
//!
//! The source is masked at its own class, by the interrupt itself: the clock, and a lone owner's dispatch routine, which is to
//! stay without calls, exchange the dispatch word for the owner's storm routine, and the next interrupt masks. A DPC reports.
//!
//! **Invariant:** a storm begins once and lasts until it is forgiven; only who began it masks, only who ends it unmasks.

use crate::{
    hal::HalRef,
    percpu::PerCpu,
    raw_dpc::{DpcKind, Importance, RawDpc},
};
use core::{
    fmt,
    sync::atomic::{
        AtomicU8, AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};

/// So many interrupts in a row that nobody claims mask their source.
pub const STORM: u32 = 1_000;

/// Why a source was masked for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StormCause {
    /// No ISR claims its interrupts.
    NobodyClaims = 1,
    /// Its ISRs claim pass after pass.
    ClaimsWithoutEnd = 2,
    /// Its ISRs claim, and more interrupts come than anything should send.
    TooFast = 3,
}

impl StormCause {
    fn from_word(word: u8) -> Option<Self> {
        [Self::NobodyClaims, Self::ClaimsWithoutEnd, Self::TooFast].into_iter().find(|each| *each as u8 == word)
    }
}

impl fmt::Display for StormCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NobodyClaims => "nobody claims its interrupts",
            Self::ClaimsWithoutEnd => "its interrupts are claimed without end",
            Self::TooFast => "its interrupts come faster than they can be meant, though they are claimed",
        })
    }
}

/// What the owner of a vector knows of storms: a line, or an interrupt that is alone there.
pub(crate) struct StormWatch {
    unclaimed: AtomicU64,
    last_unclaimed: AtomicU64,
    in_a_row: AtomicU32,
    /// A [`StormCause`], or 0.
    cause: AtomicU8,
    report: RawDpc,
}

impl StormWatch {
    /// `report` is called with the owner as its context, see [`Self::place`].
    pub(crate) const fn new(report: &'static DpcKind) -> Self {
        StormWatch {
            unclaimed: AtomicU64::new(0),
            last_unclaimed: AtomicU64::new(0),
            in_a_row: AtomicU32::new(0),
            cause: AtomicU8::new(0),
            report: RawDpc::new(report),
        }
    }

    pub(crate) fn place(&self, owner: *const ()) {
        self.report.set_context(owner);
    }

    pub(crate) fn unclaimed(&self) -> u64 {
        self.unclaimed.load(Relaxed)
    }

    pub(crate) fn cause(&self) -> Option<StormCause> {
        StormCause::from_word(self.cause.load(Acquire))
    }

    /// Nobody claimed the interrupt that was counted as number `count`: on the CPU that counts. What is claimed costs nothing
    /// here, so "in a row" is told by the count. `true`: a storm.
    #[inline(always)]
    pub(crate) fn unclaimed_at(&self, count: u64) -> bool {
        if self.last_unclaimed.load(Relaxed) + 1 != count {
            self.in_a_row.store(0, Relaxed);
        }
        self.last_unclaimed.store(count, Relaxed);
        self.one_more_unclaimed()
    }

    /// `true`: a storm.
    #[inline(always)]
    pub(crate) fn one_more_unclaimed(&self) -> bool {
        self.count_unclaimed();
        self.in_a_row.fetch_add(1, Relaxed) + 1 >= STORM
    }

    /// One that somebody else may have claimed.
    #[inline(always)]
    pub(crate) fn count_unclaimed(&self) {
        self.unclaimed.fetch_add(1, Relaxed);
    }

    /// An interrupt was claimed, or all is forgiven.
    pub(crate) fn claimed(&self) {
        self.in_a_row.store(0, Relaxed);
    }

    /// What the storm is that made somebody exchange the dispatch word.
    pub(crate) fn noticed(&self) -> StormCause {
        if self.in_a_row.load(Relaxed) >= STORM { StormCause::NobodyClaims } else { StormCause::TooFast }
    }

    /// `true`: this call began the storm.
    pub(crate) fn begin(&self, cause: StormCause) -> bool {
        self.cause.compare_exchange(0, cause as u8, AcqRel, Relaxed).is_ok()
    }

    /// `true`: this call ended a storm.
    pub(crate) fn forgive(&self) -> bool {
        self.claimed();
        self.cause.swap(0, AcqRel) != 0
    }

    /// Queues the report on `cpu`.
    ///
    /// # Safety
    /// The owner flushes DPCs before it goes; the caller is at DISPATCH or above with interrupts on.
    pub(crate) unsafe fn queue_report(&self, hal: HalRef<'_>, cpu: &PerCpu) {
        // SAFETY: by the contract.
        unsafe { self.report.insert_on(hal, cpu, Importance::MediumHigh, [0; 2], || ()) };
    }
}
