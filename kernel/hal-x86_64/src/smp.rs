//! Starting the other CPUs: INIT, startup, through a trampoline below 1 MiB into the higher half.
//!
//! They are started one after the other and wait, each on its own stack, until all are there and the core has a block
//! for each. So the numbers of CPUs have no gaps even if one does not start.

use crate::{
    acpi::Platform,
    boot, console,
    cpu::{self, Cpu},
    icr::Command,
    idt,
    image::LOW_MEMORY,
    layout::PAGE,
    local_apic, memory,
    memory_map::MemoryMap,
    time,
};
use alloc::vec::Vec;
use core::{
    arch::global_asm,
    hint,
    sync::atomic::{
        AtomicPtr, AtomicU64,
        Ordering::{Acquire, Release},
    },
};
use ke::{hal::Kernel, system::System};
use spin::Once;

// The words at fixed offsets are filled in when it is copied: a GDT pointer at 8, the boot tables' root at 16, and at
// 20 the far pointer to the 64-bit part.
global_asm!(
    r#"
    .section .rodata.trampoline, "a", @progbits
    .balign 16
    .global trampoline, trampoline_long, trampoline_end
    .code16
    trampoline:
        jmp short 2f
        .balign 8
        .word 23
        .long 0
        .word 0
        .long 0
        .long 0
        .word 8
        .balign 4
    2:  cli
        cld
        mov ax, cs
        mov ds, ax
        .byte 0x66
        lgdt [8]
        mov eax, cr4
        or eax, 0xe0                    // PAE, MCE, PGE
        mov cr4, eax
        mov eax, dword ptr [16]
        mov cr3, eax
        mov ecx, 0xc0000080
        rdmsr
        or eax, 0x900                   // LME, NXE
        wrmsr
        mov eax, cr0
        and eax, 0x9fffffff             // caches on
        or eax, 0x80010001              // PG, WP, PE
        mov cr0, eax
        .byte 0x66, 0xff, 0x2e          // jmp far dword ptr [20]
        .word 20
    .code64
    trampoline_long:
        mov eax, 16
        mov ss, eax
        mov ds, eax
        mov es, eax
        movabs rax, offset trampoline_high
        jmp rax
    trampoline_end:

    .section .text.boot, "ax", @progbits
    trampoline_high:
        mov rax, [rip + {root}]
        mov cr3, rax
        mov rsp, [rip + {stack}]
        xor ebp, ebp                    // the end of every backtrace
        call {entry}
        ud2
    .section .text
"#,
    root = sym ROOT,
    stack = sym STACK,
    entry = sym entry,
);

// SAFETY: defined by the assembly above; only their addresses are taken.
unsafe extern "C" {
    static trampoline: u8;
    static trampoline_long: u8;
    static trampoline_end: u8;
}

/// What the CPU that is starting needs: page tables, a stack, and which CPU it is.
static ROOT: AtomicU64 = AtomicU64::new(0);
static STACK: AtomicU64 = AtomicU64::new(0);
static STARTING: AtomicPtr<Cpu> = AtomicPtr::new(core::ptr::null_mut());

static PLATFORM: Once<&'static Platform> = Once::new();
/// Set once, when every CPU that runs has been started and has a block.
static SYSTEM: AtomicPtr<System> = AtomicPtr::new(core::ptr::null_mut());

const MILLISECOND: u64 = 1_000_000;
/// Generous: a virtual CPU may wait for a host CPU.
const START_LIMIT: u64 = 2_000 * MILLISECOND;

/// Starts every CPU but this one, `first`, and states which CPUs run. Interrupts off.
pub fn start_all(first: &'static Cpu, platform: &'static Platform, map: &MemoryMap) {
    let mut running: Vec<&'static Cpu> = alloc::vec![first];
    let others: Vec<u32> =
        platform.processors.iter().map(|cpu| cpu.apic_id).filter(|&apic_id| apic_id != first.apic_id).collect();
    if !others.is_empty() {
        PLATFORM.call_once(|| platform);
        ROOT.store(memory::root(), Release);
        let page = place_trampoline(map);
        for &apic_id in &others {
            local_apic::send(Command::INIT, apic_id);
        }
        time::stall(10 * MILLISECOND);
        for apic_id in others {
            let cpu = Cpu::new(running.len() as u32, apic_id);
            if start(cpu, page) {
                running.push(cpu);
            } else {
                // Back to waiting, so that it cannot come late on a stack that is another's.
                local_apic::send(Command::INIT, apic_id);
                console::print(format_args!("CPU with APIC id {apic_id} did not start; going on without it\n"));
            }
        }
    }
    cpu::set_all(running);
}

