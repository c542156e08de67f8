//! The first CPU's way from the loader to the core.

use crate::{
    acpi::Platform,
    boot::BootInfo,
    cmdline, console, cpu,
    cpu::Cpu,
    idt, image, io_apic,
    local_apic::{self, Mode},
    memory, pic, smp, time,
};
use alloc::boxed::Box;
use core::arch::asm;
use ke::{At, Passive, hal::Kernel};
use spin::Once;

static BOOT: Once<BootInfo> = Once::new();
static PLATFORM: Once<Platform> = Once::new();
static MAIN: Once<Main> = Once::new();

/// What runs as the machine's first thread.
pub type Main = fn(at: &mut At<'_, Passive>, boot: &'static BootInfo);

/// The machine as its firmware describes it; `None` until `start` has read that.
pub fn platform() -> Option<&'static Platform> {
    PLATFORM.get()
}

/// What the loader said; `None` before `start`.
pub fn boot_info() -> Option<&'static BootInfo> {
    BOOT.get()
}

/// Brings the machine up and runs `main` as its first thread.
///
/// # Safety
/// Called once, by the boot code with what it was given: the PVH start info's physical address, and where the image
/// was loaded, less where it is linked.
pub unsafe fn start(start_info: u64, physical_base: u64, main: Main) -> ! {
    // SAFETY: interrupts are off since the first instruction.
    unsafe { cpu::set_early_block(&cpu::EARLY) };
    image::set_physical_base(physical_base);
    console::init();
    idt::init_exceptions();
    idt::load();
    // SAFETY: by the contract; nothing has been reused.
    let boot = BOOT.call_once(|| unsafe { BootInfo::copy(start_info) });
    MAIN.call_once(|| main);
    // SAFETY: once, on the boot tables; the loader's data was copied.
    unsafe { memory::init(&boot.memory) };
    // SAFETY: the new tables map the image, this stack in it, and all RAM where the boot tables have it.
    unsafe { asm!("mov cr3, {}", in(reg) memory::root(), options(nostack, preserves_flags)) };
    pic::disable();
    // SAFETY: the loader says that the root pointer is there.
    let platform = match unsafe { Platform::read(boot.rsdp) } {
        Ok(platform) => PLATFORM.call_once(|| platform),
        Err(error) => panic!("{error}"),
    };
    init_apics(boot, platform);
    time::calibrate(platform);
    let cpu = Cpu::new(0, local_apic::id());
    // SAFETY: made for this CPU.
    unsafe { cpu.load_tables() };
    cpu.set_online();
    idt::init_interrupts(local_apic::mode() == Mode::X2Apic);
    smp::start_all(cpu, platform, &boot.memory);
    // SAFETY: the stack is this CPU's own and unused; what is on the boot stack is not needed any more.
    unsafe { asm!("mov rsp, {}", "xor ebp, ebp", "call {}", "ud2", in(reg) cpu.stack, sym enter_core, options(noreturn)) }
}

fn init_apics(boot: &BootInfo, platform: &Platform) {
    let asked = match cmdline::value(boot.cmdline(), "apic") {
        Some("xapic") => Some(Mode::XApic),
        Some("x2apic") => Some(Mode::X2Apic),
        None | Some("auto") => None,
        Some(other) => {
            console::print(format_args!("apic={other}: there are xapic, x2apic and auto; going on with auto\n"));
            None
        }
    };
    if local_apic::choose(asked, platform.local_apic).is_err() {
        panic!("apic=x2apic was asked for, but this CPU has no x2APIC");
    }
    local_apic::init(platform);
    io_apic::init(&platform.io_apics);
}

/// The rest of the way, on the first CPU's own stack.
///
/// # Safety
/// Called by [`start`] alone, at its end.
unsafe extern "sysv64" fn enter_core() -> ! {
    let system = ke::entry::boot(cpu::all().len() as u32);
    let system = Box::leak(system);
    let block = &raw const system.cpus()[0];
    // SAFETY: the first CPU's block, which lives forever; the others wait for `release`.
    unsafe { cpu::set_block(&*block) };
    smp::release(system);
    // SAFETY: the system and this CPU's block are in place, interrupts are off.
    unsafe { ke::entry::spawn_main(Kernel::new(), "main", main) };
    // SAFETY: on the first CPU, on its own stack, after `release`.
    unsafe { smp::run(0) }
}

fn main(at: &mut At<'_, Passive>) {
    let (main, boot) = (MAIN.get(), BOOT.get());
    main.expect("`start` stored it")(at, boot.expect("`start` stored it"));
}
