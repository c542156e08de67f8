//! QEMU's `ivshmem-doorbell`: memory shared with other virtual machines, and a message from any of them for each vector.

use super::{Bar, BusAccess, Identity, Model, MsiX, PciModel, Step};

const VENDOR: u16 = 0x1af4;
const DEVICE: u16 = 0x1110;

/// BARs.
const REGISTERS: usize = 0;
const TABLES: usize = 1;
const MEMORY: usize = 2;

/// Register offsets.
const POSITION: u64 = 0x08;
const DOORBELL: u64 = 0x0c;

const MEMORY_LEN: usize = 4096;

/// A model of QEMU's `ivshmem-doorbell` with MSI-X. Peers ring in the order in which they were told to, whenever the
/// explorer wants them to.
#[derive(Debug)]
pub struct Ivshmem {
    position: u16,
    vectors: u8,
    memory: Vec<u8>,
    rings: Vec<u8>,
    sent: Vec<(u16, u16)>,
}

impl Ivshmem {
    /// A device that is number `position` among the peers, with `vectors` messages.
    pub fn new(position: u16, vectors: u8) -> Self {
        Ivshmem { position, vectors, memory: vec![0; MEMORY_LEN], rings: Vec::new(), sent: Vec::new() }
    }

    /// Lets other machines ring these vectors of this one, one after another.
    pub fn ring_later(&mut self, vectors: &[u8]) {
        assert!(vectors.iter().all(|vector| *vector < self.vectors), "there are {} vectors", self.vectors);
        self.rings.extend_from_slice(vectors);
    }

    /// What this machine has rung: each peer and vector.
    pub fn sent(&self) -> &[(u16, u16)] {
        &self.sent
    }
}

impl PciModel for Ivshmem {
    fn identity(&self) -> Identity {
        let bars = vec![Bar::memory32(0x100), Bar::memory32(0x1000), Bar::memory64(MEMORY_LEN as u64)];
        let msix = Some(MsiX { messages: self.vectors.into(), bar: TABLES, table: 0, pending: 0x800 });
        Identity { class: 0x05_0000, revision: 1, bars, msix, ..Identity::new(VENDOR, DEVICE) }
    }
}

impl Model for Ivshmem {
    fn read(&mut self, bar: usize, offset: u64, width: usize, _: &mut BusAccess<'_>) -> u64 {
        match (bar, offset, width) {
            (REGISTERS, POSITION, 4) => self.position.into(),
            (REGISTERS, _, 4) => 0,
            (MEMORY, ..) => {
                let bytes = self.memory.iter().skip(offset as usize).take(width);
                bytes.rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
            }
            _ => u64::MAX,
        }
    }

    fn write(&mut self, bar: usize, offset: u64, width: usize, value: u64, bus: &mut BusAccess<'_>) {
        match (bar, offset, width) {
            (REGISTERS, DOORBELL, 4) => {
                let (peer, vector) = ((value >> 16) as u16, value as u16);
                self.sent.push((peer, vector));
                // A vector that does not exist rings nobody.
                let here = peer == self.position && vector < u16::from(self.vectors);
                here.then(|| bus.interrupt(vector as u8));
            }
            (MEMORY, ..) => {
                let bytes = self.memory.iter_mut().skip(offset as usize).take(width);
                bytes.zip(value.to_le_bytes()).for_each(|(byte, new)| *byte = new);
            }
            _ => {}
        }
    }

    fn steps(&self, steps: &mut Vec<Step>) {
        if !self.rings.is_empty() {
            steps.push(Step::soon(0, "rung by a peer"));
        }
    }

    fn step(&mut self, _: u32, bus: &mut BusAccess<'_>) {
        let vector = self.rings.remove(0);
        bus.interrupt(vector);
    }
}
