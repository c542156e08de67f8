//! The x86_64 PC under Dirql's core.
//!
//! The image's boot code enters `start::start`, which brings the machine up: memory, ACPI tables, interrupt
//! controllers, clock, the other CPUs; then the core runs on `X86Hal`, and the image's `main` is its first thread.
//!
//! What is data and arithmetic (frames, page tables, size classes, the memory map, command encodings) is compiled and
//! tested on the host too; what touches the machine exists on the bare target alone.

#![no_std]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod aml_limits;
pub mod aml_name;
pub mod cmdline;
pub mod frames;
pub mod held;
pub mod icr;
pub mod isa;
pub mod layout;
pub mod memory_map;
pub mod notify;
pub mod page_table;
pub mod prt;
pub mod resource;
pub mod scale;
pub mod size_class;

macro_rules! bare_metal {
    ($($visibility:vis mod $name:ident;)*) => {$(
        #[cfg(target_os = "none")]
        $visibility mod $name;
    )*};
}

bare_metal! {
    pub mod acpi;
    pub mod acpi_bus;
    pub mod aml;
    pub mod boot;
    pub mod bug_check;
    pub mod console;
    pub mod debug_exit;
    pub mod heap;
    pub mod io_apic;
    pub mod local_apic;
    pub mod memory;
    pub mod pci_lines;
    pub mod stacks;
    pub mod start;
    pub mod time;
    mod acpi_handler;
    mod context;
    mod cpu;
    mod exception;
    mod idt;
    mod image;
    mod interrupt_entry;
    mod lock;
    mod lock_entry;
    mod machine;
    mod pci_path;
    mod pic;
    mod smp;
}

#[cfg(target_os = "none")]
pub use machine::X86Hal;
