//! Serialization scopes: data that a set of callbacks takes turns with (AutomaticSerialization, SynchronizationScope).
//!
//! A [`Scope`] is a field: of the device for device scope, of a queue's handler for queue scope. A handler that is
//! [`Serialized`] names its scope, and then its callbacks get `&mut` to the scope's data, under the scope's lock: a spin lock
//! at DISPATCH, a wait lock at PASSIVE, by the scope's execution level. There is no scope "None" that one could ask for and
//! get nothing: without a scope there is no data. An ISR never takes part; that is what its interrupt's lock is for.
//!
//! **Invariant:** the data is reached only under the lock; `owner` is the thread that holds it, or none.

use crate::{
    Device,
    timer::{DpcTimer, Engine, Expire, WorkItemTimer},
};
use core::{fmt, panic::Location};
use ke::{
    At, AtMost, Dispatch, Level, OwnerCell, Passive, PlaceCell, SpinLock, UpToDispatch, WaitLock,
    bugcheck::BugCheckKind,
};

/// An execution level: where the callbacks of a scope, a queue or a timer run ([`Dispatch`] or [`Passive`],
/// WDF_EXECUTION_LEVEL), and so which lock serializes them.
#[diagnostic::on_unimplemented(
    message = "callbacks run at `Dispatch` or at `Passive`, not at `{Self}`",
    note = "these are the two execution levels; only an ISR runs at `Dirql`"
)]
pub trait ScopeLevel: Sized + Level + AtMost<Dispatch> + AtMost<Self> + sealed::Sealed {
    /// The lock of a scope at this level.
    #[doc(hidden)]
    type Lock<T: Send>: Send + Sync;

    /// A timer whose callback runs at this level.
    #[doc(hidden)]
    type Timer<B: Expire<Self>>: Engine<B>;

    #[doc(hidden)]
    fn lock<T: Send>(data: T) -> Self::Lock<T>;

    /// Runs `f` under the lock.
    #[doc(hidden)]
    #[track_caller]
    fn locked<T: Send, C: AtMost<Self>, R>(
        lock: &Self::Lock<T>,
        at: &mut At<'_, C>,
        f: impl FnOnce(&mut T, &mut At<'_, Self>) -> R,
    ) -> R;

    /// Runs `f` at this level, if that can be reached from `at`: PASSIVE not from DISPATCH.
    #[doc(hidden)]
    fn here<R>(at: &mut UpToDispatch<'_>, f: impl FnOnce(&mut At<'_, Self>) -> R) -> Option<R>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for ke::Dispatch {}
    impl Sealed for ke::Passive {}
}

impl ScopeLevel for Dispatch {
    type Lock<T: Send> = SpinLock<T>;
    type Timer<B: Expire<Dispatch>> = DpcTimer<B>;

    fn lock<T: Send>(data: T) -> SpinLock<T> {
        SpinLock::new(data)
    }

    #[inline]
    fn locked<T: Send, C: AtMost<Dispatch>, R>(
        lock: &SpinLock<T>,
        at: &mut At<'_, C>,
        f: impl FnOnce(&mut T, &mut At<'_, Dispatch>) -> R,
    ) -> R {
        lock.with(at, f)
    }

    #[inline]
    fn here<R>(at: &mut UpToDispatch<'_>, f: impl FnOnce(&mut At<'_, Dispatch>) -> R) -> Option<R> {
        Some(at.at_dispatch(f))
    }
}

impl ScopeLevel for Passive {
    type Lock<T: Send> = WaitLock<T>;
    type Timer<B: Expire<Passive>> = WorkItemTimer<B>;

    fn lock<T: Send>(data: T) -> WaitLock<T> {
        WaitLock::new(data)
    }

    fn locked<T: Send, C: AtMost<Passive>, R>(
        lock: &WaitLock<T>,
        at: &mut At<'_, C>,
        f: impl FnOnce(&mut T, &mut At<'_, Passive>) -> R,
    ) -> R {
        let mut at = at.as_passive();
        let mut guard = lock.acquire(&mut at);
        f(&mut guard, &mut at)
    }

    fn here<R>(at: &mut UpToDispatch<'_>, f: impl FnOnce(&mut At<'_, Passive>) -> R) -> Option<R> {
        match at {
            UpToDispatch::Passive(at) => Some(f(at)),
            UpToDispatch::Dispatch(_) => None,
        }
    }
}

/// A DPC can run in a scope of this level: [`Dispatch`] only (STATUS_WDF_INCOMPATIBLE_EXECUTION_LEVEL).
#[diagnostic::on_unimplemented(
    message = "a DPC runs at Dispatch, so its scope must be `Scope<_, Dispatch>`, not `Scope<_, {Self}>`",
    label = "a DPC cannot take the lock of a scope at {Self}",
    note = "continue in a work item, or give the scope the level `Dispatch`"
)]
pub trait ServesDpc: ScopeLevel {
    #[doc(hidden)]
    fn for_dpc<T: Send>(scope: &Scope<T, Self>) -> &Scope<T, Dispatch>;
}
impl ServesDpc for Dispatch {
    fn for_dpc<T: Send>(scope: &Scope<T, Dispatch>) -> &Scope<T, Dispatch> {
        scope
    }
}

