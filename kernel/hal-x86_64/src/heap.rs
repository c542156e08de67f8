//! The kernel heap: size classes in front of `linked_list_allocator`, in a window that is mapped as it grows.
//!
//! Callers have no token, so the IRQL is read from the machine. Above DISPATCH an allocation is a bug check that names
//! the callback; a free there puts the block on its CPU's deferred list, which the next use of the heap below device
//! level frees on that CPU.
//!
//! **Invariant:** a block on a deferred list is nobody's, and its first two words are a `Deferred`.

use crate::{
    bug_check, cpu,
    layout::{self, PAGE},
    lock::MaskedLock,
    memory,
    size_class::{Backing, SizeClasses},
};
use core::{
    alloc::{GlobalAlloc, Layout},
    ptr::{self, NonNull},
};
use ke::{bugcheck::BugCheckKind, irql};
use linked_list_allocator::Heap as Holes;

/// The heap as a `#[global_allocator]`.
pub struct KernelHeap;

static HEAP: MaskedLock<SizeClasses<Growing>> =
    MaskedLock::new(SizeClasses::new(Growing { holes: Holes::empty(), mapped: 0 }));

/// Bytes that are allocated now.
pub fn in_use() -> usize {
    free_deferred();
    HEAP.lock().in_use()
}

struct Growing {
    holes: Holes,
    mapped: u64,
}

impl Growing {
    const STEP: u64 = 1 << 20;

    fn grow(&mut self, at_least: usize) -> Option<()> {
        let by = (at_least as u64).checked_next_multiple_of(Self::STEP)?;
        if by > layout::WINDOW - self.mapped {
            return None;
        }
        memory::map_fresh(layout::HEAP + self.mapped, by).ok()?;
        // SAFETY: the memory was mapped now, right behind what the allocator has, and is nobody else's.
        unsafe {
            match self.mapped {
                0 => self.holes.init(layout::HEAP as *mut u8, by as usize),
                _ => self.holes.extend(by as usize),
            }
        }
        self.mapped += by;
        Some(())
    }
}

impl Backing for Growing {
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if let Ok(memory) = self.holes.allocate_first_fit(layout) {
            return Some(memory);
        }
        // The page is for what the allocator itself needs at the seam.
        self.grow(layout.size().checked_add(layout.align())?.checked_add(PAGE as usize)?)?;
        self.holes.allocate_first_fit(layout).ok()
    }
    unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: by the contract it came from `allocate_first_fit` with this layout.
        unsafe { self.holes.deallocate(block, layout) };
    }
}

// SAFETY: blocks come from `SizeClasses`, which gives each to one caller; the lock serializes it.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let irql = cpu::irql();
        if irql > irql::DISPATCH {
            bug_check::here(
                BugCheckKind::AllocationAtDirql,
                format_args!(
                    "{} bytes were asked for at IRQL {irql}: allocate before, at DISPATCH or below{}",
                    layout.size(),
                    bug_check::held()
                ),
            );
        }
        free_deferred();
        HEAP.lock().allocate(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let block = NonNull::new(block).expect("GlobalAlloc frees what it gave, and null is not that");
        if cpu::irql() > irql::DISPATCH {
            // SAFETY: the block is nobody's by the contract of `dealloc`.
            unsafe { defer(block, layout) };
            return;
        }
        free_deferred();
        // SAFETY: by the contract of `dealloc`.
        unsafe { HEAP.lock().free(block, layout) };
    }
}

/// What a block says while it waits on a deferred list.
struct Deferred {
    next: *mut Deferred,
    /// The size, and in the low 6 bits the alignment's logarithm: the smallest block has room for no more.
    layout: usize,
}

/// # Safety
/// `block` is a block of the heap with `layout`, and nobody's.
unsafe fn defer(block: NonNull<u8>, layout: Layout) {
    let block = block.cast::<Deferred>().as_ptr();
    let packed = layout.size() << 6 | layout.align().trailing_zeros() as usize;
    cpu::without_interrupts(|| {
        let list = cpu::deferred_frees();
        // SAFETY: every block of the heap has 16 bytes, 16-aligned.
        unsafe { block.write(Deferred { next: ptr::with_exposed_provenance_mut(list), layout: packed }) };
        cpu::set_deferred_frees(block.expose_provenance());
    });
}

/// Frees what this CPU deferred. DISPATCH or below.
fn free_deferred() {
    if cpu::deferred_frees() == 0 {
        return;
    }
    let list = cpu::without_interrupts(|| {
        let list = cpu::deferred_frees();
        cpu::set_deferred_frees(0);
        list
    });
    let mut next: *mut Deferred = ptr::with_exposed_provenance_mut(list);
    let mut heap = HEAP.lock();
    while let Some(block) = NonNull::new(next) {
        // SAFETY: by the invariant; the list was taken off whole.
        unsafe {
            let Deferred { next: rest, layout } = block.read();
            next = rest;
            heap.free(block.cast(), Layout::from_size_align_unchecked(layout >> 6, 1 << (layout & 63)));
        }
    }
}
