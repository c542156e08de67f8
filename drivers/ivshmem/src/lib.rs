//! QEMU's `ivshmem-doorbell`: virtual machines, and programs beside them, that ring one another.
//!
//! Every peer has a number and as many vectors as the device has messages. Each vector is an interrupt of its own, all of one
//! handler type, each with its own state and lock: they may be served on all CPUs at once.
//!
//! ```text
//! PASSIVE   Ivshmem::ring   a peer, perhaps this one, rings
//! DIRQL     evt_isr         counts: a message says by itself who rang, so there is nothing to ask
//! DISPATCH  evt_dpc         sets the vector's event
//! PASSIVE   Ivshmem::wait   goes on
//! ```
//!
//! A ring says no more than that somebody rang; what else there is to say stands in the memory that the peers share.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;

use alloc::vec::Vec;
use framework::{Mmio, OutOfRange, RegisterBlock, Signal, prelude::*};

registers! {
    /// BAR 0. The two registers before are for devices without messages.
    struct Regs {
        0x08 position: Ro,
        0x0c doorbell: Wo,
    }
}

/// BAR 2: the memory that all peers share, as words. What they mean is an agreement between the peers.
struct Shared(Mmio);

impl RegisterBlock for Shared {
    fn map(mmio: &Mmio) -> Result<Self, OutOfRange> {
        mmio.part(0, mmio.len()).map(Shared)
    }
}

/// What a device that is gone answers; while it has not been told yet it answers likewise.
const NO_POSITION: u32 = u32::MAX;

/// A started device.
pub struct Ivshmem {
    regs: Regs,
    shared: Shared,
    vectors: Vec<Vector>,
}

/// One vector.
struct Vector {
    interrupt: Interrupt<Doorbell>,
    rung: Event,
}

impl Device for Ivshmem {
    const NAME: &'static str = "ivshmem";
    const IDS: &'static [PciId] = &[PciId(0x1af4, 0x1110)];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        if hw.interrupts() == 0 {
            return Err(Status::Failed("nobody can ring this ivshmem: it has no messages"));
        }
        let vectors = (0..hw.interrupts())
            .map(|_| Ok(Vector { interrupt: hw.interrupt(Doorbell, 0).create()?, rung: Event::new() }))
            .collect::<Result<Vec<_>>>()?;
        Ok(Ivshmem { regs: hw.map_bar(at, 0)?, shared: hw.map_bar(at, 2)?, vectors })
    }

    /// An ISR that asks nobody must be alone with its interrupt.
    fn post_interrupts_enabled(&self, at: &mut At<'_, Passive>) -> Result<()> {
        let by_message = |vector: &Vector, at: &mut At<'_, Passive>| {
            vector.interrupt.info(at).is_some_and(|info| info.signal == Signal::Message)
        };
        match self.vectors.iter().all(|vector| by_message(vector, at)) {
            true => Ok(()),
            false => Err(Status::Failed("an ivshmem is driven by messages, not by its line")),
        }
    }
}

/// A vector's interrupt; which one, its message says.
pub struct Doorbell;

impl EvtIsr for Doorbell {
    type Device = Ivshmem;
    /// How often it was rung.
    type State = u64;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, _: &Ivshmem, rings: &mut u64, irq: &mut IsrCx<'_, Self>) -> Claim {
        *rings += 1;
        irq.queue_dpc();
        Claim::Mine
    }
}

impl EvtDpc for Doorbell {
    fn evt_dpc(&self, dev: &Ivshmem, irq: &mut DpcCx<'_, Self>) {
        let vector = usize::from(irq.message());
        dev.vectors[vector].rung.set(irq);
    }
}

impl Ivshmem {
    /// How many vectors there are.
    pub fn vectors(&self) -> u16 {
        // As many as were created, with numbers of 16 bits.
        self.vectors.len() as u16
    }

    /// This machine's number among the peers. PASSIVE.
    pub fn position(&self, at: &mut At<'_, Passive>) -> Result<u16> {
        match self.regs.position.read(at) {
            NO_POSITION => Err(Status::Gone),
            position => u16::try_from(position).map_err(|_| Status::Failed("the device's position has 16 bits")),
        }
    }

    /// Rings `vector` of `peer`. Nobody says whether there is such a peer. Any IRQL.
    pub fn ring<L: Level>(&self, at: &mut At<'_, L>, peer: u16, vector: u16) {
        self.regs.doorbell.write(at, u32::from(peer) << 16 | u32::from(vector));
    }

    /// How often `vector` of this machine was rung since the start, as its interrupts tell: rings that come faster than they
    /// are served may arrive as one. PASSIVE.
    pub fn rings(&self, at: &mut At<'_, Passive>, vector: u16) -> Result<u64> {
        Ok(self.vector(vector)?.interrupt.synchronize(at, |rings, _| *rings))
    }

    /// Waits until `vector` was rung more than `seen` times, and returns how often it was. PASSIVE.
    pub fn wait(&self, at: &mut At<'_, Passive>, vector: u16, seen: u64) -> Result<u64> {
        let Vector { interrupt, rung } = self.vector(vector)?;
        loop {
            rung.clear(at);
            let rings = interrupt.synchronize(at, |rings, _| *rings);
            if rings > seen {
                // Another waiter's event may have been cleared here.
                rung.set(at);
                return Ok(rings);
            }
            rung.wait(at)?;
        }
    }

    /// Word `n` of the shared memory. A device that is gone answers all ones. Any IRQL.
    pub fn word<L: Level>(&self, at: &mut At<'_, L>, n: u16) -> Result<u32, OutOfRange> {
        Ok(self.shared.0.register::<u32>(usize::from(n) * size_of::<u32>())?.read(at))
    }

    /// Writes word `n` of the shared memory. A peer that is rung after this sees it. Any IRQL.
    pub fn set_word<L: Level>(&self, at: &mut At<'_, L>, n: u16, value: u32) -> Result<(), OutOfRange> {
        self.shared.0.register::<u32>(usize::from(n) * size_of::<u32>())?.write(at, value);
        Ok(())
    }

    fn vector(&self, number: u16) -> Result<&Vector> {
        self.vectors.get(usize::from(number)).ok_or(Status::NoSuchResource { what: "vector", number })
    }
}
