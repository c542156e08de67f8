//! Interrupt vectors: 160 on each CPU, in the classes of the ten device IRQLs.
//!
//! A vector's class (`vector >> 4`) is its DIRQL. Every CPU has a table of its own, so the same number on two CPUs is
//! two vectors, and an interrupt goes to exactly one CPU. The assigner takes, among the allowed CPUs, the one with the
//! fewest vectors, and on it the emptiest class of the priority's band: interrupts spread over CPUs and levels.
//!
//! **Invariant:** classes 0 to 2 (exceptions, DISPATCH) and 13 to 15 (clock, IPI, HIGH) are never given to a device.

use alloc::{vec, vec::Vec};
use core::{fmt, ops::RangeInclusive};
use ke::{
    CpuSet,
    irql::{DEVICE_HIGHEST, DEVICE_LOWEST},
};

const CLASSES: usize = (DEVICE_HIGHEST - DEVICE_LOWEST + 1) as usize;

/// Which CPUs an interrupt may go to (WDF_INTERRUPT_POLICY). The grant is always one of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Affinity {
    /// IrqPolicyMachineDefault: any CPU, the least used.
    #[default]
    MachineDefault,
    /// IrqPolicyAllCloseProcessors. Without a locality table every CPU is close.
    AllClose,
    /// IrqPolicyOneCloseProcessor. Without a locality table every CPU is close.
    OneClose,
    /// IrqPolicyAllProcessorsInMachine.
    AllInMachine,
    /// IrqPolicySpreadMessagesAcrossAllProcessors: the messages of a device go to different CPUs.
    Spread,
    /// IrqPolicySpecifiedProcessors.
    Cpus(CpuSet),
}

impl Affinity {
    /// CPU `cpu` and no other.
    pub fn cpu(cpu: u32) -> Self {
        Affinity::Cpus(CpuSet::of([cpu]))
    }
}

/// How urgent an interrupt is among those of other devices (WDF_INTERRUPT_PRIORITY): a band of DIRQLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum Priority {
    /// DIRQL 3 to 5.
    Low,
    /// DIRQL 6 to 9.
    #[default]
    Normal,
    /// DIRQL 10 to 12.
    High,
}

impl Priority {
    /// The DIRQLs of the band. When they are full, the assigner takes another.
    pub const fn band(self) -> RangeInclusive<u8> {
        match self {
            Priority::Low => DEVICE_LOWEST..=5,
            Priority::Normal => 6..=9,
            Priority::High => 10..=DEVICE_HIGHEST,
        }
    }
}

/// What a driver wishes for its interrupt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Where it may go.
    pub affinity: Affinity,
    /// How urgent it is.
    pub priority: Priority,
}

/// What an interrupt got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The CPU that takes the interrupt.
    pub cpu: u32,
    /// Its vector there.
    pub vector: u8,
}

impl Grant {
    /// The DIRQL: the class of the vector.
    pub const fn irql(self) -> u8 {
        self.vector >> 4
    }

    /// The `n`-th vector of a block that starts here.
    pub fn nth(self, n: u16) -> Grant {
        Grant { cpu: self.cpu, vector: self.vector + n as u8 }
    }
}

/// No vector is left for an interrupt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoVector {
    /// The CPUs that were allowed and exist.
    pub cpus: CpuSet,
    /// The highest DIRQL that was allowed.
    pub ceiling: u8,
    /// How many vectors in a row were wanted.
    pub count: u16,
    /// Vectors in use on those CPUs, of every class.
    pub used: u32,
}

impl fmt::Display for NoVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoVector { cpus, ceiling, count, used } = self;
        if cpus.is_empty() {
            return write!(f, "the interrupt's affinity names no running CPU");
        }
        write!(f, "no {count} free vectors at or below IRQL {ceiling} are left on CPU {cpus}, where {used} are in use")
    }
}

impl core::error::Error for NoVector {}

/// The vectors of every CPU, taken and free.
#[derive(Debug)]
pub struct VectorSpace {
    /// For each CPU and device class, a bit for each vector taken.
    taken: Vec<[u16; CLASSES]>,
}

impl VectorSpace {
    /// All device vectors of `cpus` CPUs, free.
    pub fn new(cpus: u32) -> Self {
        VectorSpace { taken: vec![[0; CLASSES]; cpus as usize] }
    }

