//! Moving a line, with all its members, to another CPU or vector while its devices go on interrupting.
//!
//! As for a message: the source is masked, the barrier on the old CPU says that nothing of the old vector is on its way or
//! in service, the controller is told the new one, the old slot is emptied, the source unmasked. A level that is still
//! asserted then interrupts by itself; an edge may have found its input masked, so the move of an edge line ends as if
//! one had come.

use super::{Line, Place, block_of};
use crate::{
    at::At,
    barrier,
    interrupt::{ConnectError, Mode},
    level::{Passive, irql},
};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

impl Line {
    /// Moves the line to `vector` of `cpu`; `reprogram` tells the controller, `false` says that it cannot. On an error
    /// nothing has changed. A line keeps its class, and with it the DIRQL of its members. PASSIVE; not from a member's
    /// callbacks.
    pub fn move_to(
        &self,
        at: &mut At<'_, Passive>,
        cpu: u32,
        vector: u8,
        reprogram: impl FnOnce(&mut At<'_, Passive>) -> bool,
    ) -> Result<(), ConnectError> {
        let _setup = self.setup.acquire(at);
        if vector >> 4 != self.irql() {
            return Err(ConnectError::OtherClass { irql: self.irql(), vector });
        }
        let old = self.place();
        // SAFETY: members change under `setup` alone.
        let members = unsafe { self.current() }.all();
        if members.is_empty() {
            return Err(ConnectError::NotConnected);
        }
        self.take_slot(at, (cpu, vector))?;
        // A pass would replay an edge on the vector that it was told.
        let _turn = self.pass.take_turn(at);
        self.shut(&mut at.raise_to_dirql(irql::DEVICE_HIGHEST).at);
        // The first barrier is for who settles the source at the same time and has not seen the new wish yet.
        barrier::flush_queued_dpcs(at);
        barrier::on_cpu(at, block_of(at.hal, old.0));
        let told = reprogram(at);
        if told {
            barrier::on_cpu(at, block_of(at.hal, old.0));
            self.empty_slot(at, old);
            barrier::on_cpu(at, block_of(at.hal, old.0));
            self.place.set(Place::new(cpu, vector));
            self.head.vector.store(vector, Relaxed);
            for member in members {
                // SAFETY: a member's object is alive while it is on the line.
                unsafe { (member.moved)(member.head, at, old.0) };
            }
        } else {
            self.empty_slot(at, (cpu, vector));
        }
        if self.mode == Mode::Latched {
            self.head.latched.store(true, SeqCst);
        }
        self.open(&mut at.raise_to_dirql(irql::DEVICE_HIGHEST).at);
        if told { Ok(()) } else { Err(ConnectError::Refused { cpu, vector }) }
    }
}
