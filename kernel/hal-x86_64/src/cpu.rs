//! This CPU: its block behind `gs`, its levels, its descriptor tables and the stacks of its own.
//!
//! **Invariant:** `gs` always points at a block, from the first lines of boot on: an [`Early`] one until the core has
//! made the CPU's own.

use crate::stacks;
use alloc::{boxed::Box, vec::Vec};
use core::{
    arch::asm,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};
use ke::{
    irql,
    percpu::{PerCpu, offset, pending},
};
use spin::Once;
use x86_64::{
    VirtAddr,
    instructions::{interrupts, segmentation, segmentation::Segment, tables},
    registers::model_specific::GsBase,
    structures::{
        gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector},
        tss::TaskStateSegment,
    },
};

/// Which entry of the interrupt stack table serves an exception that may find any stack unusable.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum OwnStack {
    /// NMI.
    Nmi = 1,
    /// Machine check.
    MachineCheck = 2,
    /// Double fault.
    DoubleFault = 3,
    /// Page fault: a stack that ran into its guard page cannot take the frame.
    PageFault = 4,
}

/// What this crate has of its own for each CPU.
pub struct Cpu {
    /// From 0 without gaps.
    pub number: u32,
    /// The local APIC's id.
    pub apic_id: u32,
    /// The top of the stack that becomes the idle thread's.
    pub stack: u64,
    /// What `gs` points at until the core has made the CPU's block.
    pub early: Early,
    online: AtomicBool,
    gdt: GlobalDescriptorTable,
    code: SegmentSelector,
    data: SegmentSelector,
    task: SegmentSelector,
}

static CPUS: Once<Vec<&'static Cpu>> = Once::new();

/// The CPUs that run; none before they all do.
pub fn all() -> &'static [&'static Cpu] {
    CPUS.get().map_or(&[], Vec::as_slice)
}

/// States which CPUs run. Once.
pub fn set_all(cpus: Vec<&'static Cpu>) {
    CPUS.call_once(|| cpus);
}

impl Cpu {
    /// The tables and stacks for the CPU with `apic_id`. At boot.
    pub fn new(number: u32, apic_id: u32) -> &'static Cpu {
        let stack = || stacks::allocate().expect("boot has memory for a few stacks");
        let mut tss = TaskStateSegment::new();
        for own in [OwnStack::Nmi, OwnStack::MachineCheck, OwnStack::DoubleFault, OwnStack::PageFault] {
            tss.interrupt_stack_table[own as usize - 1] = VirtAddr::new(stack());
        }
        let mut gdt = GlobalDescriptorTable::new();
        let code = gdt.append(Descriptor::kernel_code_segment());
        let data = gdt.append(Descriptor::kernel_data_segment());
        let task = gdt.append(Descriptor::tss_segment(Box::leak(Box::new(tss))));
        let online = AtomicBool::new(false);
        Box::leak(Box::new(Cpu { number, apic_id, stack: stack(), early: Early::new(number), online, gdt, code, data, task }))
    }

    /// Loads this CPU's descriptor tables.
    ///
    /// # Safety
    /// Runs on the CPU that `self` was made for, and on no other ever.
    pub unsafe fn load_tables(&'static self) {
        self.gdt.load();
        // SAFETY: the selectors are of the table just loaded, which lives forever; nobody loads a task twice.
        unsafe {
            segmentation::CS::set_reg(self.code);
            segmentation::SS::set_reg(self.data);
            segmentation::DS::set_reg(self.data);
            segmentation::ES::set_reg(self.data);
            tables::load_tss(self.task);
        }
    }

    /// Notes that the CPU runs.
    ///
    /// # Panics
    /// If another CPU said that it is this one.
    pub fn set_online(&self) {
        assert!(!self.online.swap(true, Ordering::AcqRel), "two CPUs are both number {}", self.number);
    }

    /// Whether the CPU has said that it runs.
    pub fn is_online(&self) -> bool {
        self.online.load(Ordering::Acquire)
    }
}

/// The first words of a [`PerCpu`], for a CPU that has none yet: PASSIVE, nothing pending, no vectors.
#[repr(C, align(64))]
pub struct Early([AtomicU64; EARLY_WORDS]);
const EARLY_WORDS: usize = offset::VECTORS / 8 + 1;

/// The first CPU's.
pub static EARLY: Early = Early::new(0);

impl Early {
    const fn new(number: u32) -> Self {
        let mut words = [const { AtomicU64::new(0) }; EARLY_WORDS];
        words[offset::NUMBER / 8] = AtomicU64::new((number as u64) << (offset::NUMBER % 8 * 8));
        Early(words)
    }
}

/// Points `gs` at the block of a CPU that has none yet.
///
/// # Safety
/// `early` is this CPU's alone. Interrupts are off, and stay off until [`set_block`].
pub unsafe fn set_early_block(early: &'static Early) {
    let address = (&raw const *early).addr() as u64;
    early.0[offset::THIS / 8].store(address, Ordering::Relaxed);
    GsBase::write(VirtAddr::new(address));
}

/// Points `gs` at this CPU's block.
///
/// # Safety
/// `block` is this CPU's, lives forever, and no other CPU was given it.
pub unsafe fn set_block(block: &PerCpu) {
    // What was freed early waits on the early list; nobody frees above DISPATCH that early.
    GsBase::write(VirtAddr::from_ptr(block));
}

/// Whether this CPU has its block of the core: there every vector's slot leads somewhere.
pub fn has_block() -> bool {
    first_vector() != 0
}

