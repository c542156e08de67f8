//! What an interrupt was given.

use super::{assignment::Signal, handler::EvtIsr, object::Object};
use io::{Grant, Polarity};
use ke::{At, AtMost, CpuSet, Dispatch, IsrLevel, Mode};

/// CPUs in one group of Windows (Group).
const GROUP: u32 = 64;

/// What an interrupt was given: WDF_INTERRUPT_INFO, and the level of its lock. The affinity that was granted is one CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// The number of the message or line among the device's, from 0 (MessageNumber, for every kind of interrupt).
    pub number: u16,
    /// Message or line, with the line's polarity and whether it is shared.
    pub signal: Signal,
    /// The CPU that takes it.
    pub cpu: u32,
    /// The vector on that CPU.
    pub vector: u8,
    /// The ISR's level: the vector's class, or PASSIVE for a passive-level interrupt.
    pub irql: u8,
    /// The IRQL of `synchronize`, and of the ISR under its lock.
    pub synchronize_irql: u8,
    /// Latched for messages, and for lines as they are.
    pub mode: Mode,
    /// Whether it is connected and active now.
    pub active: bool,
}

impl Info {
    /// MessageSignaled.
    pub fn message_signaled(&self) -> bool {
        self.signal == Signal::Message
    }

    /// Polarity of its line, as firmware gives it; a message has none. (KMDF never fills its field.)
    pub fn polarity(&self) -> Option<Polarity> {
        match self.signal {
            Signal::Message => None,
            Signal::Line { polarity, .. } => Some(polarity),
        }
    }

    /// ShareDisposition: whether others may be on its line. A message is nobody else's.
    pub fn shared(&self) -> bool {
        matches!(self.signal, Signal::Line { shared: true, .. })
    }

    /// The CPU and the vector.
    pub fn grant(&self) -> Grant {
        Grant { cpu: self.cpu, vector: self.vector }
    }

    /// TargetProcessorSet: the one CPU of the grant.
    pub fn target_processors(&self) -> CpuSet {
        CpuSet::of([self.cpu])
    }

    /// Group: that CPU's, of 64.
    pub fn group(&self) -> u16 {
        (self.cpu / GROUP) as u16
    }
}

impl<H: EvtIsr> Object<H> {
    pub fn info<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> Option<Info> {
        let assignment = self.assigned.with(at, |assigned, _| assigned.clone())?;
        let Grant { cpu, vector } = assignment.grant(at);
        Some(Info {
            number: self.interrupt.routine().number,
            signal: assignment.signal(),
            cpu,
            vector,
            irql: if H::Level::PASSIVE { 0 } else { vector >> 4 },
            synchronize_irql: self.interrupt.lock().ceiling(),
            mode: assignment.mode(),
            active: self.interrupt.is_connected(),
        })
    }
}
