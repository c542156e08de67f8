//! Interrupt entry: from the vector to the dispatch routine of the object that is connected to it, and back.
//!
//! The slot of the vector in the CPU's block holds the head of the object, whose first word is the routine that
//! connecting chose. So a stub neither looks anything up nor compares. While the interrupt is in service the local
//! APIC holds off its class and those below; the level word says so to the rest of the kernel, CR8 is not written.
//!
//! The end of interrupt comes after the routine, with interrupts off, before what is pending is drained: earlier, a
//! level line would be taken a second time, and the vector could nest in its own routine.
//!
//! What the stub leaves on the stack below the saved registers is [`Saved`]: a bug check finds there who was running.
//! `rbp` is not touched, so chains of frames lead through a stub.

use crate::layout;
use core::arch::{asm, global_asm};
use ke::{Head, hal::Kernel, percpu::offset};

/// What a stub has pushed when it calls: the top of its stack first.
#[repr(C)]
pub struct Saved {
    /// The level word as it was.
    pub level: u64,
    /// The head of the object in service.
    pub head: *const Head,
    registers: [u64; 9],
    /// Where the interrupted code goes on.
    pub rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

const _: () = assert!(size_of::<Saved>().is_multiple_of(16), "the stack is aligned at the call");

macro_rules! stubs {
    ($name:literal, end_of_interrupt: $($eoi:literal),*) => {
        global_asm!(
            concat!(".global ", $name, "_stubs, ", $name, "_served, ", $name, "_left"),
            ".balign 16",
            concat!($name, "_stubs:"),
            ".set vector, 0",
            ".rept 256",
            ".balign 16",
            "push rdi",
            "mov rdi, gs:[{vectors} + vector * 8]",
            concat!("jmp ", $name, "_common"),
            ".set vector, vector + 1",
            ".endr",

            concat!($name, "_common:"),
            "push rax",
            "push rcx",
            "push rdx",
            "push rsi",
            "push r8",
            "push r9",
            "push r10",
            "push r11",
            "push rdi",
            // `compiler-builtins` moves memory backwards with the flag set and interrupts on.
            "cld",
            "push qword ptr gs:[{level}]",
            "mov eax, dword ptr [rdi + {head_level}]",
            "mov qword ptr gs:[{level}], rax",
            "sti",
            "call qword ptr [rdi + {head_dispatch}]",
            concat!($name, "_served:"),
            "cli",
            $($eoi,)*
            "cmp dword ptr gs:[{pending}], 0",
            "je 2f",
            "mov rdi, qword ptr [rsp]",
            "call {leave}",
            concat!($name, "_left:"),
            "2:",
            "pop qword ptr gs:[{level}]",
            "add rsp, 8",
            "pop r11",
            "pop r10",
            "pop r9",
            "pop r8",
            "pop rsi",
            "pop rdx",
            "pop rcx",
            "pop rax",
            "pop rdi",
            "iretq",
            vectors = const offset::VECTORS,
            level = const offset::LEVEL,
            pending = const offset::PENDING,
            head_level = const offset::HEAD_LEVEL,
            head_dispatch = const offset::HEAD_DISPATCH,
            leave = sym leave,
        );
    };
}

stubs!("xapic", end_of_interrupt: "mov dword ptr [0xfffffffffee000b0], 0");
stubs!("x2apic", end_of_interrupt: "mov ecx, 0x80b", "xor eax, eax", "xor edx, edx", "wrmsr");

const _: () = assert!(layout::LOCAL_APIC + 0xb0 == 0xffff_ffff_fee0_00b0);

// The spurious vectors of the local APIC and of the 8259s have no in-service bit: no end of interrupt, no routine.
global_asm!(".balign 16", ".global spurious_stub", "spurious_stub:", "iretq");

/// Drains what is pending before an interrupt returns to level word `old`.
///
/// # Safety
/// Called by a stub alone, after the end of interrupt, with interrupts off.
unsafe extern "sysv64" fn leave(old: u64) {
    // SAFETY: the stub calls this after the end of interrupt, with interrupts off, on a CPU that runs the core.
    unsafe { ke::entry::leave_interrupt(Kernel::new(), old as u8) };
}

// SAFETY: defined by the assembly above; only their addresses are taken.
unsafe extern "C" {
    static xapic_stubs: u8;
    static xapic_served: u8;
    static xapic_left: u8;
    static x2apic_stubs: u8;
    static x2apic_served: u8;
    static x2apic_left: u8;
    static spurious_stub: u8;
}

/// The entry of the stub for `vector`.
pub fn stub(vector: u8, x2apic: bool) -> u64 {
    let table = if x2apic { &raw const x2apic_stubs } else { &raw const xapic_stubs };
    table.addr() as u64 + 16 * u64::from(vector)
}

/// The entry of the stub that only returns.
pub fn spurious() -> u64 {
    (&raw const spurious_stub).addr() as u64
}

/// What a stub that called the returning function was doing.
pub enum Caller {
    /// It serves an interrupt: the object is in service.
    Serving,
    /// The interrupt is over, and what was pending is drained.
    Leaving,
}

/// Whether the return address `rip` leads into a stub.
pub fn caller(rip: u64) -> Option<Caller> {
    let is = |symbol: *const u8| rip == symbol.addr() as u64;
    if is(&raw const xapic_served) || is(&raw const x2apic_served) {
        Some(Caller::Serving)
    } else if is(&raw const xapic_left) || is(&raw const x2apic_left) {
        Some(Caller::Leaving)
    } else {
        None
    }
}

/// The level word that the innermost stub in service has saved. The caller is called, directly or not, by a stub.
pub fn interrupted_level() -> u8 {
    let mut frame: *const [u64; 2];
    // SAFETY: reads a register. The kernel is built with frame pointers, so it leads to the chain of frames.
    unsafe { asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags)) };
    loop {
        // SAFETY: a frame of this stack: the chain leads through whatever was called since to the stub's return address,
        // behind which its `Saved` lies.
        let [caller, rip] = unsafe { *frame };
        if matches!(self::caller(rip), Some(Caller::Serving)) {
            // SAFETY: as above.
            return unsafe { (*frame.add(1).cast::<Saved>()).level } as u8;
        }
        frame = caller as *const [u64; 2];
    }
}
