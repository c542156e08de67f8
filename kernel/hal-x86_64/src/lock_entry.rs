//! The way out of a lock's fast path: to the core's slow one, without a trace on the registers of who comes.
//!
//! A call that the compiler knows of costs a fast path the registers that it must save around it, taken or not. So the slow
//! path is reached by a call that it does not know of: the arguments lie on the stack, and what is called saves all registers.

use core::arch::{asm, naked_asm};
use ke::hal::Kernel;

/// Calls [`ke::entry::lock_slowly`].
#[inline(always)]
pub fn call(word: *const (), ticket: u32, site: *const ()) {
    // SAFETY: `enter` takes the arguments off the stack and leaves all registers but the flags as they were. What lies below the
    // stack pointer is nobody's: the target has no red zone, as interrupts are taken on the same stack; so `nostack`, which
    // would cost the fast path an alignment that `enter` sees to itself.
    unsafe {
        asm!(
            "push {site}",
            "push {ticket:r}",
            "push {word}",
            "call {enter}",
            site = in(reg) site,
            ticket = in(reg) u64::from(ticket),
            word = in(reg) word,
            enter = sym enter,
            options(nostack),
        );
    }
}

/// Saves what a function may change, aligns the stack, and passes on the three arguments that lie above the return address.
///
/// # Safety
/// Called by [`call`] alone.
// SAFETY: every register that `sysv64` lets a function change is saved, and no other is changed.
#[unsafe(naked)]
unsafe extern "C" fn enter() {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rax",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "mov rdi, [rbp + 16]",
        "mov esi, [rbp + 24]",
        "mov rdx, [rbp + 32]",
        "and rsp, -16",
        "call {slowly}",
        "lea rsp, [rbp - 72]",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "pop rbp",
        "ret 24",
        slowly = sym slowly,
    )
}

/// # Safety
/// Called by [`enter`] alone.
unsafe extern "sysv64" fn slowly(word: *const (), ticket: u32, site: *const ()) {
    // SAFETY: the core runs, as it takes a lock; the arguments are those that it gave.
    unsafe { ke::entry::lock_slowly(Kernel::new(), word, ticket, site) };
}
