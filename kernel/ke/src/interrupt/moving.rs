//! Moving a connected interrupt to another CPU or vector, while its device goes on interrupting.
//!
//! The interrupt is masked, so what still comes on the old vector is latched; the device is told the new message; when the
//! barrier on the old CPU says that nothing of the old one is on its way or in service, the old slot is emptied and the
//! interrupt unmasked. A device without mask bits can lose an edge while its message is rewritten: so the move ends as if
//! one had come, and an ISR that finds nothing answers `NotMine` once.

use super::{ConnectError, Interrupt, ServiceRoutine, connect::Seat};
use crate::{
    at::At,
    barrier,
    dispatch::Head,
    hal::{self, MsiMessage, Point},
    level::{Passive, irql},
    percpu,
};
use alloc::sync::Arc;
use core::{
    panic::Location,
    sync::atomic::Ordering::{Relaxed, Release},
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
        let irql = self.check_level(vector)?;
        let ((old_cpu, old_vector), mode, source) = {
            let _raised = at.raise_to_dirql(irql::DEVICE_HIGHEST);
            // SAFETY: above DISPATCH until `_raised` drops.
            match unsafe { self.attached() }.filter(|_| self.is_connected()) {
                None => return Err(ConnectError::NotConnected),
                Some(attached) if attached.line().is_some() => return Err(ConnectError::OnALine),
                Some(attached) => (attached.place(), attached.mode, attached.source.clone()),
            }
        };
        let old = percpu::of(at.hal, old_cpu).expect("connecting checked that the machine has this CPU");
        let masked = self.mask(at);
        // No ISR runs from here on: what comes is held by the source or latched. The first barrier is for who unmasks at the
        // same time and has not seen the new mask yet.
        barrier::flush_queued_dpcs(at);
        barrier::on_cpu(at, old);
        let head = Arc::as_ptr(self).cast();
        hal::system(at.hal).connected.take_slot(at, cpu, vector, head)?;
        let message = at.msi_message(cpu, vector);
        reprogram(at, message);
        barrier::on_cpu(at, old);
        old.empty_slot(old_vector);
        barrier::on_cpu(at, old);

        self.head.level.store(u32::from(irql), Relaxed);
        self.head.vector.store(vector, Relaxed);
        self.note_moved(at, old_cpu);
        let seat = Seat::Vector { cpu, vector };
        let now = match self.is_verified() {
            true => self.attached_to::<true>(seat, mode, source, irql),
            false => self.attached_to::<false>(seat, mode, source, irql),
        };
        let before = self.gate.replace(Some(now));
        barrier::flush_queued_dpcs(at);
        // Who read it did so at DISPATCH or above, before the barrier.
        drop(before);

        self.head.latched.store(true, Release);
        drop(masked);
        Ok(())
    }

    /// What it counts from here on, it counts on another CPU than `old_cpu`.
    fn note_moved(&self, at: &mut At<'_, Passive>, old_cpu: u32) {
        self.earlier.acquire(at).push((old_cpu, self.count()));
    }
}

/// [`Member::moved`](crate::line::Member) of an interrupt on a line.
///
/// # Safety
/// `head` is the head of a connected `Interrupt<R>`.
pub(super) unsafe fn note_moved<R: ServiceRoutine>(head: *const Head, at: &mut At<'_, Passive>, old_cpu: u32) {
    // SAFETY: by the contract; the head is the first field.
    unsafe { &*head.cast::<Interrupt<R>>() }.note_moved(at, old_cpu);
}
