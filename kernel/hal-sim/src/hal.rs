//! What the machine does for the core: `ke::hal::Hal`, called through [`crate::port`].
//!
//! Every method is an exploration point of the fine granularity unless what it does commutes with everything: constants,
//! and what follows the thread. Reads of this CPU's own words are stops for its interrupts alone.

use crate::{
    bus,
    fault::FaultKind,
    machine::{CpuWait, Machine},
    schedule::Reach,
    strand::is_core,
};
use ke::{
    bugcheck::BugCheckKind,
    hal::{Context, DmaBlock, Hal, MsiMessage, Point},
    percpu::{DISPATCH_VECTOR, PerCpu},
    system::System,
    thread::Thread,
};
use std::{fmt, panic::Location, ptr, sync::atomic::Ordering::Relaxed};

// SAFETY: `switch` continues the fiber that a context names, on which nothing else runs (checked); `percpu` is the block of
// the running CPU; `deliver` asks IF, CR8 and the classes in service before it delivers.
unsafe impl Hal for Machine {
    fn level(&self) -> u8 {
        self.stop_fine(Reach::Local);
        self.percpu().level_word().load(Relaxed) as u8
    }

    fn set_level(&self, level: u8) {
        self.stop_fine(Reach::Shared);
        if !self.dead.get() {
            self.percpu().level_word().store(level.into(), Relaxed);
        }
    }

    fn task_priority(&self) -> u8 {
        self.stop_fine(Reach::Local);
        self.cpu().task_priority.get()
    }

    fn interrupted_level(&self) -> u8 {
        self.cpu().interrupted.get()
    }

    fn set_task_priority(&self, class: u8) {
        self.stop_fine(Reach::Shared);
        if !self.dead.get() {
            self.cpu().task_priority.set(class);
            self.deliver_after_lowering();
        }
    }

    fn pending(&self) -> u32 {
        self.stop_fine(Reach::Local);
        if self.dead.get() { 0 } else { self.percpu().pending_word().load(Relaxed) }
    }

    fn set_pending(&self, bits: u32) {
        self.stop_fine(Reach::Shared);
        self.percpu().pending_word().fetch_or(bits, Relaxed);
    }

    fn clear_pending(&self, bits: u32) {
        self.stop_fine(Reach::Shared);
        self.percpu().pending_word().fetch_and(!bits, Relaxed);
    }

    fn disable_interrupts(&self) {
        self.stop_fine(Reach::Shared);
        self.cpu().interrupts_on.set(false);
    }

    fn enable_interrupts(&self) {
        self.stop_fine(Reach::Shared);
        self.cpu().interrupts_on.set(true);
        self.deliver_after_lowering();
    }

    fn cpu(&self) -> u32 {
        self.stop_fine(Reach::Local);
        self.running.get() as u32
    }

    fn cpu_count(&self) -> u32 {
        self.cpus.len() as u32
    }

    fn percpu(&self) -> *const PerCpu {
        ptr::from_ref(Machine::percpu(self))
    }

    fn current_thread(&self) -> *const Thread {
        Machine::percpu(self).current_word().load(Relaxed)
    }

    fn system(&self) -> *const System {
        ptr::from_ref(Machine::system(self))
    }

    fn send_dispatch_ipi(&self, cpu: u32) {
        self.send_vector(cpu, DISPATCH_VECTOR);
    }

    fn send_vector(&self, cpu: u32, vector: u8) {
        self.stop_fine(Reach::Shared);
        if self.dead.get() {
            return;
        }
        if cpu as usize >= self.cpus.len() {
            return self.fail_here(FaultKind::Hal, format!("an interrupt for CPU {cpu}, which does not exist"));
        }
        self.note(|_| format!("interrupt {vector:#04x} to CPU {cpu}"));
        self.request(cpu as usize, vector, None);
    }

    fn create_context(&self, context: &Context, thread: *const Thread) -> bool {
        self.stop_fine(Reach::Shared);
        if self.dead.get() || self.allocation_fails("a thread's stack") {
            return false;
        }
        let this = ptr::from_ref(self);
        let body = move || {
            // SAFETY: the machine outlives its fibers; `thread` is what the core gave for this context.
            unsafe { ke::entry::thread_start((*this).port(), thread) };
        };
        let fiber = self.create_fiber(thread, Box::new(body));
        context.stack.store(fiber + 1, Relaxed);
        context.stack_pointer.store(fiber + 1, Relaxed);
        true
    }

