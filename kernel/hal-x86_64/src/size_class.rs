//! Size classes: free lists of equal blocks in front of a general allocator.
//!
//! `linked_list_allocator` walks its holes, about eight instructions for each; a kernel that has run for a while has
//! thousands. So blocks up to [`LARGEST`] come from a list of their power of two, which is refilled by a [`SLAB`] at a
//! time and never given back to the general allocator; larger ones go there straight.
//!
//! **Invariant:** a block on the list of class `n` is `16 << n` bytes, aligned to that, and nobody's.

use core::{
    alloc::Layout,
    ptr::{self, NonNull},
};

/// The largest block of a class.
pub const LARGEST: usize = SMALLEST << (CLASSES - 1);
/// How much a class takes from the general allocator at once.
pub const SLAB: usize = 4 * LARGEST;

const SMALLEST: usize = 16;
const CLASSES: usize = 8;

/// The general allocator behind the classes.
pub trait Backing {
    /// Memory for `layout`, whose size is not 0.
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>>;
    /// # Safety
    /// `block` came from `allocate` with the same layout and is nobody's any more.
    unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout);
}

struct Free {
    next: Option<NonNull<Free>>,
}

/// The free lists.
pub struct SizeClasses<B> {
    lists: [Option<NonNull<Free>>; CLASSES],
    in_use: usize,
    backing: B,
}

// SAFETY: the lists own the blocks that they link.
unsafe impl<B: Send> Send for SizeClasses<B> {}

/// The class that serves `layout`, if one does.
fn class(layout: Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(SMALLEST);
    (size <= LARGEST).then(|| (size.next_power_of_two() / SMALLEST).trailing_zeros() as usize)
}

/// The layout of a block of `class`.
fn block(class: usize) -> Layout {
    let size = SMALLEST << class;
    Layout::from_size_align(size, size).expect("a power of two, far below isize::MAX")
}

impl<B: Backing> SizeClasses<B> {
    /// Empty lists in front of `backing`.
    pub const fn new(backing: B) -> Self {
        SizeClasses { lists: [None; CLASSES], in_use: 0, backing }
    }

    /// Bytes that callers have, rounded up to their class.
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    /// Memory for `layout`, whose size is not 0.
    pub fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let Some(class) = class(layout) else {
            let memory = self.backing.allocate(layout)?;
            self.in_use += layout.size();
            return Some(memory);
        };
        if self.lists[class].is_none() {
            self.refill(class)?;
        }
        let head = self.lists[class]?;
        // SAFETY: by the invariant `head` is a free block of its class, written by `push`.
        self.lists[class] = unsafe { head.read() }.next;
        self.in_use += block(class).size();
        Some(head.cast())
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// `memory` came from `allocate` with the same layout and is nobody's any more.
    pub unsafe fn free(&mut self, memory: NonNull<u8>, layout: Layout) {
        match class(layout) {
            Some(class) => {
                self.in_use -= block(class).size();
                // SAFETY: by the contract it is a block of this class and nobody's.
                unsafe { self.push(class, memory) };
            }
            None => {
                self.in_use -= layout.size();
                // SAFETY: by the contract; `allocate` had it from the backing with this layout.
                unsafe { self.backing.free(memory, layout) };
            }
        }
    }

    fn refill(&mut self, class: usize) -> Option<()> {
        let layout = block(class);
        let slab = Layout::from_size_align(SLAB, layout.align()).expect("a power of two, far below isize::MAX");
        let slab = self.backing.allocate(slab)?;
        for offset in (0..SLAB).step_by(layout.size()).rev() {
            // SAFETY: within the slab, which is aligned to the class and not shared with anybody.
            unsafe { self.push(class, slab.add(offset)) };
        }
        Some(())
    }

