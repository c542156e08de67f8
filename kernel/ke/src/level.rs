//! The rungs of the IRQL ladder, as types.
//!
//! A driver cares about three: [`Passive`] (threads, may wait), [`Dispatch`] (DPCs and spin locks) and
//! [`Dirql`] (ISRs and interrupt locks). The marker traits between them exist so that rustc can say *why* a
//! call is refused. The run-time number (0 PASSIVE, 2 DISPATCH, 3-12 device, 13 clock, 14 IPI, 15 HIGH) is
//! [`crate::At::irql`].

mod sealed {
    #[diagnostic::on_unimplemented(message = "the levels are `Passive`, `Dispatch` and `Dirql`; there are no others")]
    pub trait Sealed {}
}

/// IRQL numbers of x86_64, as NT uses them: the class (`vector >> 4`) of an interrupt is its IRQL.
pub mod irql {
    /// Threads.
    pub const PASSIVE: u8 = 0;
    /// DPCs and spin locks.
    pub const DISPATCH: u8 = 2;
    /// The lowest level of a device.
    pub const DEVICE_LOWEST: u8 = 3;
    /// The highest level of a device, and where the ceiling of every interrupt lock starts.
    pub const DEVICE_HIGHEST: u8 = 12;
    /// The clock interrupt.
    pub const CLOCK: u8 = 13;
    /// Inter-processor interrupts that every level but HIGH must obey.
    pub const IPI: u8 = 14;
}

/// A rung of the IRQL ladder. Uninhabited: a level is never a value.
pub trait Level: sealed::Sealed + 'static {
    /// The lowest IRQL number that the level stands for.
    const IRQL: u8;
    /// The level's name in messages.
    const NAME: &'static str;
}

macro_rules! levels {
    ($($(#[$meta:meta])* $name:ident = $irql:expr;)*) => {$(
        $(#[$meta])*
        #[derive(Debug)]
        pub enum $name {}
        impl sealed::Sealed for $name {}
        impl Level for $name {
            const IRQL: u8 = $irql;
            const NAME: &'static str = stringify!($name);
        }
    )*};
}

levels! {
    /// PASSIVE_LEVEL: thread context. May wait.
    Passive = irql::PASSIVE;
    /// DISPATCH_LEVEL: DPCs, timers, and code under a spin lock. May not wait.
    Dispatch = irql::DISPATCH;
    /// Device IRQL: ISRs and code under an interrupt lock. May touch registers, the ISR's state, and queue.
    Dirql = irql::DEVICE_LOWEST;
    #[doc(hidden)]
    Nowhere = u8::MAX;
}

/// `Self` is at or below `L`: `_IRQL_requires_max_(L)` as a bound.
#[diagnostic::on_unimplemented(
    message = "this call needs IRQL <= {L}, but this code runs at {Self}",
    label = "{Self} is above {L}",
    note = "drop the guard (or leave the closure) first, or defer the work: `queue_dpc` / `queue_work_item`"
)]
pub trait AtMost<L: Level>: Level {}
impl AtMost<Passive> for Passive {}
impl AtMost<Dispatch> for Passive {}
impl AtMost<Dirql> for Passive {}
impl AtMost<Dispatch> for Dispatch {}
impl AtMost<Dirql> for Dispatch {}
impl AtMost<Dirql> for Dirql {}

/// [`Passive`] and nothing else. A trait, not the type, so that rustc can explain.
#[diagnostic::on_unimplemented(
    message = "this call may wait, and waiting needs IRQL Passive, but this code runs at {Self}",
    label = "cannot wait at {Self}",
    note = "drop the spin lock (or leave the closure) first; from an ISR or a DPC, wait in a work item: `queue_work_item` or `WorkItem::enqueue`"
)]
pub trait MayWait: AtMost<Dispatch> + AtMost<Passive> {}
impl MayWait for Passive {}

/// The lock of an interrupt at this level can be tried: [`Passive`] only, where it is a wait lock.
#[diagnostic::on_unimplemented(
    message = "only the wait lock of a passive-level interrupt can be tried; this interrupt is at {Self}",
    note = "a DIRQL interrupt's lock is a spin lock: use `acquire_lock` or `synchronize`"
)]
pub trait CanTry: IsrLevel {}
impl CanTry for Passive {}

/// Where an ISR runs: [`Dirql`], or [`Passive`] for a passive-level interrupt. It picks the lock (spin or wait)
/// and who may take it. `LockableFrom<Passive>` is a supertrait so that code generic over the level needs no bound.
#[diagnostic::on_unimplemented(message = "an ISR runs at `Dirql` or at `Passive`, not at `{Self}`")]
pub trait IsrLevel: LockableFrom<Passive> {
    /// Whether the lock is a wait lock.
    const PASSIVE: bool;
}
impl IsrLevel for Dirql {
    const PASSIVE: bool = false;
}
impl IsrLevel for Passive {
    const PASSIVE: bool = true;
}

/// The lock of an interrupt at `Self` can be taken by code at `C`.
#[diagnostic::on_unimplemented(
    message = "the lock of a {Self} interrupt cannot be taken by code at {C}",
    label = "this code runs at {C}",
    note = "a Dirql interrupt's lock can be taken at Passive and Dispatch, a passive-level interrupt's at Passive",
    note = "from an ISR or under another interrupt's lock: `synchronize_nested`"
)]
pub trait LockableFrom<C: Level>: Level {}
impl LockableFrom<Passive> for Dirql {}
impl LockableFrom<Dispatch> for Dirql {}
impl LockableFrom<Passive> for Passive {}
// With a single impl rustc would infer `C = Passive` from the bound and report a bare type mismatch instead of
// the sentence above; nothing can ever run at `Nowhere`.
impl LockableFrom<Nowhere> for Passive {}