    fn destroy_context(&self, context: &Context) {
        self.stop_fine(Reach::Shared);
        let fiber = context.stack.swap(0, Relaxed);
        if fiber == 0 || self.dead.get() {
            return;
        }
        if self.cpus.iter().any(|cpu| cpu.fiber.get() == fiber - 1) {
            return self.fail_here(FaultKind::Hal, "the stack of a running thread is freed".to_owned());
        }
        self.discard(fiber - 1);
    }

    fn switch(&self, from: &Context, to: &Context) {
        self.stop_fine(Reach::Shared);
        if self.dead.get() {
            self.abandon_for_good();
        }
        self.check_switch();
        let (me, next) = (self.cpu().fiber.get(), to.stack_pointer.swap(0, Relaxed));
        if next == 0 || self.cpus.iter().any(|cpu| cpu.fiber.get() == next - 1) {
            return self
                .fail_here(FaultKind::Hal, "a switch to a context that is running or was never saved".to_owned());
        }
        from.stack_pointer.store(me + 1, Relaxed);
        self.cpu().fiber.set(next - 1);
        self.note(|_| "-- runs here from now on".to_owned());
        self.pass(me);
    }

    fn halt(&self) {
        if self.dead.get() {
            return;
        }
        if self.cpu().task_priority.get() != 0 {
            let text = format!("CPU {} idles with CR8 {}", self.running.get(), self.cpu().task_priority.get());
            return self.fail_here(FaultKind::IrqlImbalance, text);
        }
        self.cpu().wait.set(CpuWait::Halted);
        self.cpu().interrupts_on.set(true);
        let fiber = self.cpu().fiber.get();
        self.strands.borrow_mut()[fiber].halted = true;
        if self.quiet.get() {
            self.pass(fiber)
        } else {
            self.block()
        }
        if !self.dead.get() {
            self.strands.borrow_mut()[fiber].halted = false;
            self.cpu().wait.set(CpuWait::Nothing);
            self.deliver();
        }
    }

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn arm_clock(&self, deadline: u64) {
        self.stop_fine(Reach::Shared);
        self.cpu().clock.set(deadline);
    }

    fn mmio_read8(&self, address: usize) -> u8 {
        self.mmio_read(address, 1) as u8
    }

    fn mmio_read16(&self, address: usize) -> u16 {
        self.mmio_read(address, 2) as u16
    }

    fn mmio_read32(&self, address: usize) -> u32 {
        self.mmio_read(address, 4) as u32
    }

    fn mmio_read64(&self, address: usize) -> u64 {
        self.mmio_read(address, 8)
    }

    fn mmio_write8(&self, address: usize, value: u8) {
        self.mmio_write(address, 1, value.into());
    }

    fn mmio_write16(&self, address: usize, value: u16) {
        self.mmio_write(address, 2, value.into());
    }

    fn mmio_write32(&self, address: usize, value: u32) {
        self.mmio_write(address, 4, value.into());
    }

    fn mmio_write64(&self, address: usize, value: u64) {
        self.mmio_write(address, 8, value);
    }

    fn port_read8(&self, port: u16) -> u8 {
        self.port_read(port, 1) as u8
    }

    fn port_read16(&self, port: u16) -> u16 {
        self.port_read(port, 2) as u16
    }

    fn port_read32(&self, port: u16) -> u32 {
        self.port_read(port, 4) as u32
    }

    fn port_write8(&self, port: u16, value: u8) {
        self.port_write(port, 1, value.into());
    }

    fn port_write16(&self, port: u16, value: u16) {
        self.port_write(port, 2, value.into());
    }

    fn port_write32(&self, port: u16, value: u32) {
        self.port_write(port, 4, value.into());
    }

    fn map_mmio(&self, physical: u64, _len: usize) -> usize {
        bus::map(physical)
    }

    fn dma_alloc(&self, len: usize, limit: u64) -> Option<DmaBlock> {
        self.stop_fine(Reach::Shared);
        if self.dead.get() || self.allocation_fails("DMA memory") {
            return None;
        }
        self.memory.borrow_mut().allocate(len, limit)
    }

    fn dma_free(&self, block: DmaBlock) {
        self.stop_fine(Reach::Shared);
        if !self.dead.get() && !self.memory.borrow_mut().free(block) {
            self.fail_here(FaultKind::Hal, format!("DMA memory at {:#x} is freed twice", block.physical));
        }
    }

