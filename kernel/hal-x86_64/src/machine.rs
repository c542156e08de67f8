//! The machine as the core wants it: [`ke::hal::Hal`] in one place, each method a line.

use crate::{
    bug_check, console, context, cpu, icr::Command, interrupt_entry, layout::PAGE, local_apic, lock_entry, memory, smp, time,
};
use core::{fmt::Arguments, ptr};
use ke::{
    Thread,
    bugcheck::BugCheckKind,
    hal::{Context, DmaBlock, Hal, MsiMessage},
    percpu::{DISPATCH_VECTOR, PerCpu},
    system::System,
};
use x86_64::instructions::port::Port;

/// The x86_64 PC: the image exports it with [`ke::export_hal`].
pub struct X86Hal;

macro_rules! registers {
    ($($read:ident $write:ident $type:ty)*) => {$(
        #[inline(always)]
        fn $read(&self, address: usize) -> $type {
            // SAFETY: by the contract of `Hal` the address is within what `map_mmio` mapped.
            unsafe { ptr::with_exposed_provenance::<$type>(address).read_volatile() }
        }
        #[inline(always)]
        fn $write(&self, address: usize, value: $type) {
            // SAFETY: as above.
            unsafe { ptr::with_exposed_provenance_mut::<$type>(address).write_volatile(value) };
        }
    )*};
}

macro_rules! ports {
    ($($read:ident $write:ident $type:ty)*) => {$(
        #[inline(always)]
        fn $read(&self, port: u16) -> $type {
            // SAFETY: by the contract of `Hal` the port is one that a bus gave to a driver.
            unsafe { Port::<$type>::new(port).read() }
        }
        #[inline(always)]
        fn $write(&self, port: u16, value: $type) {
            // SAFETY: as above.
            unsafe { Port::<$type>::new(port).write(value) };
        }
    )*};
}

// SAFETY: `percpu` is what `gs` points at, this CPU's block; contexts switch as described; the stubs raise the level
// word to the class of what is in service and the local APIC holds off the rest; CR8 does for explicit raises.
unsafe impl Hal for X86Hal {
    #[inline(always)]
    fn level(&self) -> u8 {
        cpu::level_word() as u8
    }
    #[inline(always)]
    fn set_level(&self, level: u8) {
        cpu::set_level(level);
    }
    #[inline(always)]
    fn task_priority(&self) -> u8 {
        cpu::task_priority()
    }
    #[inline]
    fn interrupted_level(&self) -> u8 {
        interrupt_entry::interrupted_level()
    }
    #[inline(always)]
    fn set_task_priority(&self, class: u8) {
        cpu::set_task_priority(class);
    }
    #[inline(always)]
    fn pending(&self) -> u32 {
        cpu::pending_word()
    }
    #[inline(always)]
    fn set_pending(&self, bits: u32) {
        cpu::set_pending(bits);
    }
    #[inline(always)]
    fn clear_pending(&self, bits: u32) {
        cpu::clear_pending(bits);
    }
    #[inline(always)]
    fn disable_interrupts(&self) {
        cpu::disable_interrupts();
    }
    #[inline(always)]
    fn enable_interrupts(&self) {
        cpu::enable_interrupts();
    }
    #[inline(always)]
    fn cpu(&self) -> u32 {
        cpu::number()
    }
    fn cpu_count(&self) -> u32 {
        cpu::all().len() as u32
    }
    #[inline(always)]
    fn percpu(&self) -> *const PerCpu {
        ptr::with_exposed_provenance(cpu::block() as usize)
    }
    #[inline(always)]
    fn current_thread(&self) -> *const Thread {
        ptr::with_exposed_provenance(cpu::current() as usize)
    }
    #[inline(always)]
    fn system(&self) -> *const System {
        smp::system()
    }
    fn send_dispatch_ipi(&self, cpu: u32) {
        self.send_vector(cpu, DISPATCH_VECTOR);
    }
    fn send_vector(&self, cpu: u32, vector: u8) {
        local_apic::send(Command::fixed(vector), apic_id(cpu));
    }
    fn create_context(&self, context: &Context, thread: *const Thread) -> bool {
        context::create(context, thread)
    }
    fn destroy_context(&self, context: &Context) {
        context::destroy(context);
    }
    #[inline(always)]
    fn switch(&self, from: &Context, to: &Context) {
        // SAFETY: by the contract of `Hal` the dispatcher lock is held and `to` does not run.
        unsafe { context::switch(from, to) };
    }
    #[inline(always)]
    fn halt(&self) {
        cpu::enable_interrupts_and_halt();
    }
    #[inline(always)]
    fn now(&self) -> u64 {
        time::now()
    }
    fn arm_clock(&self, deadline: u64) {
        time::arm(deadline);
    }
    registers! {
        mmio_read8 mmio_write8 u8
        mmio_read16 mmio_write16 u16
        mmio_read32 mmio_write32 u32
        mmio_read64 mmio_write64 u64
    }
    ports! {
        port_read8 port_write8 u8
        port_read16 port_write16 u16
        port_read32 port_write32 u32
    }
    fn map_mmio(&self, physical: u64, len: usize) -> usize {
        memory::map_mmio(physical, len).map_or(0, |address| address.expose_provenance())
    }
    fn dma_alloc(&self, len: usize, limit: u64) -> Option<DmaBlock> {
        let whole = len.checked_next_multiple_of(PAGE as usize)?.max(PAGE as usize);
        let physical = memory::allocate_frames(whole / PAGE as usize, limit)?;
        let memory = memory::physical_to_virtual(physical);
        // SAFETY: RAM just allocated.
        unsafe { memory.write_bytes(0, whole) };
        Some(DmaBlock { address: memory.expose_provenance(), physical, len: whole })
    }
    fn dma_free(&self, block: DmaBlock) {
        memory::free_frames(block.physical..block.physical + block.len as u64);
    }
    fn dma_read(&self, from: usize, into: &mut [u8]) {
        let from = ptr::with_exposed_provenance::<u8>(from);
        for (n, byte) in into.iter_mut().enumerate() {
            // SAFETY: by the contract of `Hal` within a block of `dma_alloc`; volatile, because a device writes it.
            *byte = unsafe { from.add(n).read_volatile() };
        }
    }
    fn dma_write(&self, to: usize, from: &[u8]) {
        let to = ptr::with_exposed_provenance_mut::<u8>(to);
        for (n, &byte) in from.iter().enumerate() {
            // SAFETY: as in `dma_read`.
            unsafe { to.add(n).write_volatile(byte) };
        }
    }
    fn msi_message(&self, cpu: u32, vector: u8) -> MsiMessage {
        let destination = u8::try_from(apic_id(cpu)).expect("a message reaches only CPUs with 8-bit APIC ids");
        MsiMessage { address: 0xfee0_0000 | u64::from(destination) << 12, data: vector.into() }
    }
    #[inline(always)]
    fn lock_slowly(&self, word: *const (), ticket: u32, site: *const ()) {
        lock_entry::call(word, ticket, site);
    }
    fn turn(&self, word: usize) -> u64 {
        // SAFETY: heap, stacks and statics stay mapped for good, and locks are in nothing else.
        unsafe { ke::entry::lock_turn(word) }
    }
    fn print(&self, text: Arguments<'_>) {
        console::print(text);
    }
    fn bug_check(&self, kind: BugCheckKind, what: Arguments<'_>) -> ! {
        bug_check::here(kind, what)
    }
}

fn apic_id(cpu: u32) -> u32 {
    cpu::all()[cpu as usize].apic_id
}
