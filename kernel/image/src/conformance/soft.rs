//! Interrupts without a device, made of closures: the program raises them itself.

use super::Outcome;
use crate::{
    selftest::{LIMIT, SECOND, crew::ensure},
    sweep::software::connect_on,
};
use alloc::{format, string::String, sync::Arc};
use core::{
    marker::PhantomData,
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};
use hal_x86_64::X86Hal;
use ke::{At, Claim, Dispatch, Event, Interrupt, InterruptLock, IsrLevel, Level, Passive, ServiceRoutine, hal::Hal};

/// What a callback can queue.
pub trait Deferred<L: Level> {
    fn queue_dpc(&self, at: &mut At<'_, L>) -> bool;
}

impl<R: ServiceRoutine, L: Level> Deferred<L> for Interrupt<R> {
    fn queue_dpc(&self, at: &mut At<'_, L>) -> bool {
        Interrupt::queue_dpc(self, at)
    }
}

/// What an interrupt of closures does: `isr` on the lock's state, for each interrupt that was raised; `dpc` as its DPC.
pub struct Closures<T, L, I, D> {
    isr: I,
    dpc: D,
    /// What a device's status register would say.
    events: AtomicU32,
    served: AtomicU64,
    _state: PhantomData<fn(T) -> L>,
}

impl<T, L, I, D> ServiceRoutine for Closures<T, L, I, D>
where
    T: Send + 'static,
    L: IsrLevel,
    I: Fn(&mut T, &dyn Deferred<L>, &mut At<'_, L>) + Send + Sync + 'static,
    D: Fn(&InterruptLock<T, L>, &mut At<'_, Dispatch>) + Send + Sync + 'static,
{
    type State = T;
    type Level = L;
    type Context = ();

    fn service(&self, (): &(), state: &mut T, this: &Interrupt<Self>, at: &mut At<'_, L>) -> Claim {
        let events = self.events.swap(0, AcqRel);
        if events == 0 {
            return Claim::NotMine;
        }
        (self.isr)(state, this, at);
        self.served.fetch_add(events.into(), Relaxed);
        Claim::Mine
    }

    fn dpc(&self, (): &(), this: &Interrupt<Self>, at: &mut At<'_, Dispatch>) {
        (self.dpc)(this.lock(), at);
    }

    fn work_item(&self, (): &(), _: &Interrupt<Self>, _: &mut At<'_, Passive>) {}

    fn describe(&self) -> String {
        "conformance".into()
    }
}

/// An interrupt, and where it is connected.
pub struct Soft<T: Send + 'static, L: IsrLevel, I, D>
where
    Closures<T, L, I, D>: ServiceRoutine,
{
    pub interrupt: Arc<Interrupt<Closures<T, L, I, D>>>,
    pub wire: Wire,
}

/// A vector of a CPU.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wire {
    pub cpu: u32,
    pub vector: u8,
}

impl Wire {
    /// Makes the interrupt come: at once, if it is this CPU's and nothing holds it off.
    pub fn pull(self) {
        X86Hal.send_vector(self.cpu, self.vector);
    }
}

/// No DPC.
pub fn nothing<T, L: IsrLevel>(_: &InterruptLock<T, L>, _: &mut At<'_, Dispatch>) {}

/// An interrupt with `lock` that is not connected.
pub fn unconnected<T, L, I, D>(lock: &InterruptLock<T, L>, isr: I, dpc: D) -> Arc<Interrupt<Closures<T, L, I, D>>>
where
    T: Send + 'static,
    L: IsrLevel,
    I: Fn(&mut T, &dyn Deferred<L>, &mut At<'_, L>) + Send + Sync + 'static,
    D: Fn(&InterruptLock<T, L>, &mut At<'_, Dispatch>) + Send + Sync + 'static,
{
    let (events, served) = (AtomicU32::new(0), AtomicU64::new(0));
    Interrupt::new(Closures { isr, dpc, events, served, _state: PhantomData }, lock.clone())
}

/// An interrupt of class `irql` of `cpu` with `lock`.
pub fn soft<T, L, I, D>(
    at: &mut At<'_, Passive>,
    cpu: u32,
    irql: u8,
    lock: &InterruptLock<T, L>,
    isr: I,
    dpc: D,
) -> Result<Soft<T, L, I, D>, String>
where
    T: Send + 'static,
    L: IsrLevel,
    I: Fn(&mut T, &dyn Deferred<L>, &mut At<'_, L>) + Send + Sync + 'static,
    D: Fn(&InterruptLock<T, L>, &mut At<'_, Dispatch>) + Send + Sync + 'static,
{
    let interrupt = unconnected(lock, isr, dpc);
    let vector = connect_on(at, &interrupt, cpu, irql)?;
    Ok(Soft { interrupt, wire: Wire { cpu, vector } })
}

impl<T, L, I, D> Closures<T, L, I, D> {
    /// One more event that the ISR is to claim.
    pub fn note_event(&self) {
        self.events.fetch_add(1, AcqRel);
    }

    /// How many events its ISR has claimed.
    pub fn served(&self) -> u64 {
        self.served.load(Acquire)
    }
}

impl<T: Send + 'static, L: IsrLevel, I, D> Soft<T, L, I, D>
where
    Closures<T, L, I, D>: ServiceRoutine,
{
    pub fn raise(&self) {
        self.interrupt.routine().note_event();
        self.wire.pull();
    }

    pub fn served(&self) -> u64 {
        self.interrupt.routine().served()
    }

    /// Waits, and lets others run, until its ISR has claimed `wanted` events.
    pub fn await_served(&self, at: &mut At<'_, Passive>, wanted: u64) -> Outcome {
        await_that(at, |_| self.served() >= wanted)
            .map_err(|why| format!("{} of {wanted} interrupts came {why}", self.served()))
    }

    pub fn disconnect(&self, at: &mut At<'_, Passive>) -> Outcome {
        ensure(self.interrupt.disconnect(at).is_some(), || "it was not connected".into())
    }
}

/// Waits, and lets others run, until `done`.
pub fn await_that(at: &mut At<'_, Passive>, done: impl Fn(&mut At<'_, Passive>) -> bool) -> Outcome {
    let (until, pause) = (at.now() + LIMIT, Event::new());
    while !done(at) {
        if at.now() >= until {
            return Err(format!("within {} s", LIMIT / SECOND));
        }
        // Nobody sets it.
        let _ = pause.wait_timeout(at, 100_000);
    }
    Ok(())
}

/// Long enough for what may come to have come.
pub fn dawdle() {
    (0..2_000).for_each(|_| core::hint::spin_loop());
}