    /// Takes `count` consecutive vectors on one CPU, aligned to `count`, none above DIRQL `ceiling`. `count` is a
    /// power of two up to 16: one for a line or an MSI-X message, more for a function with several MSI messages.
    pub fn assign(&mut self, policy: &Policy, ceiling: u8, count: u16) -> Result<Grant, NoVector> {
        assert!(count.is_power_of_two() && count <= 16, "a block is a power of two within one class, not {count}");
        self.assign_by_use(&policy.affinity, ceiling, count, |space, cpu| {
            space.assign_on(cpu, policy.priority, ceiling, count)
        })
    }

    /// Takes a vector of class `irql`, for a line that moves: it keeps its class.
    pub fn assign_in_class(&mut self, affinity: &Affinity, irql: u8) -> Result<Grant, NoVector> {
        self.assign_by_use(affinity, irql, 1, |space, cpu| space.take(cpu, irql, 1))
    }

    /// What `assign_on` finds on the first CPU that has it, of those allowed, the least used first.
    fn assign_by_use(
        &mut self,
        affinity: &Affinity,
        ceiling: u8,
        count: u16,
        mut assign_on: impl FnMut(&mut Self, u32) -> Option<Grant>,
    ) -> Result<Grant, NoVector> {
        let cpus = self.allowed(affinity);
        let mut by_use: Vec<u32> = cpus.iter().collect();
        by_use.sort_by_key(|&cpu| (self.used(cpu), cpu));
        by_use.into_iter().find_map(|cpu| assign_on(self, cpu)).ok_or_else(|| {
            let used = cpus.iter().map(|cpu| self.used(cpu)).sum();
            NoVector { cpus, ceiling, count, used }
        })
    }

    /// Gives back what [`Self::assign`] granted for the same `count`. Nothing can arrive there any more.
    pub fn free(&mut self, grant: Grant, count: u16) {
        let taken = &mut self.taken[grant.cpu as usize][usize::from(grant.irql() - DEVICE_LOWEST)];
        let block = block(count) << (grant.vector & 0xf);
        assert_eq!(*taken & block, block, "vector {:#x} of CPU {} freed but not taken", grant.vector, grant.cpu);
        *taken &= !block;
    }

    /// How many vectors of `cpu` are taken.
    pub fn used(&self, cpu: u32) -> u32 {
        self.taken[cpu as usize].iter().map(|class| class.count_ones()).sum()
    }

    /// How many vectors are taken on all CPUs.
    pub fn total_used(&self) -> u32 {
        (0..self.taken.len() as u32).map(|cpu| self.used(cpu)).sum()
    }

    fn allowed(&self, affinity: &Affinity) -> CpuSet {
        let running = self.taken.len() as u32;
        match affinity {
            Affinity::Cpus(cpus) => CpuSet::of(cpus.iter().filter(|&cpu| cpu < running)),
            _ => CpuSet::all(running),
        }
    }

    fn assign_on(&mut self, cpu: u32, priority: Priority, ceiling: u8, count: u16) -> Option<Grant> {
        let classes = &self.taken[cpu as usize];
        let outside_band = |irql: u8| !priority.band().contains(&irql);
        let mut irqls: Vec<u8> = (DEVICE_LOWEST..=ceiling.min(DEVICE_HIGHEST)).collect();
        let taken = |irql: u8| classes[usize::from(irql - DEVICE_LOWEST)].count_ones();
        irqls.sort_by_key(|&irql| (outside_band(irql), taken(irql), irql));
        irqls.into_iter().find_map(|irql| self.take(cpu, irql, count))
    }

    fn take(&mut self, cpu: u32, irql: u8, count: u16) -> Option<Grant> {
        let class = &mut self.taken[cpu as usize][usize::from(irql - DEVICE_LOWEST)];
        let slot = (0..16).step_by(usize::from(count)).find(|slot| *class & block(count) << slot == 0)?;
        *class |= block(count) << slot;
        Some(Grant { cpu, vector: irql << 4 | slot as u8 })
    }
}

