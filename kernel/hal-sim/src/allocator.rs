//! An allocator for tests that knows the IRQL: what a kernel's heap forbids above DISPATCH is a failed schedule.

use crate::{fault::FaultKind, machine, machine::Machine};
use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, watched: make it the `#[global_allocator]` of a test crate.
///
/// On a simulated machine above DISPATCH an allocation fails the schedule and names the callback, as it is a bug check on
/// hardware. A deallocation is legal there and put aside until the level falls; it is counted
/// ([`blocks_put_aside`]). Everywhere else it is [`std::alloc::System`].
///
/// ```
/// #[global_allocator]
/// static HEAP: hal_sim::LevelCheckedAllocator = hal_sim::LevelCheckedAllocator;
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct LevelCheckedAllocator;

/// How many blocks were freed above DISPATCH on the machine that this code runs on. 0 outside of a machine, and unless
/// [`LevelCheckedAllocator`] is the global allocator.
pub fn blocks_put_aside() -> usize {
    machine::with_current(|machine| machine.put_aside.get()).unwrap_or(0)
}

impl LevelCheckedAllocator {
    /// Runs `f` if the caller is driver's or core's code above DISPATCH.
    fn above_dispatch(f: impl FnOnce(&Machine)) {
        // The explorer itself allocates at every level: that is not part of the machine.
        let _ = machine::with_current(|machine| {
            if !machine.inside.get() && !machine.dead.get() {
                machine.inside.set(true);
                if machine.irql() > ke::irql::DISPATCH {
                    f(machine);
                }
                machine.inside.set(false);
            }
        });
    }

    fn check(layout: Layout) {
        Self::above_dispatch(|machine| {
            let who = machine.who(machine.cpu().fiber.get());
            let (cpu, irql, size) = (machine.running.get(), machine.irql(), layout.size());
            let held = machine.held();
            let text = format!("{who} allocates {size} bytes on CPU {cpu} at IRQL {irql}{held}");
            // Only marked: an allocator must not unwind. The next call of the core does.
            machine.fail(FaultKind::AllocationAtDirql, text);
        });
    }
}

// SAFETY: every method is `System`'s, called with its own arguments; the checks do not touch the block.
unsafe impl GlobalAlloc for LevelCheckedAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::check(layout);
        // SAFETY: by the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Self::above_dispatch(|machine| machine.put_aside.set(machine.put_aside.get() + 1));
        // SAFETY: by the caller's contract.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::check(layout);
        // SAFETY: by the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::check(layout);
        // SAFETY: by the caller's contract.
        unsafe { System.realloc(block, layout, size) }
    }
}
