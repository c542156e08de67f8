//! CONNECT_FULLY_SPECIFIED: one interrupt, everything stated.

use super::ConnectFailure;
use alloc::sync::Arc;
use ke::{
    At, Connection, CpuSet, Interrupt, IsrLevel, Line, Mode, Passive, ServiceRoutine, Source,
    irql::{DEVICE_HIGHEST, PASSIVE},
    verifier,
};

/// What an interrupt is connected to, stated in full (IO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS).
pub struct FullySpecified {
    /// The vector.
    pub vector: u8,
    /// The vector's class; PASSIVE for a passive-level interrupt.
    pub irql: u8,
    /// Exact: who connects several with one lock states the highest IRQL of all in each. PASSIVE for a passive-level
    /// interrupt.
    pub synchronize_irql: u8,
    /// How the source signals.
    pub mode: Mode,
    /// ShareVector: whether others may be on the line. Nothing else is shared.
    pub share_vector: bool,
    /// ProcessorEnableMask: the CPUs that may take it. A vector belongs to one CPU: a line's is where the line is, that of
    /// a source of one's own the lowest running one in here.
    pub affinity: CpuSet,
    /// Has no meaning here: no code of the kernel uses floating-point registers, so there are none to save.
    pub floating_save: bool,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where an interrupt comes from.
pub enum Origin {
    /// A source that nobody shares, programmed for the vector and the CPU, and masked.
    Own(Arc<dyn Source>),
    /// A line, programmed likewise.
    Line(Arc<Line>),
}

impl FullySpecified {
    /// Connects `interrupt`: from here on its ISR may run, with `context`. PASSIVE. Undone by [`Interrupt::disconnect`].
    #[track_caller]
    pub fn connect<R: ServiceRoutine>(
        self,
        at: &mut At<'_, Passive>,
        interrupt: &Arc<Interrupt<R>>,
        context: R::Context,
    ) -> Result<(), ConnectFailure> {
        let cpu = self.cpu(at.cpu_count())?;
        self.check_levels(interrupt)?;
        if !R::Level::PASSIVE {
            interrupt.lock().settle(self.synchronize_irql)?;
        }
        match self.origin {
            Origin::Own(source) => {
                let connection = Connection { cpu, vector: self.vector, mode: self.mode, source };
                match verifier::is_enabled(at) {
                    true => interrupt.connect_verified(at, connection, context)?,
                    false => interrupt.connect(at, connection, context)?,
                }
            }
            Origin::Line(line) => interrupt.connect_line(at, &line, self.mode, self.share_vector, context)?,
        }
        Ok(())
    }

    fn cpu(&self, cpus: u32) -> Result<u32, ConnectFailure> {
        let wanted = match &self.origin {
            Origin::Line(line) => Some(line.cpu()),
            Origin::Own(_) => self.affinity.iter().find(|cpu| *cpu < cpus),
        };
        let no_cpu = || ConnectFailure::NoCpu { affinity: self.affinity.clone(), wanted };
        wanted.filter(|cpu| *cpu < cpus && self.affinity.contains(*cpu)).ok_or_else(no_cpu)
    }

    fn check_levels<R: ServiceRoutine>(&self, interrupt: &Interrupt<R>) -> Result<(), ConnectFailure> {
        let (vector, irql, synchronize_irql) = (self.vector, self.irql, self.synchronize_irql);
        if R::Level::PASSIVE {
            let passive = (irql, synchronize_irql) == (PASSIVE, PASSIVE);
            return if passive { Ok(()) } else { Err(ConnectFailure::NotPassive { irql, synchronize_irql }) };
        }
        if vector >> 4 != irql {
            return Err(ConnectFailure::WrongIrql { vector, irql });
        }
        if !(irql..=DEVICE_HIGHEST).contains(&synchronize_irql) {
            return Err(ConnectFailure::WrongSynchronizeIrql { irql, synchronize_irql });
        }
        match interrupt.lock().settled_ceiling() {
            Some(ceiling) if ceiling != synchronize_irql => {
                Err(ConnectFailure::OtherCeiling { ceiling, synchronize_irql })
            }
            _ => Ok(()),
        }
    }
}