/// The lowest `count` bits.
fn block(count: u16) -> u16 {
    u16::MAX >> (16 - count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn policy(affinity: Affinity, priority: Priority) -> Policy {
        Policy { affinity, priority }
    }

    #[test]
    fn every_device_vector_is_granted_once_and_then_it_says_what_is_missing() {
        let mut space = VectorSpace::new(2);
        let grants: BTreeSet<Grant> =
            (0..320).map(|_| space.assign(&Policy::default(), DEVICE_HIGHEST, 1).unwrap()).collect();
        assert_eq!(grants.len(), 320);
        assert!(grants.iter().all(|grant| (3..=12).contains(&grant.irql())));
        let error = space.assign(&Policy::default(), DEVICE_HIGHEST, 1).unwrap_err();
        assert_eq!(error, NoVector { cpus: CpuSet::all(2), ceiling: 12, count: 1, used: 320 });
        assert_eq!(
            error.to_string(),
            "no 1 free vectors at or below IRQL 12 are left on CPU 0-1, where 320 are in use"
        );
    }

    #[test]
    fn spreads_over_cpus_and_over_the_classes_of_the_band() {
        let mut space = VectorSpace::new(4);
        let grants: Vec<Grant> = (0..8).map(|_| space.assign(&Policy::default(), DEVICE_HIGHEST, 1).unwrap()).collect();
        assert_eq!(grants.iter().map(|g| g.cpu).collect::<Vec<_>>(), [0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!((grants[0].irql(), grants[4].irql()), (6, 7));
    }

    #[test]
    fn the_priority_chooses_the_class_until_its_band_is_full() {
        let mut space = VectorSpace::new(1);
        let high = policy(Affinity::MachineDefault, Priority::High);
        let irqls: Vec<u8> = (0..49).map(|_| space.assign(&high, DEVICE_HIGHEST, 1).unwrap().irql()).collect();
        assert!(irqls[..48].iter().all(|irql| Priority::High.band().contains(irql)));
        assert_eq!(irqls[48], 3);
    }

    #[test]
    fn a_ceiling_is_never_exceeded() {
        let mut space = VectorSpace::new(1);
        let high = policy(Affinity::MachineDefault, Priority::High);
        for _ in 0..32 {
            assert!(space.assign(&high, 4, 1).unwrap().irql() <= 4);
        }
        assert_eq!(space.assign(&high, 4, 1).unwrap_err().ceiling, 4);
    }

    #[test]
    fn affinity_names_cpus_and_those_that_do_not_run_are_no_help() {
        let mut space = VectorSpace::new(2);
        let grant = space.assign(&policy(Affinity::cpu(1), Priority::Low), DEVICE_HIGHEST, 1).unwrap();
        assert_eq!((grant.cpu, grant.irql()), (1, 3));
        let error = space.assign(&policy(Affinity::cpu(7), Priority::Low), DEVICE_HIGHEST, 1).unwrap_err();
        assert_eq!(error.to_string(), "the interrupt's affinity names no running CPU");
    }

    #[test]
    fn a_line_that_moves_keeps_its_class() {
        let mut space = VectorSpace::new(2);
        let there = space.assign(&policy(Affinity::cpu(0), Priority::High), DEVICE_HIGHEST, 1).unwrap();
        let moved = space.assign_in_class(&Affinity::cpu(1), there.irql()).unwrap();
        assert_eq!((moved.cpu, moved.irql()), (1, there.irql()));
        for _ in 1..16 {
            space.assign_in_class(&Affinity::cpu(1), there.irql()).unwrap();
        }
        let error = space.assign_in_class(&Affinity::cpu(1), there.irql()).unwrap_err();
        assert_eq!((error.ceiling, error.used), (there.irql(), 16));
    }

    #[test]
    fn a_block_is_aligned_and_can_be_had_again_once_freed() {
        let mut space = VectorSpace::new(1);
        space.assign(&Policy::default(), DEVICE_HIGHEST, 1).unwrap();
        let block = space.assign(&Policy::default(), 6, 8).unwrap();
        assert_eq!(block.vector, 0x68);
        assert_eq!(block.nth(3).vector, 0x6b);
        space.free(block, 8);
        assert_eq!(space.total_used(), 1);
        assert_eq!(space.assign(&Policy::default(), 6, 8).unwrap(), block);
    }

    #[test]
    #[should_panic(expected = "freed but not taken")]
    fn freeing_what_was_not_granted_is_a_bug() {
        VectorSpace::new(1).free(Grant { cpu: 0, vector: 0x61 }, 1);
    }
}
