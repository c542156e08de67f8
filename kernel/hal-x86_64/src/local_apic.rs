//! The local APIC, in xAPIC and in x2APIC mode.
//!
//! Our own, because the `x2apic` crate's sends interrupts to the wrong CPU in xAPIC mode, cannot be kept in xAPIC
//! mode, unmasks the local lines, and knows neither task priority nor in-service registers.
//!
//! **Invariant:** all CPUs are in the mode that [`choose`] chose, and it is chosen before any other call.

use crate::{acpi::Platform, cpu, icr::Command, idt::SPURIOUS_VECTOR, layout, memory};
use core::{
    fmt, hint,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};
use ke::percpu::CLOCK_VECTOR;
use x86_64::registers::model_specific::Msr;

static X2APIC: AtomicBool = AtomicBool::new(false);

const BASE: Msr = Msr::new(0x1b);
const BASE_ENABLE: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;

mod register {
    pub const ID: u32 = 0x20;
    pub const VERSION: u32 = 0x30;
    pub const END_OF_INTERRUPT: u32 = 0xb0;
    pub const SPURIOUS: u32 = 0xf0;
    pub const COMMAND: u32 = 0x300;
    pub const COMMAND_HIGH: u32 = 0x310;
    pub const LVT_CMCI: u32 = 0x2f0;
    pub const LVT_TIMER: u32 = 0x320;
    pub const LVT_THERMAL: u32 = 0x330;
    pub const LVT_PERFORMANCE: u32 = 0x340;
    pub const LVT_LINT0: u32 = 0x350;
    pub const LVT_LINT1: u32 = 0x360;
    pub const LVT_ERROR: u32 = 0x370;
    pub const TIMER_INITIAL: u32 = 0x380;
    pub const TIMER_CURRENT: u32 = 0x390;
    pub const TIMER_DIVIDE: u32 = 0x3e0;
}
use register::*;

const MASKED: u32 = 1 << 16;
const DELIVER_NMI: u32 = 0b100 << 8;
const SENDING: u32 = 1 << 12;
const SOFTWARE_ENABLE: u32 = 1 << 8;
const DIVIDE_BY_1: u32 = 0b1011;

/// Which mode to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Registers in memory, 8-bit ids.
    XApic,
    /// Registers as MSRs, 32-bit ids.
    X2Apic,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::XApic => "xAPIC",
            Mode::X2Apic => "x2APIC",
        })
    }
}

/// Settles the mode for all CPUs: what is asked for, or x2APIC where there is one. `physical` is where the registers
/// are in xAPIC mode. `Err`: x2APIC was asked for, but the CPU has none.
pub fn choose(asked: Option<Mode>, physical: u64) -> Result<Mode, NoX2Apic> {
    let has_x2apic = core::arch::x86_64::__cpuid(1).ecx & 1 << 21 != 0;
    let mode = match asked {
        Some(Mode::X2Apic) if !has_x2apic => return Err(NoX2Apic),
        Some(mode) => mode,
        None if has_x2apic => Mode::X2Apic,
        None => Mode::XApic,
    };
    X2APIC.store(mode == Mode::X2Apic, Relaxed);
    memory::map_local_apic(physical);
    Ok(mode)
}

/// This CPU has no x2APIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoX2Apic;

/// The mode in use.
pub fn mode() -> Mode {
    if is_x2apic() { Mode::X2Apic } else { Mode::XApic }
}

#[inline(always)]
fn is_x2apic() -> bool {
    X2APIC.load(Relaxed)
}

/// A local interrupt pin that carries an NMI, as the MADT says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NmiPin {
    /// The processor's ACPI id; `None` for all.
    pub processor: Option<u32>,
    /// 0 or 1.
    pub pin: u8,
    /// The pin is active when low.
    pub active_low: bool,
}