macro_rules! gs_read {
    ($name:ident, $type:ty, $reg:tt, $offset:expr, $doc:literal) => {
        #[doc = $doc]
        #[inline(always)]
        pub fn $name() -> $type {
            let value: $type;
            // SAFETY: `gs` points at a block (invariant above), and the field is within it.
            unsafe {
                asm!(
                    concat!("mov {value:", $reg, "}, gs:[{offset}]"),
                    value = out(reg) value,
                    offset = const $offset,
                    options(nostack, preserves_flags, readonly),
                );
            }
            value
        }
    };
}

/// One instruction on a field of the block with a constant.
macro_rules! gs_constant {
    ($instruction:literal, $offset:expr, $value:expr) => {
        asm!(
            concat!($instruction, " ptr gs:[{offset}], {value}"),
            offset = const $offset,
            value = const $value,
            options(nostack),
        )
    };
}

gs_read!(level_word, u64, "r", offset::LEVEL, "The level word.");
gs_read!(pending_word, u32, "e", offset::PENDING, "The pending word.");
gs_read!(number, u32, "e", offset::NUMBER, "This CPU's number.");
gs_read!(block, u64, "r", offset::THIS, "The address of this CPU's block.");
gs_read!(current, u64, "r", offset::CURRENT, "The address of the running thread.");
gs_read!(first_vector, u64, "r", offset::VECTORS, "The slot of vector 0: null in an early block.");
gs_read!(deferred_frees_word, u64, "r", offset::HAL, "The head of the list of blocks whose freeing is deferred.");

/// Stores the level word: one instruction for the levels that the compiler knows, and a compiler barrier.
#[inline(always)]
pub fn set_level(level: u8) {
    // SAFETY: as in `gs_read`; not `nomem`, so that memory accesses stay on their side.
    unsafe {
        match level {
            irql::PASSIVE => gs_constant!("mov qword", offset::LEVEL, irql::PASSIVE),
            irql::DISPATCH => gs_constant!("mov qword", offset::LEVEL, irql::DISPATCH),
            _ => asm!(
                "mov qword ptr gs:[{offset}], {level:r}",
                offset = const offset::LEVEL,
                level = in(reg) u64::from(level),
                options(nostack, preserves_flags),
            ),
        }
    }
}

/// ORs into the pending word: one instruction for the bits that ISRs set.
#[inline(always)]
pub fn set_pending(bits: u32) {
    // SAFETY: as in `gs_read`.
    unsafe {
        match bits {
            pending::DPC => gs_constant!("or dword", offset::PENDING, pending::DPC),
            pending::RESCHEDULE => gs_constant!("or dword", offset::PENDING, pending::RESCHEDULE),
            _ => asm!(
                "or dword ptr gs:[{offset}], {bits:e}",
                offset = const offset::PENDING,
                bits = in(reg) bits,
                options(nostack),
            ),
        }
    }
}

/// Clears bits of the pending word: one instruction.
#[inline(always)]
pub fn clear_pending(bits: u32) {
    // SAFETY: as in `gs_read`.
    unsafe {
        match bits {
            pending::DPC => gs_constant!("and dword", offset::PENDING, !pending::DPC as i32),
            pending::RESCHEDULE => gs_constant!("and dword", offset::PENDING, !pending::RESCHEDULE as i32),
            _ => asm!(
                "and dword ptr gs:[{offset}], {bits:e}",
                offset = const offset::PENDING,
                bits = in(reg) !bits,
                options(nostack),
            ),
        }
    }
}

/// The head of this CPU's list of deferred frees.
#[inline(always)]
pub fn deferred_frees() -> usize {
    deferred_frees_word() as usize
}

/// Stores the head of this CPU's list of deferred frees. Interrupts are off.
pub fn set_deferred_frees(head: usize) {
    // SAFETY: as in `gs_read`; the first of the HAL's words is ours.
    unsafe {
        asm!(
            "mov qword ptr gs:[{offset}], {head:r}",
            offset = const offset::HAL,
            head = in(reg) head,
            options(nostack, preserves_flags),
        );
    }
}

/// Reads CR8.
#[inline(always)]
pub fn task_priority() -> u8 {
    let class: u64;
    // SAFETY: reading CR8 changes nothing.
    unsafe { asm!("mov {}, cr8", out(reg) class, options(nostack, preserves_flags, readonly)) };
    class as u8
}

/// Writes CR8; a compiler barrier, which `x86_64::registers::control::Cr8` is not.
#[inline(always)]
pub fn set_task_priority(class: u8) {
    // SAFETY: raising and lowering is the caller's business; memory accesses stay on their side.
    unsafe { asm!("mov cr8, {}", in(reg) u64::from(class), options(nostack, preserves_flags)) };
}

/// The IRQL: the higher of level word and CR8.
pub fn irql() -> u8 {
    (level_word() as u8).max(task_priority())
}

/// `cli`, a compiler barrier.
#[inline(always)]
pub fn disable_interrupts() {
    interrupts::disable();
}

/// `sti`, a compiler barrier; the `x86_64` crate's is two instructions.
#[inline(always)]
pub fn enable_interrupts() {
    // SAFETY: there is a handler for every vector.
    unsafe { asm!("sti", options(nostack, preserves_flags)) };
}

/// `sti; hlt` as one, a compiler barrier, which the `x86_64` crate's is not: what the CPU looks at when it goes on has
/// changed meanwhile.
#[inline(always)]
pub fn enable_interrupts_and_halt() {
    // SAFETY: there is a handler for every vector.
    unsafe { asm!("sti", "hlt", options(nostack, preserves_flags)) };
}

/// Runs `f` with this CPU's interrupts off.
pub fn without_interrupts<R>(f: impl FnOnce() -> R) -> R {
    interrupts::without_interrupts(f)
}
