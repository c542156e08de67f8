//! Threads' contexts: a stack each, and switching between them.
//!
//! A context that does not run is its stack pointer. On top of its stack are the address to go on at, and `rbx` and
//! `rbp`, which inline assembly cannot declare as clobbered; the compiler saves what else lives around [`switch`].

use crate::stacks;
use core::{
    arch::{asm, naked_asm},
    sync::atomic::Ordering::Relaxed,
};
use ke::{
    Thread,
    hal::{Context, Kernel},
};

/// A stack for `thread`, and in `context` what makes the first switch to it run the thread. `false`: no memory.
pub fn create(context: &Context, thread: *const Thread) -> bool {
    let Some(top) = stacks::allocate() else { return false };
    let start: unsafe extern "C" fn() = start;
    // SAFETY: the stack is mapped and nobody else's.
    unsafe {
        let words = (top as *mut u64).sub(2);
        words.write(start as usize as u64);
        words.add(1).write(thread.expose_provenance() as u64);
    }
    context.stack.store(top as usize, Relaxed);
    context.stack_pointer.store(top as usize - 16, Relaxed);
    true
}

/// Frees the stack of a context that never runs again.
pub fn destroy(context: &Context) {
    let top = context.stack.swap(0, Relaxed);
    if top != 0 {
        // SAFETY: `create` stored it, and the caller says that the context never runs again.
        unsafe { stacks::free(top as u64) };
    }
}

/// The first instructions of a thread: its address is on the stack.
///
/// # Safety
/// Reached by the first switch to a context of [`create`] alone.
// SAFETY: the body saves nothing because it never returns, and calls with the stack aligned.
#[unsafe(naked)]
unsafe extern "C" fn start() {
    naked_asm!(
        "pop rdi",
        "xor ebp, ebp", // the end of every backtrace
        "call {run}",
        "ud2",
        run = sym run,
    )
}

/// # Safety
/// Called by [`start`] alone.
unsafe extern "sysv64" fn run(thread: *const Thread) {
    // SAFETY: `create` put the thread on this stack, and this is the first switch to it.
    unsafe { ke::entry::thread_start(Kernel::new(), thread) };
}

/// Saves the running context in `from` and continues `to`.
///
/// # Safety
/// `to` was saved by this function or made by [`create`], and does not run; the lock that guards both is held.
#[inline(always)]
pub unsafe fn switch(from: &Context, to: &Context) {
    // SAFETY: by the contract `to` has what is popped here on its stack; everything that this context keeps in
    // registers is saved by the compiler, because all of them are clobbered.
    unsafe {
        asm!(
            "push rbp",
            "push rbx",
            "lea rax, [rip + 2f]",
            "push rax",
            "mov [{from}], rsp",
            "mov rsp, [{to}]",
            "pop rax",
            "jmp rax",
            "2:",
            "pop rbx",
            "pop rbp",
            from = in(reg) from.stack_pointer.as_ptr(),
            to = in(reg) to.stack_pointer.as_ptr(),
            out("rax") _, lateout("rcx") _, lateout("rdx") _, lateout("rsi") _, lateout("rdi") _,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
        );
    }
}
