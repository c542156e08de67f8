//! QEMU's `edu` device: it computes factorials, copies memory by DMA, and interrupts when it is done.
//!
//! The life of one request, a factorial:
//!
//! ```text
//! PASSIVE   EduFile::factorial  sends a request, waits for its completion
//! DISPATCH  EduControl          forwards it to the work queue, which gives out one request at a time
//! DISPATCH  EduWork             parks it on the desk, writes n to the device
//! DIRQL     evt_isr             reads the status, acknowledges it, adds it to the pending bits, queues the DPC
//! DISPATCH  evt_dpc             takes the pending bits, reads n!, completes the request that is on the desk
//! PASSIVE   EduFile::factorial  goes on with the answer
//! ```
//!
//! The work queue, the second half of the DPC and the timer that watches the device are of one scope: they never overlap, on any
//! CPU, and the scope's data, the [`Desk`], is theirs. Devices with an odd number go without a DPC: their interrupt's work item
//! does the same ([`EduWorkInterrupt`]).
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;

mod control;
mod desk;
mod error;
mod file;
mod work;

pub use control::{Counters, EduControl, code};
pub use desk::Desk;
pub use error::EduError;
pub use file::EduFile;
pub use work::{EduWork, Watch};

use desk::DMA_LIMIT;
use framework::prelude::*;

registers! {
    /// BAR 0.
    struct Regs {
        0x00 identification: Ro,
        0x04 liveness: Rw,
        0x08 factorial: Rw,
        0x20 status: Rw,
        0x24 irq_status: Ro,
        0x60 irq_raise: Wo,
        0x64 irq_ack: Wo,
        0x80 dma_source: Wo<u64>,
        0x88 dma_destination: Wo<u64>,
        0x90 dma_count: Wo<u64>,
        0x98 dma_command: Rw<u64>,
    }
}

/// The low byte of the identification register; the rest is the version.
const IDENTIFICATION: u32 = 0xed;
/// What a device that is gone answers.
const ALL_ONES: u32 = u32::MAX;

/// Status register: a factorial is being computed.
const COMPUTING: u32 = 0x01;
/// Status register: interrupt when it is done.
const INTERRUPT_WHEN_COMPUTED: u32 = 0x80;

/// Interrupt status: a factorial is done.
const FACTORIAL_DONE: u32 = 0x001;
/// Interrupt status: a transfer is done.
const DMA_DONE: u32 = 0x100;
/// Interrupt status: what [`EduFile::raise`] may raise.
const RAISED: u32 = 0xfe;
/// Interrupt status: what somebody may wait for.
const AWAITED: u32 = FACTORIAL_DONE | DMA_DONE | RAISED;
/// Interrupt status: what is looked at after the ISR. The bits above mean nothing; acknowledging them is all they need.
const FOR_LATER: u32 = 0xffff;

/// DMA command: go; set as long as the transfer lasts.
const DMA_RUN: u64 = 1;

/// The device's buffer has 4096 bytes, of which the last must not be touched: QEMU 7.2 aborts.
pub const USABLE_BUFFER: usize = 4095;
/// The longest transfer.
pub const LONGEST_TRANSFER: usize = 2048;

/// Nanoseconds that a request may take: twenty times what the device's slowest one does.
const TIME_OUT: u64 = 2_000_000_000;
/// Nanoseconds between two looks at a transfer that nobody waits for.
const PAUSE: u64 = 10_000_000;

/// A started edu device. It exists exactly as long as its hardware may be touched.
pub struct Edu {
    regs: Regs,
    /// Shared with the ISR: whoever wants it raises to the ISR's level.
    pending: InterruptLock<Pending>,
    /// What the device is asked, and who asks.
    scope: Scope<Desk>,
    /// Where requests wait that the device takes time for.
    work: IoQueue<EduWork>,
    /// Expires when the device has not answered.
    watch: Timer<Watch>,
    /// What a transfer carries.
    memory: DmaBuffer,
}

/// Belongs to the ISR.
#[derive(Default)]
pub struct Pending {
    /// Interrupt status bits seen and not yet served. They add up: two interrupts may come before one DPC.
    status: u32,
    seen: u64,
}

