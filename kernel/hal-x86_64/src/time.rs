//! Time: the TSC tells it, the local APIC's timer interrupts at it, the ACPI PM timer calibrates both.
//!
//! TCG has no TSC deadline mode, so the clock is the timer's one-shot mode, undivided: one tick is about one
//! nanosecond in QEMU, and the longest shot some four seconds.

use crate::{acpi::Platform, local_apic, scale::Scale};
use core::{
    arch::x86_64::_rdtsc,
    hint,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use x86_64::instructions::port::Port;

/// The PM timer's ticks in a second.
const PM_TIMER_HZ: u64 = 3_579_545;
/// About 2 ms.
const CALIBRATION: u32 = 7159;

static BOOT_TSC: AtomicU64 = AtomicU64::new(0);
static NANOSECONDS_A_TICK: AtomicU64 = AtomicU64::new(0);
static TIMER_TICKS_A_NANOSECOND: AtomicU64 = AtomicU64::new(0);

/// The time stamp counter. It starts with the machine, so under QEMU's `-icount shift=0` it counts all instructions, the
/// firmware's included. Any IRQL.
#[inline(always)]
pub fn tsc() -> u64 {
    // SAFETY: every x86-64 CPU has a TSC, and ring 0 may read it.
    unsafe { _rdtsc() }
}

/// Nanoseconds since [`calibrate`]; 0 before. Any IRQL.
#[inline(always)]
pub fn now() -> u64 {
    Scale::from_raw(NANOSECONDS_A_TICK.load(Relaxed)).apply(tsc().wrapping_sub(BOOT_TSC.load(Relaxed)))
}

/// Waits, busily. Any IRQL.
pub fn stall(nanoseconds: u64) {
    let end = now() + nanoseconds;
    while now() < end {
        hint::spin_loop();
    }
}

/// Arms this CPU's timer for time `deadline`, or, where that is too far away for it, for as late as it can.
#[inline]
pub fn arm(deadline: u64) {
    if deadline == u64::MAX {
        local_apic::start_timer(0);
        return;
    }
    let ticks = Scale::from_raw(TIMER_TICKS_A_NANOSECOND.load(Relaxed)).apply(deadline.saturating_sub(now()));
    // One more, because both scales round down and the shot must not come early.
    local_apic::start_timer(u32::try_from(ticks + 1).unwrap_or(u32::MAX));
}

/// One look at all three counters.
struct Sample {
    pm: u32,
    tsc: u64,
    timer_left: u32,
}

impl Sample {
    /// The quickest of a few, so that a virtual CPU that was descheduled in the middle does not spoil it.
    fn take(port: u16) -> Sample {
        let mut best = (u64::MAX, Sample { pm: 0, tsc: 0, timer_left: 0 });
        for _ in 0..4 {
            let before = tsc();
            // SAFETY: the FADT says that the PM timer is there; reading it changes nothing.
            let pm = unsafe { Port::<u32>::new(port).read() };
            let timer_left = local_apic::timer_left();
            let after = tsc();
            if after - before < best.0 {
                best = (after - before, Sample { pm, tsc: before + (after - before) / 2, timer_left });
            }
        }
        best.1
    }
}

/// Measures the TSC and the local APIC's timer for about 2 ms, and starts the time. Once, on the first CPU.
pub fn calibrate(platform: &Platform) {
    let width = if platform.pm_timer_is_32_bit { u32::MAX } else { (1 << 24) - 1 };
    local_apic::mask_timer(true);
    local_apic::start_timer(u32::MAX);
    let start = Sample::take(platform.pm_timer);
    let (end, pm_ticks) = loop {
        hint::spin_loop();
        let sample = Sample::take(platform.pm_timer);
        let pm_ticks = sample.pm.wrapping_sub(start.pm) & width;
        if pm_ticks >= CALIBRATION {
            break (sample, pm_ticks);
        }
    };
    local_apic::start_timer(0);
    local_apic::mask_timer(false);
    let nanoseconds = u64::from(pm_ticks) * 1_000_000_000 / PM_TIMER_HZ;
    NANOSECONDS_A_TICK.store(Scale::new(end.tsc - start.tsc, nanoseconds).raw(), Relaxed);
    let timer_ticks = u64::from(start.timer_left - end.timer_left);
    TIMER_TICKS_A_NANOSECOND.store(Scale::new(nanoseconds, timer_ticks).raw(), Relaxed);
    BOOT_TSC.store(tsc(), Relaxed);
}