    fn dma_read(&self, from: usize, into: &mut [u8]) {
        self.dma(from, into.len(), |memory| into.copy_from_slice(memory));
    }

    fn dma_write(&self, to: usize, from: &[u8]) {
        self.dma(to, from.len(), |memory| memory.copy_from_slice(from));
    }

    fn msi_message(&self, cpu: u32, vector: u8) -> MsiMessage {
        bus::encode_message(cpu, vector)
    }

    fn lock_slowly(&self, word: *const (), ticket: u32, site: *const ()) {
        // SAFETY: the core's own arguments.
        unsafe { ke::entry::lock_slowly(self.port(), word, ticket, site) };
    }

    fn turn(&self, word: usize) -> u64 {
        // By the releases that were seen since somebody first asked: the word itself may be gone.
        *self.releases.borrow_mut().entry(word).or_default()
    }

    fn print(&self, text: fmt::Arguments<'_>) {
        self.note(|_| format!("prints: {text}"));
    }

    fn bug_check(&self, kind: BugCheckKind, what: fmt::Arguments<'_>) -> ! {
        if !self.dead.get() {
            let who = self.who(self.cpu().fiber.get());
            let (cpu, irql) = (self.running.get(), self.irql());
            self.fail(FaultKind::BugCheck, format!("{} in {who} on CPU {cpu} at IRQL {irql}: {what}", kind.name()));
        }
        self.abandon_for_good()
    }

    fn spin(&self, word: usize) {
        if self.dead.get() {
            self.abandon_for_good();
        }
        if self.quiet.get() {
            return self.fail_here(FaultKind::Hal, "a lock is contended while only one CPU is up".to_owned());
        }
        self.note(|recorder| format!("spins on lock #{}", recorder.object(word)));
        self.cpu().wait.set(CpuWait::Spinning(word));
        self.block();
        self.cpu().wait.set(CpuWait::Nothing);
        self.deliver();
    }

    fn spin_wake(&self, word: usize) {
        if let Some(count) = self.releases.borrow_mut().get_mut(&word) {
            *count += 1;
        }
        for cpu in &self.cpus {
            if cpu.wait.get() == CpuWait::Spinning(word) {
                cpu.wait.set(CpuWait::Nothing);
            }
        }
        self.stop_fine(Reach::Shared);
    }

    fn point(&self, what: Point, object: usize, location: &'static Location<'static>) {
        if self.note_callback(what, object) {
            return;
        }
        let access = matches!(what, Point::MmioRead | Point::MmioWrite | Point::PortRead | Point::PortWrite);
        if !self.quiet.get() && !self.dead.get() {
            let fiber = self.cpu().fiber.get();
            let strand = &mut self.strands.borrow_mut()[fiber];
            strand.accessor = access.then_some(location);
            // The core's own waits and locks say less than whoever called for them.
            if !is_core(location) {
                strand.last = Some((what, location));
            }
        }
        self.stop(Reach::Shared);
        // An access is recorded with its register and value.
        if !access && !self.dead.get() && self.recorder.borrow().is_on() {
            let text = format!("{what:?} #{}", self.recorder.borrow_mut().object(object));
            self.note_at(text, Some(location));
        }
    }

    fn dead(&self) -> bool {
        self.dead.get()
    }
}

impl Machine {
    /// What CR8 or IF held off comes at once.
    fn deliver_after_lowering(&self) {
        if !self.quiet.get() {
            self.deliver();
        }
    }

    /// Surprise removal of the device in `slot`.
    pub(crate) fn remove(&self, slot: usize) {
        self.note(|_| format!("slot {} is removed by surprise", slot + 1));
        // What it has sent is past its link, and nothing pushes it any more.
        self.flush_messages(slot);
        self.bus.borrow_mut().unplug(slot);
        self.update_lines(slot);
    }

    fn dma(&self, address: usize, len: usize, copy: impl FnOnce(&mut [u8])) {
        self.stop_fine(Reach::Shared);
        if self.dead.get() {
            return;
        }
        let fault = match self.memory.borrow_mut().at_virtual(address, len) {
            Ok(memory) => return copy(memory),
            Err(fault) => fault,
        };
        self.fail_here(FaultKind::Hal, format!("the driver reaches {fault}"));
    }

    /// Whether this allocation is one that the schedule lets fail.
    fn allocation_fails(&self, what: &str) -> bool {
        let fails = self.config.failing_allocations && self.choose_outcome();
        if fails {
            self.note(|_| format!("no memory for {what}"));
        }
        fails
    }
}
