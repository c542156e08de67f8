//! A local APIC and the two things that hold interrupts off besides it: the task priority (CR8) and IF.
//!
//! **Invariant:** delivery asks what hardware asks (IF, CR8, classes in service) and nothing else. The level word is the
//! core's; a core that forgets to raise CR8 is interrupted here as it would be on a real machine.

/// The interrupt state of one CPU.
#[derive(Debug, Default)]
pub(crate) struct LocalApic {
    /// Requested vectors, one bit each (IRR).
    requested: [u64; 4],
    /// Vectors in service, lowest first (ISR): delivery order makes it ascend by class.
    in_service: Vec<u8>,
}

impl LocalApic {
    /// A message for `vector` arrives; a second one before delivery adds nothing.
    pub(crate) fn request(&mut self, vector: u8) {
        self.requested[usize::from(vector >> 6)] |= 1 << (vector & 63);
    }

    /// The vector that would be delivered now to a CPU with interrupts enabled and CR8 at `task_priority`.
    pub(crate) fn deliverable(&self, task_priority: u8) -> Option<u8> {
        let vector = self.highest_requested()?;
        let in_service = self.in_service.last().map_or(0, |vector| vector >> 4);
        (vector >> 4 > task_priority && vector >> 4 > in_service).then_some(vector)
    }

    /// Delivery of `vector`: from requested to in service.
    pub(crate) fn accept(&mut self, vector: u8) {
        self.requested[usize::from(vector >> 6)] &= !(1 << (vector & 63));
        self.in_service.push(vector);
    }

    /// End of interrupt: the highest class leaves service.
    pub(crate) fn end_of_interrupt(&mut self) -> Option<u8> {
        self.in_service.pop()
    }

    fn highest_requested(&self) -> Option<u8> {
        let word = self.requested.iter().rposition(|word| *word != 0)?;
        Some((word as u8) << 6 | (63 - self.requested[word].leading_zeros() as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_class_comes_first_and_holds_off_its_own_class() {
        let mut apic = LocalApic::default();
        apic.request(0x51);
        apic.request(0x83);
        assert_eq!(apic.deliverable(0), Some(0x83));
        apic.accept(0x83);
        apic.request(0x8f);
        assert_eq!(apic.deliverable(0), None);
        apic.request(0x91);
        assert_eq!(apic.deliverable(0), Some(0x91));
        apic.accept(0x91);
        assert_eq!((apic.end_of_interrupt(), apic.deliverable(0)), (Some(0x91), None));
        assert_eq!((apic.end_of_interrupt(), apic.deliverable(0)), (Some(0x83), Some(0x8f)));
    }

    #[test]
    fn the_task_priority_holds_off_classes_up_to_itself() {
        let mut apic = LocalApic::default();
        apic.request(0x51);
        assert_eq!((apic.deliverable(5), apic.deliverable(4)), (None, Some(0x51)));
    }

    #[test]
    fn two_requests_before_delivery_are_one() {
        let mut apic = LocalApic::default();
        apic.request(0xff);
        apic.request(0xff);
        apic.accept(0xff);
        apic.end_of_interrupt();
        assert_eq!(apic.deliverable(0), None);
    }
}