/// A work item can run in a scope of this level: [`Passive`] only (STATUS_WDF_INCOMPATIBLE_EXECUTION_LEVEL).
#[diagnostic::on_unimplemented(
    message = "a work item runs at Passive, so its scope must be `Scope<_, Passive>`, not `Scope<_, {Self}>`",
    label = "a work item would hold the spin lock of a scope at {Self}",
    note = "continue in a DPC, or give the scope the level `Passive`"
)]
pub trait ServesWorkItem: ScopeLevel {
    #[doc(hidden)]
    fn for_work_item<T: Send>(scope: &Scope<T, Self>) -> &Scope<T, Passive>;
}
impl ServesWorkItem for Passive {
    fn for_work_item<T: Send>(scope: &Scope<T, Passive>) -> &Scope<T, Passive> {
        scope
    }
}

/// The callback lock and the data of a serialization scope.
///
/// ```
/// use framework::prelude::*;
/// # struct Port { scope: Scope<Vec<u8>> }
/// impl Port {
///     /// Into the scope from outside its callbacks: WdfObjectAcquireLock.
///     fn forget_what_came(&self, at: &mut At<'_, Passive>) {
///         self.scope.enter(at, |bytes, _at| bytes.clear());
///     }
/// }
/// ```
pub struct Scope<T: Send, L: ScopeLevel = Dispatch> {
    lock: L::Lock<T>,
    owner: OwnerCell,
    /// Where whoever is in it has entered.
    entered: PlaceCell,
}

impl<T: Send, L: ScopeLevel> Scope<T, L> {
    /// A scope around `data`, with nobody in it.
    pub fn new(data: T) -> Self {
        Scope { lock: L::lock(data), owner: OwnerCell::new(), entered: PlaceCell::new() }
    }

    /// WdfObjectAcquireLock and WdfObjectReleaseLock: runs `f` as a callback of the scope would run, alone with its data. At
    /// or below the scope's level; `f` runs at that level. Whoever is in the scope already and enters it once more ends in a
    /// bug check (WDF_RECURSIVE_LOCK), with the verifier or without.
    #[track_caller]
    pub fn enter<C: AtMost<L>, R>(&self, at: &mut At<'_, C>, f: impl FnOnce(&mut T, &mut At<'_, L>) -> R) -> R {
        if self.is_entered_by_me(at) {
            let (place, before) = (Location::caller(), &self.entered);
            at.bug_check(
                BugCheckKind::RecursiveLock,
                format_args!("a serialization scope is entered at {place} by who is in it already, entered {before}"),
            );
        }
        let place = Location::caller();
        L::locked(&self.lock, at, |data, at| {
            self.owner.set(at);
            self.entered.set(place);
            let result = f(data, at);
            self.owner.clear();
            result
        })
    }

    /// Whether this thread of execution is in the scope, so that it must not enter it.
    pub(crate) fn is_entered_by_me<C: Level>(&self, at: &At<'_, C>) -> bool {
        self.owner.is_me(at)
    }
}

impl<T: Send, L: ScopeLevel> fmt::Debug for Scope<T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("level", &L::NAME).finish_non_exhaustive()
    }
}

/// A handler whose callbacks run one at a time with all others of its scope, and get its data (AutomaticSerialization).
///
/// Its level is the scope's: what the lock of the level cannot serve does not compile. A handler inherits the execution level
/// of its device, or the device its driver's, by saying so: see [`ExecutionLevel`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` names no serialization scope",
    label = "serialized with nobody",
    note = "implement `Serialized` for `{Self}`: which `Scope`, of the device or of its own, its callbacks run in"
)]
pub trait Serialized: Sized + Send + Sync + 'static {
    /// The device it belongs to.
    type Device: Device;
    /// What the callbacks of the scope share.
    type Data: Send + 'static;
    /// Where they run.
    type Level: ScopeLevel;

    /// The scope: a field of the device (WdfSynchronizationScopeDevice) or of the handler itself (WdfSynchronizationScopeQueue).
    fn scope<'a>(&'a self, dev: &'a Self::Device) -> &'a Scope<Self::Data, Self::Level>;
}

/// An execution level that others inherit (WdfExecutionLevelInheritFromParent): a driver's, that its devices take; a device's,
/// that its queues, timers and scopes take. Inheriting is naming: [`Inherited`].
///
/// ```
/// use framework::{ExecutionLevel, Inherited, prelude::*};
/// struct Sensors;
/// impl ExecutionLevel for Sensors {
///     type Level = Passive;
/// }
/// struct Sensor {
///     scope: Scope<u32, Inherited<Sensor>>,
/// }
/// impl ExecutionLevel for Sensor {
///     type Level = Inherited<Sensors>;
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no execution level to inherit",
    note = "implement `ExecutionLevel` for it, or state `Dispatch` or `Passive`"
)]
pub trait ExecutionLevel {
    /// Where the callbacks of those that inherit run.
    type Level: ScopeLevel;
}

/// The execution level of `P`, the parent.
pub type Inherited<P> = <P as ExecutionLevel>::Level;
