//! The end of the machine by a bug check: what, where, at which IRQL, on which CPU, in which callback.
//!
//! The first CPU to come here stops the others by NMI, takes the console whoever has it, reports, and ends the
//! machine with an exit code for the kind. Nothing here allocates, waits, or trusts a pointer that it has not found
//! mapped.

use crate::{
    console, cpu,
    debug_exit::{self, ExitCode},
    exception::Frame,
    icr::Command,
    interrupt_entry::{self, Caller, Saved},
    local_apic, memory, time,
};
use core::{
    arch::asm,
    fmt,
    hint,
    panic::PanicInfo,
    sync::atomic::{
        AtomicU32,
        Ordering::{AcqRel, Acquire, Release},
    },
};
use ke::{
    bugcheck::BugCheckKind,
    entry::{self, HeldText, Running},
    hal::Kernel,
    irql,
};
use x86_64::instructions::interrupts;

/// Where a bug check comes from.
#[derive(Clone, Copy)]
pub enum Origin<'a> {
    /// A call: the frame pointer of the caller.
    Call(u64),
    /// An exception.
    Exception(&'a Frame),
}

/// The number of the CPU that reports, plus one; 0: the machine is well.
static REPORTING: AtomicU32 = AtomicU32::new(0);
static STOPPED: AtomicU32 = AtomicU32::new(0);

/// Ends the machine at the request of its caller.
#[inline(never)]
pub fn here(kind: BugCheckKind, what: fmt::Arguments<'_>) -> ! {
    stop(kind, what, Origin::Call(frame_pointer()))
}

/// The panic handler of the image.
#[inline(never)]
pub fn panic(info: &PanicInfo<'_>) -> ! {
    let origin = Origin::Call(frame_pointer());
    match info.location() {
        Some(at) => stop(BugCheckKind::Panic, format_args!("{}\n  at {at}", info.message()), origin),
        None => stop(BugCheckKind::Panic, format_args!("{}", info.message()), origin),
    }
}

#[inline(always)]
fn frame_pointer() -> u64 {
    let rbp: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    rbp
}

/// Ends the machine.
pub fn stop(kind: BugCheckKind, what: fmt::Arguments<'_>, origin: Origin<'_>) -> ! {
    interrupts::disable();
    let me = cpu::number() + 1;
    match REPORTING.compare_exchange(0, me, AcqRel, Acquire) {
        Ok(_) => {}
        Err(first) if first == me => {
            // SAFETY: what held the console was the report that failed, and it does not go on.
            unsafe { console::force_open() };
            console::print(format_args!("\n*** the report itself failed: {}: {what}\n", kind.name()));
            debug_exit::exit(ExitCode::BugCheck);
        }
        Err(_) => debug_exit::halt_forever(),
    }
    stop_others();
    // SAFETY: the other CPUs have stopped, or are given up, and this one does not return.
    unsafe { console::force_open() };
    let serving = serving(origin);
    let dpc = running().and_then(|running| running.dpc);
    report(kind, what, origin, serving);
    debug_exit::exit(match kind {
        BugCheckKind::Panic if serving.is_some() => ExitCode::PanicInIsr,
        BugCheckKind::Panic if dpc.is_some() => ExitCode::PanicInDpc,
        BugCheckKind::Panic => ExitCode::Panic,
        BugCheckKind::Fault => ExitCode::Fault,
        BugCheckKind::StackOverflow => ExitCode::StackOverflow,
        _ => ExitCode::BugCheck,
    })
}

/// What an NMI does: stop this CPU, if another one's bug check asks for it.
pub fn stop_if_asked() {
    let reporting = REPORTING.load(Acquire);
    if reporting != 0 && reporting != cpu::number() + 1 {
        STOPPED.fetch_add(1, Release);
        debug_exit::halt_forever();
    }
}

fn stop_others() {
    const LIMIT: u64 = 100_000_000;
    let others = cpu::all().iter().filter(|other| other.number != cpu::number());
    let count = others.map(|other| local_apic::send(Command::NMI, other.apic_id)).count() as u32;
    let end = time::now() + LIMIT;
    while STOPPED.load(Acquire) < count && time::now() < end {
        hint::spin_loop();
    }
}

/// The locks that this CPU is known to hold, for the end of a sentence. Above PASSIVE.
pub fn held() -> HeldText<'static> {
    // SAFETY: a CPU above PASSIVE runs the core.
    entry::held_text(unsafe { Kernel::new() })
}

fn running() -> Option<Running> {
    // SAFETY: with its own block in place a CPU runs the core, and the system is there.
    cpu::has_block().then(|| entry::running(unsafe { Kernel::new() }))
}

