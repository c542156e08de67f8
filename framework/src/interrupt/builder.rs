//! Making an interrupt object: the driver's wishes, then [`InterruptBuilder::create`].

use super::{handle::Interrupt, handler::EvtIsr, keeper, object::OwnWishes};
use crate::{Creator, Result};
use core::{any::type_name, fmt};
use io::{Affinity, Priority};
use ke::{InterruptLock, IsrLevel};

/// Made by [`Creator::interrupt`]: wishes, then [`Self::create`].
#[must_use = "nothing is created until `.create()`"]
pub struct InterruptBuilder<'a, H: EvtIsr> {
    creator: &'a mut Creator<H::Device>,
    handler: H,
    lock: InterruptLock<H::State, H::Level>,
    number: Option<u16>,
    wishes: OwnWishes,
}

impl<'a, H: EvtIsr> InterruptBuilder<'a, H> {
    pub(crate) fn new(
        creator: &'a mut Creator<H::Device>,
        handler: H,
        lock: InterruptLock<H::State, H::Level>,
    ) -> Self {
        InterruptBuilder { creator, handler, lock, number: None, wishes: OwnWishes::default() }
    }

    /// Binds to message or line `n` of the device instead of the next one.
    pub fn message(mut self, n: u16) -> Self {
        self.number = Some(n);
        self
    }

    /// Asks for a line where the bus has messages too: then all interrupts of the device are lines.
    pub fn line(mut self) -> Self {
        self.wishes.line = true;
        self
    }

    /// ShareVector: whether others may be on its line, which then have to share too. PCI lines are shared unless this
    /// says otherwise, others if they are level triggered. It means nothing for a message.
    pub fn share(mut self, share: bool) -> Self {
        self.wishes.shares = Some(share);
        self
    }

    /// WdfInterruptSetExtendedPolicy: which CPUs may take it. The grant is one of them.
    pub fn affinity(mut self, affinity: Affinity) -> Self {
        self.wishes.policy.affinity = affinity;
        self
    }

    /// WdfInterruptSetPolicy: how urgent it is.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.wishes.policy.priority = priority;
        self
    }

    /// ReportInactiveOnPowerDown: whether it stays connected while the device sleeps, inactive, and reaches nobody. Off unless
    /// asked for. On a device that is not pageable all interrupts do.
    pub fn report_inactive_on_power_down(mut self, inactive: bool) -> Self {
        self.wishes.inactive_in_low_power = inactive;
        self
    }

    /// WdfInterruptCreate. In `prepare_hardware` it fails when the bus assigned no such message or line; in `device_add`
    /// nobody knows yet, and the object stays unconnected then.
    pub fn create(self) -> Result<Interrupt<H>> {
        let InterruptBuilder { creator, handler, lock, number, wishes } = self;
        let number = creator.bind(number, wishes.line)?;
        let (interrupt, keeper) = keeper::create(creator.device_name.clone(), number, handler, lock, wishes);
        creator.interrupts.push(keeper.clone());
        creator.cleanups.push(keeper);
        Ok(interrupt)
    }
}

/// State of one's own, or the lock of a set: either can be given to [`Creator::interrupt`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither the state `{T}` nor a `&InterruptLock<{T}, {L}>`",
    label = "not this interrupt's `State`"
)]
pub trait IntoLock<T, L: IsrLevel> {
    /// The lock that the interrupt will use.
    fn into_lock(self) -> InterruptLock<T, L>;
}

impl<T: Send + 'static, L: IsrLevel> IntoLock<T, L> for T {
    fn into_lock(self) -> InterruptLock<T, L> {
        InterruptLock::new(self)
    }
}

impl<T: Send + 'static, L: IsrLevel> IntoLock<T, L> for &InterruptLock<T, L> {
    fn into_lock(self) -> InterruptLock<T, L> {
        self.clone()
    }
}

impl<H: EvtIsr> fmt::Debug for InterruptBuilder<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (handler, wishes) = (type_name::<H>(), &self.wishes);
        f.debug_struct("InterruptBuilder").field("handler", &handler).field("wishes", wishes).finish_non_exhaustive()
    }
}
