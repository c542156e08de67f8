//! Interrupts made of closures, for cases whose ISRs differ.

use crate::support::{Card, GSI, card_on};
use hal_sim::{Device, LineInput, Setup};
use ke::{At, Claim, Connection, Dirql, Dispatch, Interrupt, InterruptLock, IsrLevel, Mode, Passive, ServiceRoutine};
use std::{marker::PhantomData, sync::Arc};

/// What an ISR can queue.
pub trait Deferred {
    fn queue_dpc(&self, at: &mut At<'_, Dirql>) -> bool;
}

impl<R: ServiceRoutine> Deferred for Interrupt<R> {
    fn queue_dpc(&self, at: &mut At<'_, Dirql>) -> bool {
        Interrupt::queue_dpc(self, at)
    }
}

/// Serves `card`: takes its events, then runs `isr` on the lock's state; `dpc` as its DPC and as its work item.
pub struct Closures<T, L, I, D> {
    card: Device<Card>,
    isr: I,
    dpc: D,
    state: PhantomData<fn(T) -> L>,
}

impl<T, L, I, D> ServiceRoutine for Closures<T, L, I, D>
where
    T: Send + 'static,
    L: IsrLevel,
    I: Fn(&mut T, u32, &dyn Deferred, &mut At<'_, L>) + Send + Sync + 'static,
    D: Fn(&InterruptLock<T, L>, &mut At<'_, Dispatch>) + Send + Sync + 'static,
{
    type State = T;
    type Level = L;
    type Context = ();

    fn service(&self, (): &(), state: &mut T, this: &Interrupt<Self>, at: &mut At<'_, L>) -> Claim {
        let events = self.card.access(|card, _| card.pending);
        if events == 0 {
            return Claim::NotMine;
        }
        self.card.access(|card, bus| card.acknowledge(events, bus));
        (self.isr)(state, events, this, at);
        Claim::Mine
    }

    fn dpc(&self, (): &(), this: &Interrupt<Self>, at: &mut At<'_, Dispatch>) {
        (self.dpc)(this.lock(), at);
    }

    fn work_item(&self, (): &(), _: &Interrupt<Self>, _: &mut At<'_, Passive>) {}

    fn describe(&self) -> String {
        "closures".to_owned()
    }
}

/// An interrupt with `lock` that serves `card`.
pub fn interrupt<T, L, I, D>(
    card: &Device<Card>,
    lock: &InterruptLock<T, L>,
    isr: I,
    dpc: D,
) -> Arc<Interrupt<Closures<T, L, I, D>>>
where
    T: Send + 'static,
    L: IsrLevel,
    I: Fn(&mut T, u32, &dyn Deferred, &mut At<'_, L>) + Send + Sync + 'static,
    D: Fn(&InterruptLock<T, L>, &mut At<'_, Dispatch>) + Send + Sync + 'static,
{
    Interrupt::new(Closures { card: card.clone(), isr, dpc, state: PhantomData }, lock.clone())
}

/// No DPC.
pub fn nothing<T, L: IsrLevel>(_: &InterruptLock<T, L>, _: &mut At<'_, Dispatch>) {}

/// Cards, each on a line of its own: the n-th on `GSI + n`.
pub fn cards<const N: usize>(machine: &mut Setup) -> [Device<Card>; N] {
    std::array::from_fn(|n| card_on(machine, GSI + n as u32))
}

/// What connects the n-th of [`cards`] alone, at `vector` of `cpu`.
pub fn alone(at: &mut At<'_, Passive>, n: u32, cpu: u32, vector: u8) -> Connection {
    let mode = Mode::LevelSensitive;
    let source = LineInput::program(at, GSI + n, mode, cpu, vector);
    Connection { cpu, vector, mode, source: Arc::new(source) }
}