fn report(kind: BugCheckKind, what: fmt::Arguments<'_>, origin: Origin<'_>, serving: Option<&str>) {
    let print = console::print;
    print(format_args!("\n*** BUG CHECK {}: {what}\n", kind.name()));
    print(format_args!("  IRQL {} on CPU {}", cpu::irql(), cpu::number()));
    if let Some(running) = running() {
        print(format_args!(", thread \"{}\"", running.thread));
        if let Some(dpc) = running.dpc {
            print(format_args!(", in the DPC \"{dpc}\""));
        }
    }
    if let Some(name) = serving {
        print(format_args!(", in the ISR \"{name}\""));
    }
    print(format_args!("\n"));
    if let Origin::Exception(frame) = origin {
        print_registers(frame);
    }
    print(format_args!("  backtrace:\n"));
    let (mut n, mut last, mut repeated) = (0, 0, 0);
    walk(origin, |step| {
        match step {
            // A stack overflow is thousands of frames of the same function.
            Step::Code(address) if address == last => repeated += 1,
            Step::Code(address) => {
                if repeated > 0 {
                    print(format_args!("     ({repeated} more times)\n"));
                }
                print(format_args!("  #{n} {address:#x}\n"));
                (n, last, repeated) = (n + 1, address, 0);
            }
            Step::Interrupt(saved, Caller::Serving) => {
                print(format_args!("  -- interrupt, served by \"{}\" --\n", head_name(saved)));
            }
            Step::Interrupt(_, Caller::Leaving) => print(format_args!("  -- leaving an interrupt --\n")),
        }
        n < 64
    });
}

fn print_registers(frame: &Frame) {
    let Frame { rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags, .. } = frame;
    console::print(format_args!(
        "  rip {rip:016x} rsp {rsp:016x} rbp {rbp:016x} rflags {rflags:x}\n  \
         rax {rax:016x} rbx {rbx:016x} rcx {rcx:016x} rdx {rdx:016x}\n  \
         rsi {rsi:016x} rdi {rdi:016x} r8  {r8:016x} r9  {r9:016x}\n  \
         r10 {r10:016x} r11 {r11:016x} r12 {r12:016x} r13 {r13:016x}\n  \
         r14 {r14:016x} r15 {r15:016x}\n"
    ));
}

/// One step of a backtrace.
enum Step<'a> {
    /// Code that runs, or that a call returns to.
    Code(u64),
    /// An interrupt stub: below it comes what it interrupted.
    Interrupt(&'a Saved, Caller),
}

/// Follows the chain of frame pointers, through interrupt stubs, as long as `step` wants more.
fn walk(origin: Origin<'_>, mut step: impl FnMut(Step<'_>) -> bool) {
    let mut rbp = match origin {
        Origin::Call(rbp) => rbp,
        Origin::Exception(frame) => {
            if !step(Step::Code(frame.rip)) {
                return;
            }
            frame.rbp
        }
    };
    loop {
        let Some([caller_rbp, rip]) = read_stack::<[u64; 2]>(rbp).copied() else { return };
        if !step(Step::Code(rip)) {
            return;
        }
        // A stub has no frame of its own: what it saved lies right behind the return address into it.
        if let Some(caller) = interrupt_entry::caller(rip) {
            let Some(saved) = read_stack::<Saved>(rbp + 16) else { return };
            if !step(Step::Interrupt(saved, caller)) || !step(Step::Code(saved.rip)) {
                return;
            }
        }
        rbp = caller_rbp;
    }
}

/// What is on a stack at `address`, if that is mapped.
fn read_stack<T>(address: u64) -> Option<&'static T> {
    let last = address.checked_add(size_of::<T>() as u64 - 1)?;
    let readable = address != 0 && address.is_multiple_of(8) && memory::is_mapped(address) && memory::is_mapped(last);
    // SAFETY: mapped and aligned; the machine has stopped, so nobody writes it meanwhile; `T` is plain words.
    readable.then(|| unsafe { &*(address as *const T) })
}

/// The name of the object whose interrupt is in service, if the origin is in one. An interrupt drains nothing before
/// it has been served, so the first stub that serves is the innermost callback.
fn serving(origin: Origin<'_>) -> Option<&'static str> {
    let mut name = None;
    walk(origin, |step| {
        if let Step::Interrupt(saved, Caller::Serving) = step {
            name = Some(head_name(saved));
        }
        name.is_none()
    });
    name.filter(|_| cpu::irql() >= irql::DISPATCH)
}

fn head_name(saved: &Saved) -> &'static str {
    // SAFETY: a stub took the head from a vector's slot, and its interrupt is in service.
    unsafe { entry::head_name(saved.head) }
}
