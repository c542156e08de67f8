//! The connected interrupts of a machine: kept alive, counted, shown.

use super::{ConnectError, Interrupt, InterruptInfo, ServiceRoutine};
use crate::{
    at::At,
    core_lock::CoreLock,
    dispatch::Head,
    hal::{self, HalRef},
    level::Passive,
    percpu::{self, PerCpu},
};
use alloc::{sync::Arc, vec::Vec};
use core::ptr;

/// What the registry knows of a connected interrupt.
trait Connected: Send + Sync {
    fn info(&self, at: &mut At<'_, Passive>) -> Option<InterruptInfo>;
    fn address(&self) -> *const ();
    /// Its machine ends.
    fn abandon(&self);
}

impl<R: ServiceRoutine> Connected for Interrupt<R> {
    fn info(&self, at: &mut At<'_, Passive>) -> Option<InterruptInfo> {
        Interrupt::info(self, at)
    }
    fn address(&self) -> *const () {
        ptr::from_ref(self).cast()
    }
    fn abandon(&self) {
        self.set_connected(false);
    }
}

/// The connected interrupts of a machine. Whoever connects does so under its lock.
pub(crate) struct Registry {
    connected: CoreLock<Vec<Arc<dyn Connected>>>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Registry { connected: CoreLock::new(Vec::new()) }
    }

    pub(super) fn claim<R: ServiceRoutine>(
        &self,
        at: &mut At<'_, Passive>,
        interrupt: Arc<Interrupt<R>>,
        install: impl FnOnce(HalRef<'_>) -> Result<(), ConnectError>,
    ) -> Result<(), ConnectError> {
        self.connected.with(at, |connected, at| {
            connected.reserve(1);
            install(at.hal)?;
            connected.push(interrupt);
            Ok(())
        })
    }

    /// Puts `head` into the slot of `vector` of `cpu`.
    pub(crate) fn take_slot(
        &self,
        at: &mut At<'_, Passive>,
        cpu: u32,
        vector: u8,
        head: *const Head,
    ) -> Result<(), ConnectError> {
        let target = cpu_block(at.hal, cpu)?;
        let taken = self.connected.with(at, |_, _| target.take_slot(vector, head));
        if taken { Ok(()) } else { Err(ConnectError::VectorTaken { cpu, vector }) }
    }

    pub(super) fn release(&self, at: &mut At<'_, Passive>, address: *const ()) {
        let released = self.connected.with(at, |connected, _| {
            let place = connected.iter().position(|each| ptr::eq(each.address(), address))?;
            Some(connected.swap_remove(place))
        });
        // Dropped here, at PASSIVE, if the driver's handle is gone already.
        drop(released);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for each in self.connected.get_mut() {
            each.abandon();
        }
    }
}

/// The block of `cpu`, if the machine has it.
pub(crate) fn cpu_block(hal: HalRef<'_>, cpu: u32) -> Result<&PerCpu, ConnectError> {
    percpu::of(hal, cpu).ok_or(ConnectError::NoSuchCpu { cpu, cpus: hal.cpu_count() })
}

/// All connected interrupts, ordered by CPU and vector. PASSIVE.
pub fn connected_interrupts(at: &mut At<'_, Passive>) -> Vec<InterruptInfo> {
    let registry = &hal::system(at.hal).connected;
    let connected = registry.connected.with(at, |connected, _| connected.to_vec());
    let mut infos: Vec<_> = connected.iter().filter_map(|each| each.info(at)).collect();
    infos.sort_by_key(|info| (info.cpu, info.vector));
    infos
}