impl Device for Edu {
    const NAME: &'static str = "edu";
    const IDS: &'static [PciId] = &[PciId(0x1234, 0x11e8)];
    type Driver = (); // nothing is shared by all edu devices
    type Added = (); // nothing outlives the hardware

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let regs: Regs = hw.map_bar(at, 0)?;
        match regs.identification.read(at) {
            ALL_ONES => return Err(Status::Gone),
            id if id & 0xff != IDENTIFICATION => return Err(Status::Failed("the device does not identify as an edu")),
            _ if !is_alive(&regs, at) => return Err(Status::Failed("the device fails the liveness check")),
            _ if is_transferring(&regs, at) => return Err(Status::Failed("the device is still at an old transfer")),
            _ => {}
        }
        // The handles are not needed: whoever wants something of the interrupt goes through its lock.
        let pending = InterruptLock::new(Pending::default());
        if hw.instance() % 2 == 0 {
            hw.interrupt(EduInterrupt, &pending).create()?;
        } else {
            hw.interrupt(EduWorkInterrupt, &pending).create()?;
        }
        let work = hw.io_queue(EduWork).takes(RequestKind::Read).takes(RequestKind::Write).create()?;
        hw.io_queue(EduControl).takes(RequestKind::Control).parallel(usize::MAX).create()?;
        Ok(Edu {
            regs,
            pending,
            scope: Scope::new(Desk::default()),
            work,
            watch: hw.timer(Watch).create(),
            memory: hw.dma_buffer(at, LONGEST_TRANSFER, DMA_LIMIT)?,
        })
    }

    /// Nothing to do for the interrupt itself: the device has no switch for it, only for what a factorial does when it is
    /// done. Transfers say with their command that they interrupt.
    fn d0_entry(&self, _: PowerState, at: &mut At<'_, Passive>) -> Result<()> {
        self.regs.status.write(at, INTERRUPT_WHEN_COMPUTED);
        Ok(())
    }

    /// A transfer cannot be called back, and its memory is given back after this: waits until it is over.
    fn d0_exit(&self, _: PowerState, at: &mut At<'_, Passive>) {
        let (give_up, pause) = (at.now() + TIME_OUT, Event::new());
        while is_transferring(&self.regs, at) && at.now() < give_up {
            // Nobody sets it: this is a pause.
            let _ = pause.wait_timeout(at, PAUSE);
        }
        self.regs.status.write(at, 0);
        // What it says now nobody will hear: take it back, or it would still say so at the next start.
        let status = self.regs.irq_status.read(at);
        self.regs.irq_ack.write(at, status);
    }
}

/// The interrupt of the devices with an even number: the ISR queues a DPC.
pub struct EduInterrupt;

impl EvtIsr for EduInterrupt {
    type Device = Edu;
    type State = Pending;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, edu: &Edu, pending: &mut Pending, irq: &mut IsrCx<'_, Self>) -> Claim {
        let claim = pending.collect(&edu.regs, irq);
        if claim == Claim::Mine && pending.status != 0 {
            irq.queue_dpc();
        }
        claim
    }
}

impl EvtDpc for EduInterrupt {
    fn evt_dpc(&self, edu: &Edu, irq: &mut DpcCx<'_, Self>) {
        let status = irq.synchronize(|pending, _| core::mem::take(&mut pending.status));
        edu.serve(irq, status);
    }
}

/// The interrupt of the devices with an odd number: the ISR queues a work item, for drivers whose deferred work must be
/// able to wait.
pub struct EduWorkInterrupt;

impl EvtIsr for EduWorkInterrupt {
    type Device = Edu;
    type State = Pending;
    type Level = Dirql;
    type Deferred = ByWorkItem;

    fn evt_isr(&self, edu: &Edu, pending: &mut Pending, irq: &mut IsrCx<'_, Self>) -> Claim {
        let claim = pending.collect(&edu.regs, irq);
        if claim == Claim::Mine && pending.status != 0 {
            irq.queue_work_item();
        }
        claim
    }
}

impl EvtWorkItem for EduWorkInterrupt {
    fn evt_work_item(&self, edu: &Edu, irq: &mut WorkCx<'_, Self>) {
        let status = irq.synchronize(|pending, _| core::mem::take(&mut pending.status));
        edu.serve(irq, status);
    }
}

impl Pending {
    /// In the ISR: notes what the device interrupts for, and quiets it.
    fn collect(&mut self, regs: &Regs, at: &mut At<'_, Dirql>) -> Claim {
        let status = regs.irq_status.read(at);
        if status == 0 || status == ALL_ONES {
            return Claim::NotMine;
        }
        regs.irq_ack.write(at, status);
        self.status |= status & FOR_LATER;
        self.seen += 1;
        Claim::Mine
    }
}

impl Edu {
    /// Continues after the ISR, from the DPC or the work item: into the scope, if there is anything that somebody may wait for.
    fn serve<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>, status: u32) {
        if status & AWAITED != 0 {
            self.scope.enter(at, |desk, at| desk.serve(self, at, status));
        }
    }

    /// Makes the device interrupt with `bits` that no request asked for, as a device may at any time: waits for nothing.
    /// Any IRQL.
    #[inline]
    pub fn raise_unasked<L: Level>(&self, at: &mut At<'_, L>, bits: u32) {
        self.regs.irq_raise.write(at, bits);
    }

    /// What the driver knows about its interrupts. IRQL <= DISPATCH.
    pub fn counters<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> Counters {
        let raised = self.scope.enter(at, |desk, _| desk.raised());
        Counters { raised, seen: at.at_dispatch(|at| self.pending.synchronize(at, |pending, _| pending.seen)) }
    }
}

/// The device turns every bit of what is written to its liveness register. What is gone reads all ones.
fn is_alive<L: Level>(regs: &Regs, at: &mut At<'_, L>) -> bool {
    const PATTERN: u32 = 0x1d0d_0ed0;
    regs.liveness.write(at, PATTERN);
    regs.liveness.read(at) == !PATTERN
}

/// Whether a transfer is under way. What is gone transfers nothing.
fn is_transferring<L: Level>(regs: &Regs, at: &mut At<'_, L>) -> bool {
    let command = regs.dma_command.read(at);
    command != u64::MAX && command & DMA_RUN != 0
}

/// Whether a factorial is being computed. What is gone computes nothing.
fn is_computing<L: Level>(regs: &Regs, at: &mut At<'_, L>) -> bool {
    let status = regs.status.read(at);
    status != ALL_ONES && status & COMPUTING != 0
}
