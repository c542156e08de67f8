//! Stacks with guard pages, in a window of their own.
//!
//! The window is slots of [`SLOT`] bytes: the upper half is the stack, the lower half is never mapped. A stack that is
//! given back keeps its memory and waits on a list, linked through its top word.
//!
//! **Invariant:** a slot is in use, or on the free list, or at or above `next`.

use crate::{layout, lock::MaskedLock, memory};
use core::ops::Range;

/// Bytes of one stack.
pub const SIZE: u64 = 64 << 10;
const SLOT: u64 = 2 * SIZE;

struct Stacks {
    /// The top of the first free stack, 0 for none.
    free: u64,
    next: u64,
}

static STACKS: MaskedLock<Stacks> = MaskedLock::new(Stacks { free: 0, next: layout::STACKS });

/// The top of a stack: the address behind its last byte, a multiple of 16. `None`: no memory.
pub fn allocate() -> Option<u64> {
    let mut stacks = STACKS.lock();
    if stacks.free != 0 {
        let top = stacks.free;
        // SAFETY: the top word of a stack on the list is the link, and nobody else's.
        stacks.free = unsafe { link(top).read() };
        return Some(top);
    }
    let slot = stacks.next;
    if slot + SLOT > layout::STACKS + layout::WINDOW {
        return None;
    }
    memory::map_fresh(slot + SIZE, SIZE).ok()?;
    stacks.next += SLOT;
    Some(slot + SLOT)
}

/// Gives a stack back.
///
/// # Safety
/// `top` came from [`allocate`], and no CPU runs on the stack.
pub unsafe fn free(top: u64) {
    let mut stacks = STACKS.lock();
    // SAFETY: by the contract the stack is mapped and nobody's.
    unsafe { link(top).write(stacks.free) };
    stacks.free = top;
}

fn link(top: u64) -> *mut u64 {
    (top - 8) as *mut u64
}

/// Whether `address` is in the guard pages of a stack.
pub fn is_guard(address: u64) -> bool {
    const WINDOW: Range<u64> = layout::STACKS..layout::STACKS + layout::WINDOW;
    WINDOW.contains(&address) && (address - layout::STACKS) % SLOT < SIZE
}
