//! The machine under the kernel core, as some forty small methods.
//!
//! A port implements [`Hal`] and enters the core at the functions of [`crate::entry`]. On the host a token carries
//! `&dyn Hal`, so many simulated machines live in one process. On the bare target [`export_hal!`](crate::export_hal)
//! turns the methods of the one HAL into symbols that the zero-sized `Kernel` calls, and fat LTO inlines them to
//! the bare instruction. Both are the type [`HalRef`]; everything above is common text.
//!
//! **Invariant:** what must be one instruction at PASSIVE (level word, pending word, CPU number, current thread) is a
//! method of its own, never "get the per-CPU pointer, then use it": a thread may migrate in between.

use crate::{percpu::PerCpu, system::System, thread::Thread};
use core::{panic::Location, sync::atomic::AtomicUsize};

/// Calls `$emit!` with the signature of every method that a bare-metal HAL exports. The one list of them.
#[doc(hidden)]
#[macro_export]
macro_rules! hal_methods {
    (($($emit:tt)*) $($context:tt)*) => { $($emit)*! { ($($context)*)
        /// The level word of this CPU: its IRQL, but for an explicit raise above DISPATCH. One instruction.
        fn level() -> u8;
        /// Stores the level word of this CPU: one instruction, and a compiler barrier on both sides.
        fn set_level(level: u8) -> ();
        /// The task priority of this CPU (CR8): the class up to which device interrupts are held off, 0 for none.
        fn task_priority() -> u8;
        /// Writes the task priority (CR8); a compiler barrier on both sides.
        fn set_task_priority(class: u8) -> ();
        /// The level word as it was when the innermost interrupt in service on this CPU was taken. Called by the clock's
        /// dispatch routine alone.
        fn interrupted_level() -> u8;
        /// The pending word of this CPU: see [`crate::percpu::pending`]. One instruction.
        fn pending() -> u32;
        /// ORs into the pending word of this CPU: one instruction, safe against this CPU's interrupts.
        fn set_pending(bits: u32) -> ();
        /// Clears bits of the pending word of this CPU: one instruction.
        fn clear_pending(bits: u32) -> ();
        /// `cli`; a compiler barrier.
        fn disable_interrupts() -> ();
        /// `sti`; a compiler barrier.
        fn enable_interrupts() -> ();
        /// The number of this CPU, from 0 without gaps. At PASSIVE stale as soon as read.
        fn cpu() -> u32;
        /// The number of running CPUs.
        fn cpu_count() -> u32;
        /// This CPU's block. The caller is at DISPATCH or above, or has interrupts off.
        fn percpu() -> *const $crate::percpu::PerCpu;
        /// The thread that runs now: the value follows the thread, so it is right at any level. One instruction.
        fn current_thread() -> *const $crate::thread::Thread;
        /// All state of the core: the same address for the life of the machine.
        fn system() -> *const $crate::system::System;
        /// Requests the vector [`crate::percpu::DISPATCH_VECTOR`] on another CPU.
        fn send_dispatch_ipi(cpu: u32) -> ();
        /// Requests device vector `vector` on `cpu` (this one included), to replay a latched interrupt.
        fn send_vector(cpu: u32, vector: u8) -> ();
        /// A stack with a guard page, and in `context` what makes the first switch to it call
        /// [`crate::entry::thread_start`] with `thread`. `false`: no memory. PASSIVE.
        fn create_context(context: &$crate::hal::Context, thread: *const $crate::thread::Thread) -> bool;
        /// Frees the stack of a context that will never run again. PASSIVE.
        fn destroy_context(context: &$crate::hal::Context) -> ();
        /// Saves the running context in `from` and continues `to`. Called at DISPATCH, interrupts on or off, with the
        /// dispatcher lock held; returns when somebody switches back to `from`, perhaps on another CPU.
        fn switch(from: &$crate::hal::Context, to: &$crate::hal::Context) -> ();
        /// `sti; hlt` as one: interrupts are off at the call and on at the return. The CPU is idle meanwhile.
        fn halt() -> ();
        /// Time since boot in nanoseconds.
        fn now() -> u64;
        /// Arms this CPU's one-shot clock for time `deadline` (nanoseconds since boot; `u64::MAX` disarms). At or
        /// after it [`crate::percpu::CLOCK_VECTOR`] is delivered here. DISPATCH or above.
        fn arm_clock(deadline: u64) -> ();
        /// A 1-byte register read. Any IRQL; likewise the other seven. The address came from `map_mmio`.
        fn mmio_read8(address: usize) -> u8;
        /// A 2-byte register read.
        fn mmio_read16(address: usize) -> u16;
        /// A 4-byte register read.
        fn mmio_read32(address: usize) -> u32;
        /// An 8-byte register read.
        fn mmio_read64(address: usize) -> u64;
        /// A 1-byte register write.
        fn mmio_write8(address: usize, value: u8) -> ();
        /// A 2-byte register write.
        fn mmio_write16(address: usize, value: u16) -> ();
        /// A 4-byte register write.
        fn mmio_write32(address: usize, value: u32) -> ();
        /// An 8-byte register write.
        fn mmio_write64(address: usize, value: u64) -> ();
        /// Maps `len` bytes of device memory at `physical`, uncached, for good; 0 when there is no address space or
        /// memory left. The same range mapped again gives the same address. PASSIVE.
        fn map_mmio(physical: u64, len: usize) -> usize;
        /// A 1-byte read of an I/O port that a [`crate::Ports`] covers. Any IRQL; likewise the other five.
        fn port_read8(port: u16) -> u8;
        /// A 2-byte port read.
        fn port_read16(port: u16) -> u16;
        /// A 4-byte port read.
        fn port_read32(port: u16) -> u32;
        /// A 1-byte port write.
        fn port_write8(port: u16, value: u8) -> ();
        /// A 2-byte port write.
        fn port_write16(port: u16, value: u16) -> ();
        /// A 4-byte port write.
        fn port_write32(port: u16, value: u32) -> ();
        /// `len` zeroed bytes of physically contiguous memory that ends at or below `limit`, page aligned. PASSIVE.
        fn dma_alloc(len: usize, limit: u64) -> Option<$crate::hal::DmaBlock>;
        /// Gives back a block of `dma_alloc`. PASSIVE.
        fn dma_free(block: $crate::hal::DmaBlock) -> ();
        /// Volatile copy out of DMA memory at the virtual address `from`. Any IRQL.
        fn dma_read(from: usize, into: &mut [u8]) -> ();
        /// Volatile copy into DMA memory at the virtual address `to`. Any IRQL.
        fn dma_write(to: usize, from: &[u8]) -> ();
        /// The address and data of a message that raises `vector` on `cpu`.
        fn msi_message(cpu: u32, vector: u8) -> $crate::hal::MsiMessage;
        /// Calls [`$crate::entry::lock_slowly`] with these: a spin lock's holder comes to wait, or to be verified. It is called on
        /// paths whose instructions count: at its best it takes none of their registers.
        fn lock_slowly(word: *const (), ticket: u32, site: *const ()) -> ();
        /// What changes when the spin lock whose word is at address `word` is released: [`$crate::entry::lock_turn`], where memory that was
        /// freed can still be read. The lock may be gone. DISPATCH or above.
        fn turn(word: usize) -> u64;
        /// Writes to the console. Any IRQL.
        fn print(text: ::core::fmt::Arguments<'_>) -> ();
        /// Reports what went wrong and stops the machine.
        fn bug_check(kind: $crate::bugcheck::BugCheckKind, what: ::core::fmt::Arguments<'_>) -> !;
    }};
}

macro_rules! define_trait {
    (() $($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)*) => {
        /// The machine under the core. See the [module](self) for how it is reached and `docs/porting.md` for how to
        /// write one.
        ///
        /// # Safety
        /// The core's soundness rests on what each method promises: that contexts switch as described, that
        /// `percpu` is this CPU's block, that a vector is delivered only while its class is above the CPU's IRQL.
        pub unsafe trait Hal {
            $($(#[$meta])* fn $name(&self, $($arg: $type),*) -> $ret;)*

            /// Called once a spin lock's word has not changed hands: `spin_loop` on hardware; the simulator blocks
            /// this CPU until another one acts on the word at address `word`.
            fn spin(&self, word: usize) {
                let _ = word;
                core::hint::spin_loop();
            }
            /// The word at address `word` was released.
            fn spin_wake(&self, word: usize) {
                let _ = word;
            }
            /// The core is about to do `what` to the object at address `object`, for the caller at `location`: an
            /// exploration point of the simulator, nothing on hardware.
            fn point(&self, what: Point, object: usize, location: &'static Location<'static>) {
                let _ = (what, object, location);
            }
            /// After a bug check of a simulated machine: guards do nothing when dropped, loops give up.
            fn dead(&self) -> bool {
                false
            }
        }
    };
}
hal_methods!((define_trait));

/// What a thread or driver is about to do, as an exploration point of the simulated machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Point {
    MmioRead,
    MmioWrite,
    PortRead,
    PortWrite,
    AcquireLock,
    ReleaseLock,
    EventSet,
    EventClear,
    Wait,
    QueueDpc,
    RemoveDpc,
    QueueWorkItem,
    StartTimer,
    CancelTimer,
    DmaRead,
    DmaWrite,
    Atomic,
    Raise,
    Lower,
    Connect,
    Disconnect,
    Mask,
    Unmask,
    Spawn,
    Rundown,
    /// Not before something, but a note of what happens: a callback begins or ends. The simulator checks its level.
    IsrStart,
    IsrMine,
    IsrNotMine,
    DpcStart,
    DpcEnd,
    WorkItemStart,
    WorkItemEnd,
    TimerStart,
    TimerEnd,
    /// An enable or disable callback.
    CallbackStart,
    CallbackEnd,
    /// From now on the verifier looks at the levels of the object's callbacks as soon as they have ended, until it is
    /// disconnected.
    Verified,
    /// What `QueueDpc`, `QueueWorkItem` or `StartTimer` announced will not run for it: it was refused, or taken back.
    DpcUnqueued,
    WorkItemUnqueued,
    TimerUnqueued,
    /// No callback of the object runs or will run.
    Disconnected,
}

/// Where a suspended thread continues: two words that belong to the HAL.
#[derive(Debug, Default)]
pub struct Context {
    /// The saved stack pointer, or whatever the HAL finds the thread by.
    pub stack_pointer: AtomicUsize,
    /// The stack that `create_context` made.
    pub stack: AtomicUsize,
}

/// Physically contiguous memory that a device may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DmaBlock {
    /// Where the core sees it.
    pub address: usize,
    /// Where the device sees it.
    pub physical: u64,
    /// Bytes.
    pub len: usize,
}

/// What a device writes, and where, to raise an interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsiMessage {
    /// The message address.
    pub address: u64,
    /// The message data.
    pub data: u32,
}

#[cfg(not(target_os = "none"))]
mod reference {
    /// The machine as a token carries it: on the host a reference, on the bare target nothing.
    pub type HalRef<'c> = &'c dyn super::Hal;

    /// A [`HalRef`] in one word, for routines that assembly calls.
    pub type HalWord = *const ();

    /// One word for `hal`, good while `hal` is.
    pub(crate) fn to_word(hal: &HalRef<'_>) -> HalWord {
        core::ptr::from_ref(hal).cast()
    }

    /// # Safety
    /// `word` is from [`to_word`], and what it was made from lives for `'c`.
    pub(crate) unsafe fn from_word<'c>(word: HalWord) -> HalRef<'c> {
        // SAFETY: by the contract `word` points at a live `HalRef<'c>`.
        unsafe { *word.cast::<HalRef<'c>>() }
    }
}

#[cfg(target_os = "none")]
mod reference {
    use super::*;
    use core::marker::PhantomData;

    /// The one machine of a bare-metal kernel. Zero-sized; every method is a direct call to what `export_hal!` defined.
    #[derive(Debug, Clone, Copy)]
    #[repr(transparent)]
    pub struct Kernel<'c>(PhantomData<&'c ()>);

    /// The machine as a token carries it: on the host a reference, on the bare target nothing.
    pub type HalRef<'c> = Kernel<'c>;

    /// A [`HalRef`] in one word, for routines that assembly calls. Here it carries nothing.
    pub type HalWord = *const ();

    #[inline(always)]
    pub(crate) fn to_word(_: &HalRef<'_>) -> HalWord {
        core::ptr::null()
    }

    /// # Safety
    /// The machine runs the core, as for [`Kernel::new`].
    #[inline(always)]
    pub(crate) unsafe fn from_word<'c>(_: HalWord) -> HalRef<'c> {
        Kernel(PhantomData)
    }

    macro_rules! define_kernel {
        (() $($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)*) => {
            mod symbols {
                // SAFETY: `export_hal!` defines each symbol with the same signature, from the same table.
                unsafe extern "Rust" {
                    $(#[link_name = concat!("dirql_hal_", stringify!($name))]
                    pub safe fn $name($($arg: $type),*) -> $ret;)*
                }
            }
            impl<'c> Kernel<'c> {
                $($(#[$meta])* #[inline(always)] pub fn $name(self, $($arg: $type),*) -> $ret {
                    symbols::$name($($arg),*)
                })*
            }
        };
    }
    crate::hal_methods!((define_kernel));

    impl Kernel<'_> {
        /// The machine.
        ///
        /// # Safety
        /// The HAL has set up the per-CPU block of this CPU and the system.
        #[inline(always)]
        pub unsafe fn new() -> Self {
            Kernel(PhantomData)
        }
        /// See [`Hal::spin`].
        #[inline(always)]
        pub fn spin(self, _word: usize) {
            core::hint::spin_loop();
        }
        /// See [`Hal::spin_wake`].
        #[inline(always)]
        pub fn spin_wake(self, _word: usize) {}
        /// See [`Hal::point`].
        #[inline(always)]
        pub fn point(self, _what: Point, _object: usize, _location: &'static Location<'static>) {}
        /// See [`Hal::dead`].
        #[inline(always)]
        pub fn dead(self) -> bool {
            false
        }
    }
}

