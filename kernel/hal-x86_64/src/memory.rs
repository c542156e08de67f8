//! Physical memory and the one address space: frames, page tables, and the window for device registers.
//!
//! **Invariant:** a frame is in the free bitmap, or mapped in a window, or held as a run for DMA: never two of these.

use crate::{
    frames::Frames,
    image,
    layout::{self, LARGE_PAGE, PAGE},
    lock::MaskedLock,
    memory_map::{Kind, MemoryMap},
    page_table::{self, Access, OutOfFrames, Table, TableMemory},
};
use alloc::vec::Vec;
use core::{
    ops::Range,
    slice,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use x86_64::{VirtAddr, instructions::tlb};

/// What 32-bit code and the loader's own tables can reach.
const FOUR_GIB: u64 = 1 << 32;

static FRAMES: MaskedLock<Option<Frames<'static>>> = MaskedLock::new(None);
static TABLES: MaskedLock<Tables> = MaskedLock::new(Tables { root: 0, limit: FOUR_GIB });
static MMIO: MaskedLock<MmioWindow> = MaskedLock::new(MmioWindow { mapped: Vec::new(), next: layout::MMIO });
static ROOT: AtomicU64 = AtomicU64::new(0);

/// Where the kernel sees the RAM at `physical`.
pub fn physical_to_virtual(physical: u64) -> *mut u8 {
    (layout::PHYSICAL + physical) as *mut u8
}

/// The physical address of the root table, below 4 GiB.
pub fn root() -> u64 {
    ROOT.load(Relaxed)
}

/// Takes over the memory of `map` and builds the address space; the caller then loads [`root`] into CR3.
///
/// # Safety
/// Called once, on the boot tables, which map the first 4 GiB at [`layout::PHYSICAL`]; nothing in RAM outside the
/// image and below 1 MiB is needed any more.
pub unsafe fn init(map: &MemoryMap) {
    // SAFETY: by the contract.
    unsafe { init_frames(map) };
    let mut tables = TABLES.lock();
    // CR3 is loaded from 32-bit code when a CPU starts.
    tables.root = tables.new_table().expect("a PC has free memory below 4 GiB");
    ROOT.store(tables.root, Relaxed);
    map_all(&mut tables, map).expect("the tables of the physical map take a five-hundredth of the memory they map");
    tables.limit = u64::MAX;
}

/// # Safety
/// As for [`init`].
unsafe fn init_frames(map: &MemoryMap) {
    let words = Frames::words(map.ram_end());
    let bytes = (words * 8) as u64;
    let image = image::physical();
    let at = map
        .find(bytes, PAGE, image::LOW_MEMORY..FOUR_GIB, image.clone())
        .expect("the bitmap takes a 32768th of the memory");
    // SAFETY: `find` gave RAM outside the image and below 4 GiB, which by the contract is mapped and nobody's.
    let bits = unsafe { slice::from_raw_parts_mut(physical_to_virtual(at).cast::<u64>(), words) };
    let mut frames = Frames::new(bits);
    for ram in map.ram(PAGE) {
        frames.release(ram);
    }
    frames.reserve(0..image::LOW_MEMORY);
    frames.reserve(image);
    frames.reserve(at..at + bytes);
    *FRAMES.lock() = Some(frames);
}

fn map_all(tables: &mut Tables, map: &MemoryMap) -> Result<(), OutOfFrames> {
    let root = tables.root;
    // The read-only part of the image is read-only through the physical map too.
    let fixed = image::physical_read_only();
    for region in map.regions().iter().filter(|r| r.kind != Kind::Reserved) {
        let (start, end) = (region.start / PAGE * PAGE, region.end.next_multiple_of(PAGE));
        assert!(end <= layout::PHYSICAL_LEN, "RAM at {end:#x} is beyond the physical map");
        for (part, access) in [
            (start..end.min(fixed.start), Access::Data),
            (start.max(fixed.start)..end.min(fixed.end), Access::ReadOnly),
            (start.max(fixed.end)..end, Access::Data),
        ] {
            if part.start < part.end {
                let len = part.end - part.start;
                page_table::map(tables, root, layout::PHYSICAL + part.start, part.start, len, access)?;
            }
        }
    }
    for (range, access) in image::sections() {
        let len = range.end - range.start;
        page_table::map(tables, root, range.start, image::to_physical(range.start), len, access)?;
    }
    [layout::MMIO, layout::STACKS, layout::HEAP]
        .into_iter()
        .try_for_each(|window| page_table::prepare_window(tables, root, window))
}

struct Tables {
    root: u64,
    /// While the address space is built only what the boot tables map can be written.
    limit: u64,
}

impl TableMemory for Tables {
    fn new_table(&mut self) -> Option<u64> {
        let frame = allocate_frames(1, self.limit)?;
        // SAFETY: a frame of RAM, just allocated.
        unsafe { physical_to_virtual(frame).write_bytes(0, PAGE as usize) };
        Some(frame)
    }
    fn table(&mut self, physical: u64) -> &mut Table {
        // SAFETY: `physical` came from `new_table`; only the holder of the `TABLES` lock has a `Tables`.
        unsafe { &mut *physical_to_virtual(physical).cast::<Table>() }
    }
}

/// The address of `count` contiguous frames that end at or below `limit`.
pub fn allocate_frames(count: usize, limit: u64) -> Option<u64> {
    FRAMES.lock().as_mut()?.allocate(count, limit)
}

/// Gives back frames of [`allocate_frames`].
pub fn free_frames(frames: Range<u64>) {
    FRAMES.lock().as_mut().expect("there are frames to give back").release(frames);
}

/// The number of free frames.
pub fn free_frame_count() -> usize {
    FRAMES.lock().as_ref().map_or(0, Frames::free_count)
}

/// Maps `len` bytes of fresh memory at `address` in the heap or the stack window: all of it or nothing.
pub fn map_fresh(address: u64, len: u64) -> Result<(), OutOfFrames> {
    let mut tables = TABLES.lock();
    for done in (0..len).step_by(PAGE as usize) {
        let mapped = allocate_frames(1, u64::MAX).ok_or(OutOfFrames).and_then(|frame| {
            let root = tables.root;
            page_table::map(&mut *tables, root, address + done, frame, PAGE, Access::Data)
                .inspect_err(|_| free_frames(frame..frame + PAGE))
        });
        if mapped.is_err() {
            for page in (0..done).step_by(PAGE as usize) {
                let root = tables.root;
                // Nobody has used the pages, so no CPU has them in its TLB but by speculation on this one.
                if let Some(frame) = page_table::unmap(&mut *tables, root, address + page) {
                    tlb::flush(VirtAddr::new(address + page));
                    free_frames(frame..frame + PAGE);
                }
            }
            return Err(OutOfFrames);
        }
    }
    Ok(())
}

/// Whether `address` is mapped. Takes no lock: for the report of a bug check.
pub fn is_mapped(address: u64) -> bool {
    // Reads only, and tables are never freed: an entry that changes meanwhile is seen before or after.
    let mut tables = Tables { root: root(), limit: 0 };
    tables.root != 0 && {
        let root = tables.root;
        page_table::translate(&mut tables, root, address).is_some()
    }
}

/// Maps the local APIC's registers at [`layout::LOCAL_APIC`].
pub fn map_local_apic(physical: u64) {
    let mut tables = TABLES.lock();
    let root = tables.root;
    page_table::map(&mut *tables, root, layout::LOCAL_APIC, physical, PAGE, Access::Device)
        .expect("boot has memory for a page table");
}

struct MmioWindow {
    mapped: Vec<(Range<u64>, u64)>,
    next: u64,
}

/// Maps `len` bytes of device memory, uncached, for good; `None` when the window or memory is used up. What lies
/// within an earlier mapping has its address there. PASSIVE.
pub fn map_mmio(physical: u64, len: usize) -> Option<*mut u8> {
    let start = physical / PAGE * PAGE;
    let end = physical.checked_add(len as u64)?.checked_next_multiple_of(PAGE)?;
    let mut window = MMIO.lock();
    if let Some((range, address)) = window.mapped.iter().find(|(range, _)| range.start <= start && end <= range.end) {
        return Some((address + (physical - range.start)) as *mut u8);
    }
    // The same offset within a large page as the physical address, so that large pages fit; and a hole behind.
    let offset = start % LARGE_PAGE;
    let address = (window.next - offset).checked_next_multiple_of(LARGE_PAGE)? + offset;
    let next = (address + (end - start)).checked_add(PAGE)?;
    if next > layout::MMIO + layout::WINDOW {
        return None;
    }
    window.mapped.try_reserve(1).ok()?;
    let mut tables = TABLES.lock();
    let root = tables.root;
    // On failure the part that was mapped stays so: its addresses are never given out.
    window.next = next;
    page_table::map(&mut *tables, root, address, start, end - start, Access::Device).ok()?;
    window.mapped.push((start..end, address));
    Some((address + (physical - start)) as *mut u8)
}
