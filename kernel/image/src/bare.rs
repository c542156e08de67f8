//! What makes the image a kernel: the one machine, the allocator, the panic handler, and where the boot code goes.

use core::panic::PanicInfo;
use hal_x86_64::{X86Hal, bug_check, heap::KernelHeap, start};

static MACHINE: X86Hal = X86Hal;
// SAFETY: the one HAL of the image, exported once.
ke::export_hal!(unsafe MACHINE: X86Hal);

#[global_allocator]
static HEAP: KernelHeap = KernelHeap;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    bug_check::panic(info)
}

/// Called by the boot code of `hal-x86_64`, once.
// SAFETY: no other symbol of the image has this name.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_entry(start_info: u64, physical_base: u64) -> ! {
    // SAFETY: the boot code passes what the loader gave it.
    unsafe { start::start(start_info, physical_base, crate::main_thread::main) }
}
