//! The DPC watchdog: notices a CPU that gives its threads no time (bug check 0x133, DPC_WATCHDOG_VIOLATION).
//!
//! While it is on, every CPU's clock ticks. A tick looks at what it interrupted. At PASSIVE all is well. At DISPATCH or above
//! two allotments are used up, both counted in ticks that the CPU itself took, so that a virtual CPU which its host did not run
//! is not found guilty:
//!
//! - **single**: the same run of the same DPC, tick after tick: a bug check that names it;
//! - **cumulative**: whatever ran, tick after tick: a bug check.
//!
//! And over as long a time as the cumulative allotment the counts of every vector are compared: one that interrupted more often
//! than anything should is a **storm** that its ISRs claim. It is masked and reported, and the machine lives.
//!
//! Nothing here is on the path of an interrupt or a DPC: a tick marks the word in which the drain notes what it runs, and the
//! next DPC overwrites the mark.

use crate::{
    at::At,
    bugcheck::BugCheckKind,
    dpc_queue::DpcQueue,
    hal::{self, HalRef},
    level::{Dispatch, Passive, irql},
    percpu::PerCpu,
    raw_dpc::{DpcKind, Importance, RawDpc},
    verifier::held_text,
};
use core::{
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

/// The allotments, and how long a tick is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watchdog {
    /// Nanoseconds between ticks of a CPU that runs threads.
    pub tick: u64,
    /// Nanoseconds between ticks of an idle CPU: so late at most is a DPC noticed that began there.
    pub idle_tick: u64,
    /// Ticks that one run of a DPC may take.
    pub single: u32,
    /// Ticks that a CPU may be at DISPATCH or above.
    pub cumulative: u32,
    /// Interrupts of one vector a second that are a storm, over as long as the cumulative allotment.
    pub storm: u32,
}

impl Default for Watchdog {
    /// A tick of 10 ms (an idle CPU: a second), 1 s for a DPC, 5 s for a CPU, 50,000 interrupts a second.
    fn default() -> Self {
        Watchdog { tick: 10_000_000, idle_tick: 1_000_000_000, single: 100, cumulative: 500, storm: 50_000 }
    }
}

/// What is used up and allowed, in ticks (KDPC_WATCHDOG_INFORMATION).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchdogInfo {
    /// Ticks that this DPC has run for.
    pub dpc_ticks: u32,
    /// How many it may.
    pub single: u32,
    /// Ticks that this CPU has been at DISPATCH or above for.
    pub cpu_ticks: u32,
    /// How many it may.
    pub cumulative: u32,
}

/// The machine's settings: one set of allotments at a time, and nothing while `tick` is 0.
#[derive(Default)]
pub(crate) struct Settings {
    tick: AtomicU64,
    idle_tick: AtomicU64,
    single: AtomicU32,
    cumulative: AtomicU32,
    storm: AtomicU32,
}

const DEVICE_VECTORS: usize = 16 * (irql::DEVICE_HIGHEST - irql::DEVICE_LOWEST + 1) as usize;
const FIRST_VECTOR: usize = 16 * irql::DEVICE_LOWEST as usize;

/// One CPU's half. Its own clock interrupt alone touches it, but for `begin`.
pub(crate) struct Ticks {
    /// When the next tick is due; `u64::MAX` while it does not tick.
    next: AtomicU64,
    single: AtomicU32,
    cumulative: AtomicU32,
    /// When the counts were taken.
    counted: AtomicU64,
    /// The interrupts of each vector then.
    counts: [AtomicU64; DEVICE_VECTORS],
    begin: RawDpc,
}

const BEGIN: DpcKind = DpcKind::new(begin_or_end, || "watchdog");

/// Turns the watchdog on, or changes its allotments. PASSIVE.
///
/// # Panics
/// If a tick or an allotment is 0.
pub fn start(at: &mut At<'_, Passive>, watchdog: Watchdog) {
    let Watchdog { tick, idle_tick, single, cumulative, storm } = watchdog;
    assert!(tick > 0 && idle_tick > 0 && single > 0 && cumulative > 0 && storm > 0, "{watchdog:?} allows nothing");
    let settings = &hal::system(at.hal).watchdog;
    settings.idle_tick.store(idle_tick, Relaxed);
    settings.single.store(single, Relaxed);
    settings.cumulative.store(cumulative, Relaxed);
    settings.storm.store(storm, Relaxed);
    settings.tick.store(tick, Relaxed);
    on_all_cpus(at);
}

/// Turns the watchdog off: no CPU ticks when this returns. PASSIVE.
pub fn stop(at: &mut At<'_, Passive>) {
    hal::system(at.hal).watchdog.tick.store(0, Relaxed);
    on_all_cpus(at);
}

/// KeQueryDpcWatchdogInformation: `None` while the watchdog is off. In a DPC, or with a spin lock held: at PASSIVE there is
/// nothing to tell, and no way to ask.
pub fn query(at: &mut At<'_, Dispatch>) -> Option<WatchdogInfo> {
    let (settings, ticks) = (&hal::system(at.hal).watchdog, &hal::percpu(at.hal).watchdog);
    (settings.tick.load(Relaxed) > 0).then(|| WatchdogInfo {
        dpc_ticks: if hal::percpu(at.hal).dpcs.is_marked() { ticks.single.load(Relaxed) } else { 0 },
        single: settings.single.load(Relaxed),
        cpu_ticks: ticks.cumulative.load(Relaxed),
        cumulative: settings.cumulative.load(Relaxed),
    })
}

