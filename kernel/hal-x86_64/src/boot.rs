//! From the loader to Rust: the PVH entry point, the boot page tables, and what the loader says.
//!
//! QEMU's `-kernel` (and any PVH loader) enters [`pvh_entry`](self) in 32-bit protected mode without paging. It maps
//! the first 4 GiB three times (identically, at [`layout::PHYSICAL`], and its first GiB where
//! the image is linked), enters long mode and calls `kernel_entry` of the image. The tables stay: the other CPUs pass
//! through them too. The boot stack has no guard page: nothing could report the overflow that early, and the CPU leaves
//! it for one that has before the core runs.

use crate::{
    image, layout,
    memory_map::{Kind, MemoryMap, Region},
};
use core::{arch::global_asm, slice, str};

global_asm!(
    r#"
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18
    .asciz "Xen"
    .long pvh_entry_physical

    .section .bss.boot, "aw", @nobits
    .balign 4096
    .global boot_pml4
    boot_pml4: .skip 4096
    boot_pdpt_low: .skip 4096
    boot_pdpt_high: .skip 4096
    boot_pd: .skip 4 * 4096
    boot_stack: .skip 32768
    boot_stack_top:

    .section .rodata.boot, "a", @progbits
    .balign 8
    .global boot_gdt
    boot_gdt: .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
    boot_gdtr: .word 23
    .long boot_gdt_physical

    .global boot_pdpt_low, boot_pdpt_high, boot_pd, boot_stack_top, boot_gdtr, boot_long, pvh_entry

    .section .text.boot, "ax", @progbits
    .code32
    pvh_entry:
        cli
        cld
        mov esi, ebx

        mov edi, offset boot_pd_physical
        mov eax, 0x83
        mov ecx, 4 * 512
    2:  mov [edi], eax
        mov dword ptr [edi + 4], 0
        add eax, 0x200000
        add edi, 8
        dec ecx
        jnz 2b

        mov edi, offset boot_pdpt_low_physical
        mov eax, offset boot_pd_physical
        or eax, 3
        mov dword ptr [boot_pdpt_high_physical + 510 * 8], eax
        mov ecx, 4
    3:  mov [edi], eax
        add eax, 4096
        add edi, 8
        dec ecx
        jnz 3b

        mov edi, offset boot_pml4_physical
        mov eax, offset boot_pdpt_low_physical
        or eax, 3
        mov [edi], eax
        mov [edi + 256 * 8], eax
        mov eax, offset boot_pdpt_high_physical
        or eax, 3
        mov [edi + 511 * 8], eax

        mov eax, cr4
        or eax, 0xe0                    // PAE, MCE, PGE
        mov cr4, eax
        mov cr3, edi
        mov ecx, 0xc0000080
        rdmsr
        or eax, 0x900                   // LME, NXE
        wrmsr
        mov eax, cr0
        and eax, 0x9fffffff             // caches on
        or eax, 0x80010001              // PG, WP, PE
        mov cr0, eax
        lgdt [boot_gdtr_physical]
        mov esp, offset boot_stack_top_physical
        push 8
        mov eax, offset boot_long_physical
        push eax
        retf

    .code64
    boot_long:
        mov eax, 16
        mov ss, eax
        mov ds, eax
        mov es, eax
        movabs rax, offset boot_high
        jmp rax
    boot_high:
        movabs rsp, offset boot_stack_top
        xor ebp, ebp                    // the end of every backtrace
        mov edi, esi
        xor esi, esi                    // PVH loads the image where its program headers say: base 0
        call kernel_entry
        ud2

    .section .text
"#
);

/// What the loader told the kernel. Copied before any memory is used.
#[derive(Debug)]
pub struct BootInfo {
    cmdline: [u8; Self::CMDLINE],
    cmdline_len: usize,
    /// What is where in physical memory.
    pub memory: MemoryMap,
    /// The physical address of the ACPI root pointer; 0 if the loader knew none.
    pub rsdp: u64,
}

impl BootInfo {
    /// The longest command line that is kept.
    pub const CMDLINE: usize = 2048;

    /// The kernel command line, as far as it is UTF-8.
    pub fn cmdline(&self) -> &str {
        let bytes = &self.cmdline[..self.cmdline_len];
        str::from_utf8(bytes)
            .unwrap_or_else(|error| str::from_utf8(&bytes[..error.valid_up_to()]).expect("valid up to there"))
    }

    /// Copies what the loader left.
    ///
    /// # Safety
    /// `start_info` is the physical address that a PVH loader passed, the boot tables are in use, and no memory has
    /// been reused since.
    pub(crate) unsafe fn copy(start_info: u64) -> Self {
        let mut boot = BootInfo { cmdline: [0; Self::CMDLINE], cmdline_len: 0, memory: MemoryMap::new(), rsdp: 0 };
        // SAFETY: by the contract a `StartInfo` is there, and what it points at is too, below 4 GiB.
        unsafe {
            let info = at::<StartInfo>(start_info).read_unaligned();
            assert!(info.magic == StartInfo::MAGIC, "no PVH start info at {start_info:#x}");
            boot.rsdp = info.rsdp;
            if info.cmdline != 0 {
                let text = at::<u8>(info.cmdline);
                boot.cmdline_len = (0..Self::CMDLINE).take_while(|&n| text.add(n).read() != 0).count();
                boot.cmdline[..boot.cmdline_len].copy_from_slice(slice::from_raw_parts(text, boot.cmdline_len));
            }
            assert!(info.version >= 1 && info.memory_entries > 0, "the PVH loader gave no memory map");
            for n in 0..info.memory_entries as usize {
                let entry = at::<MemoryEntry>(info.memory).add(n).read_unaligned();
                let region =
                    Region { start: entry.start, end: entry.start + entry.len, kind: Kind::from_e820(entry.kind) };
                assert!(boot.memory.push(region), "more than {} memory regions", MemoryMap::CAPACITY);
            }
        }
        boot
    }
}

/// `hvm_start_info` of the PVH boot protocol, version 1.
#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    cmdline: u64,
    rsdp: u64,
    memory: u64,
    memory_entries: u32,
    reserved: u32,
}

impl StartInfo {
    const MAGIC: u32 = 0x336e_c578;
}

/// `hvm_memmap_table_entry`.
#[repr(C)]
struct MemoryEntry {
    start: u64,
    len: u64,
    kind: u32,
    reserved: u32,
}

/// What the boot tables map at `physical`.
fn at<T>(physical: u64) -> *const T {
    (layout::PHYSICAL + physical) as *const T
}

// SAFETY: defined by the assembly above; only their addresses are taken.
unsafe extern "C" {
    static boot_pml4: u8;
    static boot_gdt: u8;
}

/// The physical addresses of the boot tables' root and of the boot GDT, for the other CPUs.
pub(crate) fn tables_and_gdt() -> (u64, u64) {
    let physical = |symbol: *const u8| image::to_physical(symbol.addr() as u64);
    (physical(&raw const boot_pml4), physical(&raw const boot_gdt))
}
