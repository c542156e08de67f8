//! The end of the machine under QEMU: `isa-debug-exit` at port 0xf4, whose status is `(code << 1) | 1`.

use x86_64::instructions::{hlt, interrupts, port::Port};

/// How the kernel ended, for whoever started QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ExitCode {
    /// All went well: QEMU exits with 33.
    Ok = 0x10,
    /// A command or a test failed, the kernel did not: 35.
    Failed = 0x11,
    /// A panic in a thread: 65.
    Panic = 0x20,
    /// A processor exception: 67.
    Fault = 0x21,
    /// A stack overflow: 69.
    StackOverflow = 0x22,
    /// A panic in an ISR: 71.
    PanicInIsr = 0x23,
    /// A panic in a DPC: 73.
    PanicInDpc = 0x24,
    /// Another bug check: 75.
    BugCheck = 0x25,
}

const PORT: u16 = 0xf4;

/// Ends QEMU, or, without the device, halts this CPU for good.
pub fn exit(code: ExitCode) -> ! {
    // SAFETY: the port is the debug exit's, or nobody's.
    unsafe { Port::<u32>::new(PORT).write(code as u32) };
    halt_forever()
}

/// This CPU does nothing any more.
pub fn halt_forever() -> ! {
    loop {
        interrupts::disable();
        hlt();
    }
}