fn on_all_cpus(at: &mut At<'_, Passive>) {
    for cpu in hal::system(at.hal).cpus() {
        let raised = at.raise_to_dispatch();
        // SAFETY: a CPU's block is never freed, and the routine takes no context.
        unsafe { cpu.watchdog.begin.insert_on(raised.at.hal, cpu, Importance::MediumHigh, [0; 2], || ()) };
    }
    crate::flush_queued_dpcs(at);
}

/// # Safety
/// As [`DpcKind::routine`] is called.
unsafe fn begin_or_end(dpc: NonNull<RawDpc>, at: At<'_, Dispatch>) {
    // SAFETY: called as a DPC's routine.
    unsafe { RawDpc::begin(dpc) };
    let cpu = hal::percpu(at.hal);
    cpu.watchdog.forget();
    cpu.watchdog.take_counts(at.hal, cpu);
    cpu.watchdog.aim(at.hal, cpu.sched.is_idle());
    cpu.timers.arm(at.hal);
}

impl Ticks {
    pub(crate) fn new() -> Self {
        Ticks {
            next: AtomicU64::new(u64::MAX),
            single: AtomicU32::new(0),
            cumulative: AtomicU32::new(0),
            counted: AtomicU64::new(0),
            counts: [const { AtomicU64::new(0) }; DEVICE_VECTORS],
            begin: RawDpc::new(&BEGIN),
        }
    }

    /// When the clock has to be armed for, `u64::MAX` for never.
    pub(crate) fn deadline(&self) -> u64 {
        self.next.load(Relaxed)
    }

    fn aim(&self, hal: HalRef<'_>, idle: bool) {
        let settings = &hal::system(hal).watchdog;
        let next = match settings.tick.load(Relaxed) {
            0 => u64::MAX,
            _ if idle => hal.now().saturating_add(settings.idle_tick.load(Relaxed)),
            tick => hal.now().saturating_add(tick),
        };
        self.next.store(next, Relaxed);
    }

    /// The CPU was seen at PASSIVE.
    fn forget(&self) {
        self.single.store(0, Relaxed);
        self.cumulative.store(0, Relaxed);
    }

    /// The clock interrupt, on this CPU, `cpu`.
    pub(crate) fn on_clock(&self, hal: HalRef<'_>, cpu: &PerCpu) {
        if self.deadline() == u64::MAX {
            return;
        }
        let due = hal.now() >= self.deadline();
        let busy = hal.interrupted_level().max(hal.task_priority()) >= irql::DISPATCH;
        if due {
            self.aim(hal, !busy && cpu.sched.is_idle());
            self.compare_counts(hal, cpu);
        }
        if !busy {
            return self.forget();
        }
        // The clock's DPC arms it for everything; what is looked for here is that no DPC gets to run.
        hal.arm_clock(self.deadline());
        if due {
            self.count_dpc(hal, &cpu.dpcs);
            self.count_cpu(hal);
        }
    }

    fn count_dpc(&self, hal: HalRef<'_>, dpcs: &DpcQueue) {
        let single = if dpcs.is_marked() { self.single.load(Relaxed) + 1 } else { u32::from(dpcs.mark()) };
        self.single.store(single, Relaxed);
        let allotment = hal::system(hal).watchdog.single.load(Relaxed);
        if single > allotment {
            let name = dpcs.running_name().unwrap_or("a DPC");
            hal.bug_check(
                BugCheckKind::DpcWatchdog,
                format_args!(
                    "the DPC \"{name}\" has run for {single} clock ticks in one go; it may for {allotment}{}",
                    held_text(hal)
                ),
            );
        }
    }

    fn count_cpu(&self, hal: HalRef<'_>) {
        let ticks = self.cumulative.load(Relaxed) + 1;
        self.cumulative.store(ticks, Relaxed);
        let allotment = hal::system(hal).watchdog.cumulative.load(Relaxed);
        if ticks > allotment {
            hal.bug_check(
                BugCheckKind::DpcWatchdog,
                format_args!(
                    "this CPU has been at DISPATCH or above for {ticks} clock ticks, with no time for threads; it may for \
                     {allotment}{}",
                    held_text(hal)
                ),
            );
        }
    }

    /// Looks for a storm, when the time for it has come. The next interrupt of it masks its source.
    fn compare_counts(&self, hal: HalRef<'_>, cpu: &PerCpu) {
        let settings = &hal::system(hal).watchdog;
        let elapsed = hal.now().saturating_sub(self.counted.load(Relaxed));
        if elapsed < settings.tick.load(Relaxed).saturating_mul(settings.cumulative.load(Relaxed).into()) {
            return;
        }
        let most = u128::from(settings.storm.load(Relaxed)) * u128::from(elapsed) / 1_000_000_000;
        let grown = |n: &usize| cpu.interrupts_on(FIRST_VECTOR + n).saturating_sub(self.counts[*n].load(Relaxed));
        for n in (0..DEVICE_VECTORS).filter(|n| u128::from(grown(n)) > most) {
            cpu.notice_storm(FIRST_VECTOR + n);
        }
        self.take_counts(hal, cpu);
    }

    fn take_counts(&self, hal: HalRef<'_>, cpu: &PerCpu) {
        self.counted.store(hal.now(), Relaxed);
        for (n, count) in self.counts.iter().enumerate() {
            count.store(cpu.interrupts_on(FIRST_VECTOR + n), Relaxed);
        }
    }
}