    /// # Safety
    /// `memory` is a block of `class` that nobody has.
    unsafe fn push(&mut self, class: usize, memory: NonNull<u8>) {
        let free = memory.cast::<Free>();
        // SAFETY: by the contract; every class is large and aligned enough for a `Free`.
        unsafe { ptr::write(free.as_ptr(), Free { next: self.lists[class] }) };
        self.lists[class] = Some(free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashMap, vec::Vec};

    /// The host's allocator, which remembers what it gave.
    #[derive(Default)]
    struct Host {
        blocks: HashMap<usize, Layout>,
        full: bool,
    }

    impl Backing for Host {
        fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
            if self.full {
                return None;
            }
            // SAFETY: the size is not 0.
            let memory = NonNull::new(unsafe { std::alloc::alloc(layout) })?;
            self.blocks.insert(memory.as_ptr() as usize, layout);
            Some(memory)
        }
        unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout) {
            assert_eq!(self.blocks.remove(&(block.as_ptr() as usize)), Some(layout));
            // SAFETY: it was ours, with this layout.
            unsafe { std::alloc::dealloc(block.as_ptr(), layout) };
        }
    }

    impl Drop for Host {
        fn drop(&mut self) {
            for (&address, &layout) in &self.blocks {
                // SAFETY: `allocate` gave it with this layout and nobody freed it.
                unsafe { std::alloc::dealloc(address as *mut u8, layout) };
            }
        }
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn sizes_and_alignments_have_classes() {
        let class_of = |size, align| class(layout(size, align));
        assert_eq!(class_of(1, 1), Some(0));
        assert_eq!(class_of(16, 8), Some(0));
        assert_eq!(class_of(17, 8), Some(1));
        assert_eq!(class_of(8, 128), Some(3));
        assert_eq!(class_of(LARGEST, 1), Some(CLASSES - 1));
        assert_eq!(class_of(LARGEST + 1, 1), None);
        assert_eq!(class_of(8, 2 * LARGEST), None);
    }

    #[test]
    fn blocks_are_apart_aligned_and_counted() {
        let mut heap = SizeClasses::new(Host::default());
        let mut taken: Vec<(usize, Layout)> = Vec::new();
        for n in 1..600 {
            let layout = layout(n * 7 % 3000 + 1, 1 << (n % 10));
            let address = heap.allocate(layout).unwrap().as_ptr() as usize;
            assert!(address.is_multiple_of(layout.align()));
            for &(other, other_layout) in &taken {
                assert!(address + layout.size() <= other || other + other_layout.size() <= address);
            }
            taken.push((address, layout));
        }
        assert!(heap.in_use() >= taken.iter().map(|(_, layout)| layout.size()).sum());
        for (address, layout) in taken {
            // SAFETY: allocated above with this layout.
            unsafe { heap.free(NonNull::new(address as *mut u8).unwrap(), layout) };
        }
        assert_eq!(heap.in_use(), 0);
    }

    #[test]
    fn a_freed_block_is_the_next_of_its_class() {
        let mut heap = SizeClasses::new(Host::default());
        let first = heap.allocate(layout(100, 8)).unwrap();
        // SAFETY: allocated above with this layout.
        unsafe { heap.free(first, layout(100, 8)) };
        assert_eq!(heap.allocate(layout(128, 1)), Some(first));
    }

    #[test]
    fn a_large_block_goes_back_to_the_backing() {
        let mut heap = SizeClasses::new(Host::default());
        let large = layout(LARGEST + 1, 16);
        let memory = heap.allocate(large).unwrap();
        assert_eq!(heap.backing.blocks.len(), 1);
        // SAFETY: allocated above with this layout.
        unsafe { heap.free(memory, large) };
        assert!(heap.backing.blocks.is_empty());
    }

    #[test]
    fn no_memory_is_none_and_counts_nothing() {
        let mut heap = SizeClasses::new(Host { full: true, blocks: HashMap::new() });
        assert_eq!(heap.allocate(layout(1, 1)), None);
        assert_eq!(heap.allocate(layout(1 << 20, 1)), None);
        assert_eq!(heap.in_use(), 0);
    }
}
