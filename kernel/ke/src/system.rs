//! All state of the core, in one place.

use crate::{
    barrier::Barrier,
    core_lock::CoreLock,
    interrupt::Registry,
    late_dpc::Life,
    percpu::PerCpu,
    sched::Dispatcher,
    thread::{Thread, ThreadOptions},
    verifier, watchdog,
    work::WorkPool,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::ptr;

/// The state of one machine: the CPUs' blocks, the scheduler, the work pool, the connected interrupts. Made by
/// [`crate::entry::boot`], reached through the token, never freed while the machine exists.
pub struct System {
    cpus: Box<[PerCpu]>,
    idle_threads: Box<[Thread]>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) threads: CoreLock<Vec<Arc<Thread>>>,
    pub(crate) work: WorkPool,
    /// Boxed, because its DPCs know its address and the system is moved before it stays.
    pub(crate) barrier: Box<Barrier>,
    pub(crate) connected: Registry,
    pub(crate) watchdog: watchdog::Settings,
    pub(crate) life: Arc<Life>,
    pub(crate) verifier: verifier::State,
}

impl System {
    pub(crate) fn new(cpus: u32) -> Box<Self> {
        let idle = |_| Thread::new(&ThreadOptions::named("idle"), ptr::null(), None);
        let system = Box::new(System {
            cpus: (0..cpus).map(PerCpu::new).collect(),
            idle_threads: (0..cpus).map(idle).collect(),
            dispatcher: Dispatcher::new(),
            threads: CoreLock::new(Vec::new()),
            work: WorkPool::new(),
            barrier: Box::new(Barrier::new(cpus)),
            connected: Registry::new(),
            watchdog: watchdog::Settings::default(),
            life: Life::new(),
            verifier: verifier::State::new(),
        });
        for cpu in &system.cpus {
            cpu.place();
        }
        system.barrier.place();
        system
    }

    /// The CPUs' blocks, by number.
    pub fn cpus(&self) -> &[PerCpu] {
        &self.cpus
    }

    pub(crate) fn idle_thread(&self, cpu: u32) -> &Thread {
        &self.idle_threads[cpu as usize]
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.life.end();
    }
}