pub use reference::*;

/// Makes a type that implements [`Hal`] the one machine of a bare-metal kernel:
/// `ke::export_hal!(unsafe HAL: X86Hal);` where `HAL` is a `static` of that type. The word `unsafe` is the caller's:
/// it vouches that the symbols are defined once, and keeps the macro out of crates that forbid unsafe code.
#[macro_export]
macro_rules! export_hal {
    ($unsafe:tt $hal:ident: $type:ty) => {
        $crate::hal_methods!(($crate::export_hal_symbols) $unsafe $hal [$type]);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! export_hal_symbols {
    (($unsafe:tt $hal:ident [$hal_type:ty]) $($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)*) => {
        const _: () = {$(
            #[$unsafe(export_name = concat!("dirql_hal_", stringify!($name)))]
            #[inline]
            fn $name($($arg: $type),*) -> $ret {
                <$hal_type as $crate::hal::Hal>::$name(&$hal, $($arg),*)
            }
        )*};
    };
}

/// This CPU's block.
///
/// The lifetime is that of the machine: blocks are never freed.
#[inline(always)]
pub(crate) fn percpu<'c>(hal: HalRef<'c>) -> &'c PerCpu {
    // SAFETY: `Hal::percpu` promises this CPU's block, which lives as long as the machine.
    unsafe { &*hal.percpu() }
}

/// All state of the core.
#[inline(always)]
pub(crate) fn system<'c>(hal: HalRef<'c>) -> &'c System {
    // SAFETY: `Hal::system` promises the system, which lives as long as the machine.
    unsafe { &*hal.system() }
}

/// The running thread; it lives at least until it has switched away for the last time.
#[inline(always)]
pub(crate) fn current_thread<'c>(hal: HalRef<'c>) -> &'c Thread {
    // SAFETY: `Hal::current_thread` promises the running thread, and no token of it outlives its last switch.
    unsafe { &*hal.current_thread() }
}
