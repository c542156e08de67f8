//! Where the linker put the image, and where the loader put it in memory.

use crate::{
    layout::{IMAGE, PAGE},
    page_table::Access,
};
use core::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// The first 1 MiB belongs to the firmware and to the start of the other CPUs.
pub const LOW_MEMORY: u64 = 1 << 20;

/// What to add to an address of the image, less [`IMAGE`], to have its physical address.
static PHYSICAL_BASE: AtomicU64 = AtomicU64::new(0);

// SAFETY: defined by the linker script; only their addresses are taken.
unsafe extern "C" {
    static image_text: u8;
    static image_rodata: u8;
    static image_data: u8;
    static image_end: u8;
}

/// Remembers where the image was loaded. Once, first of all.
pub fn set_physical_base(base: u64) {
    PHYSICAL_BASE.store(base, Relaxed);
}

/// The physical address of `address` in the image.
pub fn to_physical(address: u64) -> u64 {
    address - IMAGE + PHYSICAL_BASE.load(Relaxed)
}

fn text() -> u64 {
    (&raw const image_text).addr() as u64
}

/// The sections of the image, in whole pages, and what may be done with them.
pub fn sections() -> [(Range<u64>, Access); 3] {
    let rodata = (&raw const image_rodata).addr() as u64;
    let data = (&raw const image_data).addr() as u64;
    [(text()..rodata, Access::Text), (rodata..data, Access::ReadOnly), (data..end(), Access::Data)]
}

/// The physical addresses of the image.
pub fn physical() -> Range<u64> {
    to_physical(text())..to_physical(end())
}

/// The physical addresses of the part of the image that nobody writes.
pub fn physical_read_only() -> Range<u64> {
    to_physical(text())..to_physical((&raw const image_data).addr() as u64)
}

fn end() -> u64 {
    ((&raw const image_end).addr() as u64).next_multiple_of(PAGE)
}
