//! Where things are in the address space. One address space for all CPUs, all of it in the higher half.
//!
//! **Invariant:** each window is whole entries of the top page table, and no two windows share an entry.

/// One entry of the top page table.
pub const WINDOW: u64 = 512 << 30;

/// All RAM, physical address `p` at `PHYSICAL + p`: writable, never executable, read-only where the image's code is.
pub const PHYSICAL: u64 = 0xffff_8000_0000_0000;
/// How much RAM fits in the map of it.
pub const PHYSICAL_LEN: u64 = 64 << 40;
/// Device registers, uncached: one [`WINDOW`].
pub const MMIO: u64 = 0xffff_c000_0000_0000;
/// Stacks and their guard pages: one [`WINDOW`].
pub const STACKS: u64 = 0xffff_d000_0000_0000;
/// The heap, mapped as it grows: one [`WINDOW`].
pub const HEAP: u64 = 0xffff_e000_0000_0000;
/// What the linker script calls `IMAGE_BASE`: the image, linked for the top 2 GiB.
pub const IMAGE: u64 = 0xffff_ffff_8000_0000;
/// The local APIC's registers in xAPIC mode: in the top 2 GiB, so that the end of interrupt is one store to an
/// address that fits an instruction.
pub const LOCAL_APIC: u64 = 0xffff_ffff_fee0_0000;

/// A page, and a frame.
pub const PAGE: u64 = 4096;
/// What one entry of a page directory maps.
pub const LARGE_PAGE: u64 = 2 << 20;

const _: () = {
    let windows = [PHYSICAL, PHYSICAL + PHYSICAL_LEN - WINDOW, MMIO, STACKS, HEAP, IMAGE & !(WINDOW - 1)];
    let mut n = 1;
    while n < windows.len() {
        assert!(windows[n - 1] < windows[n] && windows[n].is_multiple_of(WINDOW));
        n += 1;
    }
};
