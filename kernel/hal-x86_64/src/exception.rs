//! Exceptions: vectors 0 to 31. The kernel expects none of them, so each ends in a bug check, but for the NMI by which
//! another CPU's bug check stops this one.

use crate::{
    bug_check::{self, Origin},
    stacks,
};
use core::arch::global_asm;
use ke::bugcheck::BugCheckKind;
use x86_64::registers::control::Cr2;

/// The interrupted state, as the stub below pushes it.
#[derive(Debug)]
#[repr(C)]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

const _: () = assert!(size_of::<Frame>().is_multiple_of(16), "the stack is aligned at the call");

global_asm!(
    ".balign 16",
    ".global exception_stubs",
    "exception_stubs:",
    ".set vector, 0",
    ".rept 32",
    ".balign 16",
    ".if !((vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30))",
    "push 0",
    ".endif",
    "push vector",
    "jmp exception_common",
    ".set vector, vector + 1",
    ".endr",
    "exception_common:",
    "push rax",
    "push rcx",
    "push rdx",
    "push rbx",
    "push rbp",
    "push rsi",
    "push rdi",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "cld",
    "mov rdi, rsp",
    "call {exception}",
    "ud2",
    exception = sym exception,
);

// SAFETY: defined by the assembly above; only their addresses are taken.
unsafe extern "C" {
    static exception_stubs: u8;
}

/// The entry of the stub for exception `vector`.
pub fn stub(vector: u8) -> u64 {
    (&raw const exception_stubs).addr() as u64 + 16 * u64::from(vector)
}

const NMI: u64 = 2;
const PAGE_FAULT: u64 = 14;
const DOUBLE_FAULT: u64 = 8;

/// # Safety
/// Called by the stub alone, with the frame that it has pushed.
unsafe extern "sysv64" fn exception(frame: *const Frame) -> ! {
    // SAFETY: the stub passes the frame it has pushed.
    let frame = unsafe { &*frame };
    if frame.vector == NMI {
        bug_check::stop_if_asked();
    }
    let origin = Origin::Exception(frame);
    let address = Cr2::read_raw();
    match frame.vector {
        // A stack that cannot take the frame of its own page fault ends in a double fault, with CR2 still set.
        PAGE_FAULT | DOUBLE_FAULT if stacks::is_guard(address) => bug_check::stop(
            BugCheckKind::StackOverflow,
            format_args!("the stack overflowed: access to {address:#x}, in the guard page"),
            origin,
        ),
        PAGE_FAULT => bug_check::stop(
            BugCheckKind::Fault,
            format_args!(
                "page fault: {} {address:#x}, which is {}",
                match frame.error & 0x12 {
                    0x10 | 0x12 => "fetching an instruction from",
                    0x02 => "writing",
                    _ => "reading",
                },
                if frame.error & 1 != 0 { "protected" } else { "not mapped" },
            ),
            origin,
        ),
        vector => bug_check::stop(
            BugCheckKind::Fault,
            format_args!("{} (vector {vector}, error code {:#x})", name(vector), frame.error),
            origin,
        ),
    }
}

fn name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug exception",
        2 => "non-maskable interrupt",
        3 => "breakpoint",
        4 => "overflow",
        5 => "bound range exceeded",
        6 => "invalid opcode",
        7 => "device not available",
        8 => "double fault",
        10 => "invalid TSS",
        11 => "segment not present",
        12 => "stack fault",
        13 => "general protection fault",
        16 => "x87 floating-point error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD floating-point error",
        20 => "virtualization exception",
        21 => "control protection exception",
        _ => "reserved exception",
    }
}
