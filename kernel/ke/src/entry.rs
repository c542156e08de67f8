//! Where a HAL enters the core. See `docs/porting.md` for the whole of a port.
//!
//! Order at boot: [`boot`] once on the first CPU (heap up, interrupts off), which gives the [`System`] that
//! `Hal::system` must return from then on; point each CPU's `gs` (or its like) at its block; then every CPU calls
//! [`run_cpu`] and never comes back. The first CPU's main thread is spawned by [`spawn_main`] before that.
//!
//! An interrupt: the stub saves registers, loads the head of the vector's slot, stores the head's level into the level
//! word (keeping the old one), enables interrupts, calls the head's dispatch routine, disables interrupts, signals
//! end of interrupt, calls [`leave_interrupt`] if the pending word is not 0, restores the level word and returns.
//! [`interrupt`] is that path for a HAL without assembly.

use crate::{
    at::At,
    bugcheck::BugCheckKind,
    dispatch::Head,
    drain,
    hal::{self, HalRef, HalWord},
    level::Passive,
    sched,
    system::System,
    thread::{self, Thread, ThreadOptions},
    ticket::{self, TicketWord},
    verifier::Site,
};
use alloc::boxed::Box;
use core::sync::atomic::Ordering::Relaxed;

pub use crate::verifier::{HeldText, held_text};

/// All state of the core for a machine of `cpus` CPUs. The HAL keeps it in place for as long as the machine exists.
pub fn boot(cpus: u32) -> Box<System> {
    System::new(cpus)
}

/// Makes the machine's first thread: `main` at PASSIVE, with `name`. Called once, before [`run_cpu`].
///
/// # Safety
/// `hal` answers for the system from [`boot`], and this is its first CPU with interrupts off.
pub unsafe fn spawn_main(
    hal: HalRef<'_>,
    name: &'static str,
    main: impl for<'c> FnOnce(&mut At<'c, Passive>) + Send + 'static,
) {
    // SAFETY: nothing runs on this CPU yet, so no other token exists, and nobody can ask whether the machine is there; it is until
    // its system goes.
    let mut at = unsafe {
        hal::system(hal).life.begin(hal);
        At::<Passive>::mint(hal)
    };
    let spawned = thread::spawn(&mut at, ThreadOptions::named(name), move |at| {
        if let Err(error) = hal::system(at.hal).work.start(at) {
            at.hal.bug_check(BugCheckKind::OutOfMemory, format_args!("{error}"));
        }
        main(at);
    });
    if let Err(error) = spawned {
        hal.bug_check(BugCheckKind::OutOfMemory, format_args!("{error}"));
    }
}

/// Turns the boot context of this CPU into its idle thread; comes back only when a simulated machine has died.
///
/// # Safety
/// Called once on each CPU, on a stack that stays, interrupts off, the CPU's block in place.
pub unsafe fn run_cpu(hal: HalRef<'_>) {
    // SAFETY: by the contract this CPU runs nothing else.
    unsafe { sched::idle(hal) }
}

/// First code of a new thread, on its own stack, called by what `Hal::create_context` prepared. Does not return on
/// hardware; on the simulated machine it returns when the machine has died.
///
/// # Safety
/// `thread` is the argument that `create_context` was given, and this is its first switch.
pub unsafe fn thread_start(hal: HalRef<'_>, thread: *const Thread) {
    // SAFETY: a thread outlives its last switch.
    thread::start(hal, unsafe { &*thread });
}

/// Drains what is pending before an interrupt returns to level `old`. Interrupts are off at the call and at the return.
///
/// # Safety
/// Called by the interrupt path alone, after end of interrupt, as described above.
#[inline(always)]
pub unsafe fn leave_interrupt(hal: HalRef<'_>, old: u8) {
    drain::on_interrupt_exit(hal, old);
}

/// The whole path of one interrupt, for a HAL without assembly. Interrupts are off at the call and at the return.
///
/// # Safety
/// The CPU's IRQL is below the class of `vector`, and the thread of execution stops here until this returns.
pub unsafe fn interrupt(hal: HalRef<'_>, vector: u8, end_of_interrupt: impl FnOnce()) {
    let head: *const Head = hal::percpu(hal).vector(vector).load(Relaxed);
    let old = hal.level();
    // SAFETY: a slot always points at a live head: connecting stores it, the barrier precedes taking it out.
    unsafe {
        hal.set_level((*head).level());
        hal.enable_interrupts();
        (*head).dispatch_routine()(head, hal::to_word(&hal));
    }
    hal.disable_interrupts();
    end_of_interrupt();
    if hal.pending() != 0 {
        drain::on_interrupt_exit(hal, old);
    }
    hal.set_level(old);
}

/// Waits until the spin lock at `word` serves `ticket`, and lets the verifier see it.
///
/// # Safety
/// Called with the arguments of [`hal::Hal::lock_slowly`] alone.
pub unsafe fn lock_slowly(hal: HalRef<'_>, word: *const (), ticket: u32, site: *const ()) {
    // SAFETY: by the contract: the core calls that with a living lock's word.
    let word = unsafe { &*word.cast::<TicketWord>() };
    // SAFETY: by the contract: the core calls that with a site's word.
    word.lock_slowly(hal, ticket, unsafe { Site::from_word(site) });
}

/// The turn that the spin lock whose word is at address `word` serves, for [`hal::Hal::turn`].
///
/// # Safety
/// `word` is the argument of that, and what was memory of the kernel's then can still be read.
pub unsafe fn lock_turn(word: usize) -> u64 {
    // SAFETY: by the contract.
    unsafe { ticket::turn_at(word) }
}

/// The name of the object at a vector's head, for a bug check that found `head` on the stack.
///
/// # Safety
/// `head` is a value that an entry stub took from a vector's slot and that is still in service.
pub unsafe fn head_name(head: *const Head) -> &'static str {
    // SAFETY: by the contract.
    unsafe { (*head).name() }
}

/// What a CPU was doing, for a bug check.
#[derive(Debug, Clone, Copy)]
pub struct Running {
    /// The thread that ran, or was interrupted.
    pub thread: &'static str,
    /// The DPC that ran, or was interrupted.
    pub dpc: Option<&'static str>,
}

/// What this CPU was doing. At DISPATCH or above, or with interrupts off.
pub fn running(hal: HalRef<'_>) -> Running {
    // SAFETY: null until the CPU has its idle thread, else the running thread.
    let thread = unsafe { hal.current_thread().as_ref() };
    Running { thread: thread.map_or("boot", Thread::name), dpc: hal::percpu(hal).dpcs.running_name() }
}

const _: () = assert!(size_of::<HalWord>() == size_of::<usize>());
