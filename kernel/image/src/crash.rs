//! Ways to end the machine, to see what its bug check says.

use crate::selftest::nesting;
use core::{hint::black_box, ptr};
use ke::{
    At, Event, Passive,
    thread::{self, ThreadOptions},
};

/// In the half of the address space that no user has and the kernel does not map.
const UNMAPPED: usize = 0xffff_a000_dead_0000;

/// A page fault.
#[inline(never)]
pub fn crash_by_fault() -> u8 {
    // SAFETY: nothing is at the address, on purpose: the load faults, and the bug check does not come back here.
    unsafe { ptr::with_exposed_provenance::<u8>(UNMAPPED).read_volatile() }
}

/// Recursion, until the stack's guard page ends it.
#[inline(never)]
pub fn crash_by_stack(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    if depth == u64::MAX {
        return 0;
    }
    black_box(crash_by_stack(depth + 1)) + frame[0]
}

/// The same in the highest of ISRs of all classes, which interrupt each other and a DPC.
pub fn crash_in_nested_isrs(at: &mut At<'_, Passive>) {
    let outcome = nesting::run_at_the_top(at, || {
        crash_by_stack(0);
    });
    if let Err(why) = outcome {
        at.print(format_args!("{why}\n"));
    }
}

/// A panic in a thread of its own.
pub fn crash_in_a_thread(at: &mut At<'_, Passive>) {
    let spawned = thread::spawn(at, ThreadOptions::named("crash"), |_| crash_by_panic());
    if let Err(error) = spawned {
        at.print(format_args!("{error}\n"));
        return;
    }
    // Nobody sets it: the panic ends the machine during this wait.
    let _ = Event::new().wait_timeout(at, 10_000_000_000);
}

#[inline(never)]
fn crash_by_panic() {
    panic!("`crash thread` was typed");
}