/// Copies the trampoline to a free page below 1 MiB.
fn place_trampoline(map: &MemoryMap) -> u64 {
    const EXTENDED_BIOS_DATA: u64 = 0x80000;
    let page = map
        .find(PAGE, PAGE, PAGE..EXTENDED_BIOS_DATA.min(LOW_MEMORY), 0..0)
        .expect("a PC has free memory below 512 KiB");
    let from = &raw const trampoline;
    let len = (&raw const trampoline_end).addr() - from.addr();
    let long = (page as usize + ((&raw const trampoline_long).addr() - from.addr())) as u32;
    let (tables, gdt) = boot::tables_and_gdt();
    let below_4_gib = |physical: u64| u32::try_from(physical).expect("the image is loaded below 4 GiB");
    let to = memory::physical_to_virtual(page);
    // SAFETY: the page is RAM below 1 MiB, which the frame allocator never gives out; the fields are inside.
    unsafe {
        to.copy_from_nonoverlapping(from, len);
        to.add(10).cast::<u32>().write_unaligned(below_4_gib(gdt));
        to.add(16).cast::<u32>().write_unaligned(below_4_gib(tables));
        to.add(20).cast::<u32>().write_unaligned(long);
    }
    page
}

/// Starts one CPU that has had its INIT; whether it came.
fn start(cpu: &'static Cpu, page: u64) -> bool {
    STACK.store(cpu.stack, Release);
    STARTING.store(core::ptr::from_ref(cpu).cast_mut(), Release);
    local_apic::send(Command::startup(page), cpu.apic_id);
    if came(cpu, MILLISECOND) {
        return true;
    }
    local_apic::send(Command::startup(page), cpu.apic_id);
    came(cpu, START_LIMIT)
}

fn came(cpu: &Cpu, within: u64) -> bool {
    let end = time::now() + within;
    while !cpu.is_online() && time::now() < end {
        hint::spin_loop();
    }
    cpu.is_online()
}

/// Lets the CPUs that wait go on with `system`.
pub fn release(system: *mut System) {
    SYSTEM.store(system, Release);
}

/// All state of the core; null before [`release`].
#[inline(always)]
pub fn system() -> *const System {
    SYSTEM.load(Acquire)
}

/// First Rust code of a started CPU.
///
/// # Safety
/// Called by the trampoline alone, on the stack that [`start`] chose, interrupts off.
unsafe extern "sysv64" fn entry() -> ! {
    // SAFETY: the first CPU stored it before it sent the startup, and waits until this CPU is online.
    let cpu: &'static Cpu = unsafe { &*STARTING.load(Acquire) };
    // SAFETY: this is the CPU that it was made for, as is asserted below; interrupts are off since the trampoline.
    unsafe {
        cpu::set_early_block(&cpu.early);
        idt::load();
        cpu.load_tables();
    }
    let platform = PLATFORM.get().expect("stored before the first startup is sent");
    local_apic::init(platform);
    assert_eq!(local_apic::id(), cpu.apic_id, "another CPU than the one that was started");
    cpu.set_online();
    while system().is_null() {
        hint::spin_loop();
    }
    // SAFETY: this CPU's number is its own, interrupts are off, and this stack stays.
    unsafe { run(cpu.number) }
}

/// Turns this CPU over to the core.
///
/// # Safety
/// Called once on each CPU, with its own number, interrupts off, on a stack that stays, after [`release`].
pub unsafe fn run(number: u32) -> ! {
    // SAFETY: not null after `release`, and never freed.
    let block = unsafe { &*system() }
        .cpus()
        .get(number as usize)
        .expect("the core has a block for each CPU that was counted");
    assert_eq!(block.number(), number);
    // SAFETY: the block with this CPU's number; then the core runs here, as `Kernel` wants.
    unsafe {
        cpu::set_block(block);
        ke::entry::run_cpu(Kernel::new());
    }
    unreachable!("on hardware an idle thread never ends")
}
