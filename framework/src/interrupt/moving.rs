//! Moving an interrupt to other CPUs while its device goes on interrupting.
//!
//! The new vector is taken before the old one is given back, and the old one given back when nothing can come on it.

use super::{
    assignment::{Assignment, Block},
    handler::EvtIsr,
    object::{Object, Target},
};
use crate::{Result, Status};
use io::{Affinity, Grant, MessageSource, Policy};
use ke::{At, Passive, irql};

impl<H: EvtIsr> Object<H> {
    pub fn set_affinity(&self, affinity: &Affinity, at: &mut At<'_, Passive>) -> Result<Grant> {
        let setup = self.setup.acquire(at);
        let target = setup.target.as_ref().ok_or(Status::NotStarted)?;
        match &target.assignment {
            Assignment::Message { block, source, .. } => self.move_message(target, block, source, affinity, at),
            Assignment::Line { line, .. } => {
                target.shared.lines.move_to(&target.shared.vectors, line.gsi, affinity, at)
            }
        }
    }

    /// With `setup` held.
    fn move_message(
        &self,
        target: &Target<H::Device>,
        block: &Block,
        source: &MessageSource,
        affinity: &Affinity,
        at: &mut At<'_, Passive>,
    ) -> Result<Grant> {
        if block.count > 1 {
            return Err(Status::OneBlock { messages: block.count });
        }
        let ceiling = self.interrupt.lock().settled_ceiling().unwrap_or(irql::DEVICE_HIGHEST);
        let policy = Policy { affinity: affinity.clone(), ..self.interrupt.routine().wishes.policy };
        let new = target.shared.vectors.acquire(at).assign(&policy, ceiling, 1)?;
        let mut told = Ok(());
        let moved = self.interrupt.move_to(at, new.cpu, new.vector, |at, message| told = source.reprogram(at, message));
        let unused = if moved.is_ok() { block.move_to(new, at) } else { new };
        target.shared.vectors.acquire(at).free(unused, 1);
        moved?;
        // A function that could not be told sends nothing any more: it is gone.
        told?;
        Ok(new)
    }
}