/// Sets up this CPU's local APIC, all its own interrupts masked but the NMI pins that the firmware names.
pub fn init(platform: &Platform) {
    enable();
    let lines = (read(VERSION) >> 16 & 0xff) + 1;
    for (register, needs) in [
        (LVT_TIMER, 1),
        (LVT_LINT0, 1),
        (LVT_LINT1, 1),
        (LVT_ERROR, 1),
        (LVT_PERFORMANCE, 5),
        (LVT_THERMAL, 6),
        (LVT_CMCI, 7),
    ] {
        if lines >= needs {
            write(register, MASKED);
        }
    }
    for NmiPin { pin, active_low, .. } in platform.nmi_pins(id()) {
        write(if pin == 0 { LVT_LINT0 } else { LVT_LINT1 }, DELIVER_NMI | u32::from(active_low) << 13);
    }
    cpu::set_task_priority(0);
    write(SPURIOUS, SOFTWARE_ENABLE | u32::from(SPURIOUS_VECTOR));
    write(TIMER_DIVIDE, DIVIDE_BY_1);
    write(TIMER_INITIAL, 0);
    write(LVT_TIMER, u32::from(CLOCK_VECTOR));
}

fn enable() {
    let mut base = BASE;
    // SAFETY: the documented transitions: out of x2APIC mode through "disabled", into it through "enabled".
    unsafe {
        let now = base.read();
        if !is_x2apic() && now & BASE_X2APIC != 0 {
            base.write(now & !(BASE_ENABLE | BASE_X2APIC));
        }
        let now = base.read() | BASE_ENABLE;
        base.write(now);
        if is_x2apic() {
            base.write(now | BASE_X2APIC);
        }
    }
}

/// This CPU's APIC id.
pub fn id() -> u32 {
    if is_x2apic() { read(ID) } else { read(ID) >> 24 }
}

/// Sends `command` to the CPU with APIC id `destination`. Any IRQL.
pub fn send(command: Command, destination: u32) {
    if is_x2apic() {
        // SAFETY: the fences make earlier stores visible before the interrupt: an MSR write orders nothing. The
        // register is the interrupt command's, and what arrives is the caller's business.
        unsafe {
            core::arch::x86_64::_mm_mfence();
            core::arch::x86_64::_mm_lfence();
            Msr::new(msr(COMMAND)).write(command.x2apic(destination));
        }
        return;
    }
    let (high, low) = command.xapic(destination).expect("in xAPIC mode only CPUs with 8-bit ids were started");
    cpu::without_interrupts(|| {
        while read(COMMAND) & SENDING != 0 {
            hint::spin_loop();
        }
        write(COMMAND_HIGH, high);
        write(COMMAND, low);
    });
}

/// Starts the one-shot timer; 0 stops it.
#[inline]
pub fn start_timer(ticks: u32) {
    write(TIMER_INITIAL, ticks);
}

/// Lets this CPU's timer interrupt at `vector` instead of the clock's, until [`mask_timer`].
pub fn aim_timer(vector: u8) {
    write(LVT_TIMER, u32::from(vector));
}

/// Lets the timer run without an interrupt, for calibration.
pub fn mask_timer(masked: bool) {
    write(LVT_TIMER, u32::from(CLOCK_VECTOR) | if masked { MASKED } else { 0 });
}

/// Ends the interrupt in service. The entry stubs do that, at the right time; this is for tests of what happens otherwise.
pub fn end_of_interrupt() {
    write(END_OF_INTERRUPT, 0);
}

/// What is left of the timer's time.
pub fn timer_left() -> u32 {
    read(TIMER_CURRENT)
}

const fn msr(register: u32) -> u32 {
    0x800 + (register >> 4)
}

#[inline(always)]
fn read(register: u32) -> u32 {
    // SAFETY: all registers named above may be read, in the mode that this CPU is in.
    unsafe {
        if is_x2apic() {
            Msr::new(msr(register)).read() as u32
        } else {
            ((layout::LOCAL_APIC + u64::from(register)) as *const u32).read_volatile()
        }
    }
}

#[inline(always)]
fn write(register: u32, value: u32) {
    // SAFETY: only this module writes local APIC registers, with values that are valid for them.
    unsafe {
        if is_x2apic() {
            Msr::new(msr(register)).write(u64::from(value));
        } else {
            ((layout::LOCAL_APIC + u64::from(register)) as *mut u32).write_volatile(value);
        }
    }
}
