//! Moving a connected interrupt to another CPU or vector, while its device goes on interrupting.
//!
//! The interrupt is masked, so what still comes on the old vector is latched; the device is told the new message; when the
//! barrier on the old CPU says that nothing of the old one is on its way or in service, the old slot is emptied and the
//! interrupt unmasked. A device without mask bits can lose an edge while its message is rewritten: so the move ends as if
//! one had come, and an ISR that finds nothing answers `NotMine` once.

use super::{ConnectError, Interrupt, ServiceRoutine, connect::Attached};
use crate::{
    at::At,
    barrier,
    dispatch::Head,
    hal::{self, MsiMessage, Point},
    level::{Passive, irql},
    percpu,
};
use alloc::{boxed::Box, sync::Arc};
use core::{
    panic::Location,
    ptr,
    sync::atomic::Ordering::{AcqRel, Relaxed, Release},
};

impl<R: ServiceRoutine> Interrupt<R> {
    /// Moves the message to `vector` of `cpu`; `reprogram` tells the device. It is not called, and nothing changes, on an
    /// error. PASSIVE; not from the interrupt's own callbacks. A member of a line moves with its line, not alone.
    #[track_caller]
    pub fn move_to(
        self: &Arc<Self>,
        at: &mut At<'_, Passive>,
        cpu: u32,
        vector: u8,
        reprogram: impl FnOnce(&mut At<'_, Passive>, MsiMessage),
    ) -> Result<(), ConnectError> {
        at.point(Point::Connect, self.address(), Location::caller());
        let _setup = self.setup.acquire(at);
        let cpus = at.cpu_count();
        let target = percpu::of(at.hal, cpu).ok_or(ConnectError::NoSuchCpu { cpu, cpus })?;
        let irql = self.check_level(vector)?;
        let (old_cpu, old_vector) = {
            let _raised = at.raise_to_dirql(irql::DEVICE_HIGHEST);
            // SAFETY: above DISPATCH until `_raised` drops.
            match unsafe { self.attached() } {
                None => return Err(ConnectError::NotConnected),
                Some(attached) if attached.line.is_some() => return Err(ConnectError::OnALine),
                Some(attached) => (attached.cpu, attached.vector),
            }
        };
        let old = percpu::of(at.hal, old_cpu).expect("connecting checked that the machine has this CPU");
        let masked = self.mask(at);
        // No ISR runs from here on: what comes is held by the source or latched.
        barrier::on_cpu(at, old);
        let head = Arc::as_ptr(self).cast::<Head>().cast_mut();
        hal::system(at.hal).connected.with_lock(at, || {
            if !target.is_free(vector) {
                return Err(ConnectError::VectorTaken { cpu, vector });
            }
            target.vector(vector).store(head, Release);
            Ok(())
        })?;
        let message = at.msi_message(cpu, vector);
        reprogram(at, message);
        barrier::on_cpu(at, old);
        old.vector(old_vector).store(ptr::from_ref(&old.unexpected).cast_mut(), Release);
        barrier::on_cpu(at, old);

        self.head.level.store(u32::from(irql), Relaxed);
        self.head.vector.store(vector, Relaxed);
        self.earlier.acquire(at).push((old_cpu, self.count()));
        let before = self.attached.load(Relaxed);
        // SAFETY: `setup` is held, so it is connected until this returns, and nobody else replaces what it is attached to.
        let Attached { mode, source, .. } = unsafe { &*before };
        let now = Attached { cpu, vector, mode: *mode, source: source.clone(), line: None };
        let before = self.attached.swap(Box::into_raw(Box::new(now)), AcqRel);
        barrier::flush_queued_dpcs(at);
        // SAFETY: made by `attach` or here; who read it did so at DISPATCH or above, before the barrier.
        drop(unsafe { Box::from_raw(before) });

        self.head.latched.store(true, Release);
        drop(masked);
        Ok(())
    }
}
