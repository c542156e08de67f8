//! The machine's interrupt lines, as devices share them.
//!
//! **Invariant:** a line has a vector, and its controller an entry, exactly while a device has taken it. Whoever takes it
//! second gets the vector that is there.

use crate::{LineRow, Result, Status, assign::Wishes};
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use io::{Affinity, Grant, Line, LineController, LineError, LineSource, VectorSpace};
use ke::{At, CeilingTooLow, Passive, WaitLock};

/// The lines that are taken, by their number.
pub(crate) struct Lines {
    controller: Option<Arc<dyn LineController>>,
    taken: WaitLock<BTreeMap<u32, Taken>>,
}

struct Taken {
    line: Line,
    core: Arc<ke::Line>,
    source: Arc<LineSource>,
    users: u32,
}

impl Taken {
    fn grant(&self) -> Grant {
        Grant { cpu: self.core.cpu(), vector: self.core.vector() }
    }
}

impl Lines {
    pub fn new(controller: Option<Arc<dyn LineController>>) -> Self {
        Lines { controller, taken: WaitLock::new(BTreeMap::new()) }
    }

    /// Whether the machine can connect lines at all.
    pub fn are_usable(&self) -> bool {
        self.controller.is_some()
    }

    /// One device more uses `line`. The first one's wishes choose its vector; that of the others has to do for them.
    pub fn take(
        &self,
        vectors: &WaitLock<VectorSpace>,
        line: Line,
        wishes: Wishes<'_>,
        at: &mut At<'_, Passive>,
    ) -> Result<Arc<ke::Line>> {
        let controller = self.controller.as_ref().ok_or(LineError::NoSuchLine(line.gsi))?;
        let mut taken = self.taken.acquire(at);
        if let Some(there) = taken.get_mut(&line.gsi) {
            if there.line != line {
                return Err(Status::LineDiffers { wanted: line, there: there.line });
            }
            let irql = there.core.irql();
            if irql > wishes.ceiling {
                return Err(CeilingTooLow { line: irql, ceiling: wishes.ceiling }.into());
            }
            there.users += 1;
            return Ok(there.core.clone());
        }
        let grant = vectors.acquire(at).assign(wishes.policy, wishes.ceiling, 1)?;
        let source = match LineSource::program(at, controller, line, grant) {
            Ok(source) => source,
            Err(error) => {
                vectors.acquire(at).free(grant, 1);
                return Err(error.into());
            }
        };
        let source = Arc::new(source);
        let core = ke::Line::new(grant.cpu, grant.vector, line.trigger.into(), source.clone());
        taken.insert(line.gsi, Taken { line, core: core.clone(), source, users: 1 });
        Ok(core)
    }

    /// Undoes one [`Self::take`]: the device's interrupts are disconnected. After the last one the line has no vector.
    pub fn give_back(&self, vectors: &WaitLock<VectorSpace>, gsi: u32, at: &mut At<'_, Passive>) {
        let mut taken = self.taken.acquire(at);
        let there = taken.get_mut(&gsi).expect("a device gives back the lines that it has taken, once");
        there.users -= 1;
        if there.users == 0 {
            let grant = there.grant();
            // The core masked it when the last interrupt was disconnected.
            taken.remove(&gsi);
            vectors.acquire(at).free(grant, 1);
        }
    }

    /// Moves line `gsi`, with all who share it, to a CPU of `affinity`. On an error nothing has changed.
    pub fn move_to(
        &self,
        vectors: &WaitLock<VectorSpace>,
        gsi: u32,
        affinity: &Affinity,
        at: &mut At<'_, Passive>,
    ) -> Result<Grant> {
        let taken = self.taken.acquire(at);
        let there = taken.get(&gsi).ok_or(LineError::NoSuchLine(gsi))?;
        let old = there.grant();
        let new = vectors.acquire(at).assign_in_class(affinity, old.irql())?;
        let mut refused = None;
        let moved = there.core.move_to(at, new.cpu, new.vector, |at| {
            refused = there.source.reprogram(at, new).err();
            refused.is_none()
        });
        vectors.acquire(at).free(if moved.is_ok() { old } else { new }, 1);
        match (moved, refused) {
            (_, Some(error)) => Err(error.into()),
            (moved, None) => Ok(moved.map(|()| new)?),
        }
    }

    /// What the monitor shows.
    pub fn rows(&self, at: &mut At<'_, Passive>) -> Vec<LineRow> {
        let taken = self.taken.acquire(at);
        let row = |there: &Taken, at: &mut At<'_, Passive>| LineRow {
            line: there.line,
            grant: there.grant(),
            members: there.core.members(at),
            count: there.core.count(),
            unclaimed: there.core.unclaimed(),
            stormed: there.core.storm().is_some(),
        };
        taken.values().map(|there| row(there, at)).collect()
    }

    /// Lets a line that was masked for a storm interrupt again.
    pub fn forgive(&self, gsi: u32, at: &mut At<'_, Passive>) -> Result<()> {
        let core = self.taken.acquire(at).get(&gsi).map(|there| there.core.clone());
        core.ok_or(LineError::NoSuchLine(gsi))?.forgive(at);
        Ok(())
    }
}
