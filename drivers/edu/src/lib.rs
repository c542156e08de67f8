//! QEMU's `edu` device: it computes factorials, copies memory by DMA, and interrupts when it is done.
//!
//! The life of one request, a factorial:
//!
//! ```text
//! PASSIVE   Edu::factorial      clears the event, writes n to the device, waits
//! DIRQL     evt_isr             reads the status, acknowledges it, adds it to the pending bits, queues the DPC
//! DISPATCH  evt_dpc             takes the pending bits, reads n!, sets the event
//! PASSIVE   Edu::factorial      goes on with the answer
//! ```
//!
//! A DMA transfer takes one step more: the DPC enqueues a work item, which compares the data at PASSIVE. Devices with an
//! odd number go without a DPC: their interrupt's own work item does the same work ([`EduWorkInterrupt`]).
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod error;

pub use error::EduError;

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
/// Interrupt status: what [`Edu::raise`] may raise.
const RAISED: u32 = 0xfe;
/// Interrupt status: what is looked at after the ISR. The bits above mean nothing; acknowledging them is all they need.
const FOR_LATER: u32 = 0xffff;

/// DMA command: go; set as long as the transfer lasts.
const DMA_RUN: u64 = 1;
/// DMA command: from the device to memory, not the other way.
const DMA_TO_MEMORY: u64 = 2;
/// DMA command: interrupt when it is done.
const DMA_INTERRUPT: u64 = 4;
/// The device's buffer in the device's own address space.
const DMA_BUFFER: u64 = 0x40000;
/// The device cuts addresses off above 28 bits.
const DMA_LIMIT: u64 = (1 << 28) - 1;

/// The device's buffer has 4096 bytes, of which the last must not be touched: QEMU 7.2 aborts.
pub const USABLE_BUFFER: usize = 4095;
/// The longest transfer.
pub const LONGEST_TRANSFER: usize = 2048;

/// Bytes filled or compared at a time, on the stack.
const PIECE: usize = 256;

/// Nanoseconds that a request may take: twenty times what the device's slowest one does.
const TIME_OUT: u64 = 2_000_000_000;
/// Nanoseconds between two looks at a transfer that nobody waits for.
const PAUSE: u64 = 10_000_000;

/// A started edu device. It exists exactly as long as its hardware may be touched.
pub struct Edu {
    regs: Regs,
    /// Shared with the ISR: whoever wants it raises to the ISR's level.
    pending: InterruptLock<Pending>,
    /// Held by the thread whose request the device works on.
    turn: WaitLock<()>,
    /// Shared with the DPC or work item, which answer the request.
    request: SpinLock<Request>,
    /// **Invariant:** set and cleared under the lock of `request`, so it belongs to the request that is there.
    done: Event,
    /// What is sent lies in the first half, what comes back in the second.
    memory: DmaBuffer,
    compare: WorkItem<CompareData>,
}

/// Belongs to the ISR.
#[derive(Default)]
pub struct Pending {
    /// Interrupt status bits seen and not yet served. They add up: two interrupts may come before one DPC.
    status: u32,
    seen: u64,
}

/// What the device was asked, and what came of it.
#[derive(Default)]
struct Request {
    /// `None`: nobody waits, and what still comes is ignored.
    kind: Option<Kind>,
    answer: Option<Result<u32, EduError>>,
    raised: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Factorial,
    Raise,
    Transfer(Direction, usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToDevice,
    ToMemory,
}

/// How many interrupts there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Interrupts that the driver has asked the device for, one a request.
    pub raised: u64,
    /// Interrupts that the ISR has claimed.
    pub seen: u64,
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
        Ok(Edu {
            regs,
            pending,
            turn: WaitLock::new(()),
            done: Event::new(),
            request: SpinLock::new(Request::default()),
            memory: hw.dma_buffer(at, 2 * LONGEST_TRANSFER, DMA_LIMIT)?,
            compare: hw.work_item(CompareData),
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
        let give_up = at.now() + TIME_OUT;
        while is_transferring(&self.regs, at) && at.now() < give_up {
            self.done.clear(at);
            // Nobody sets it any more: this is a pause.
            let _ = self.done.wait_timeout(at, PAUSE);
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

/// Looks at what a transfer brought, at PASSIVE, where there is time.
pub struct CompareData;

impl EvtWorkItemFunc for CompareData {
    type Device = Edu;

    fn evt_work_item_func(&self, edu: &Edu, at: &mut At<'_, Passive>) {
        let kind = edu.request.acquire(at).kind;
        let Some(Kind::Transfer(direction, len)) = kind else { return };
        let answer = match direction {
            Direction::ToDevice => Ok(len as u32),
            Direction::ToMemory => edu.compare_halves(at, len),
        };
        edu.answer(at, Kind::Transfer(direction, len), answer);
    }
}

/// What threads ask of the device. One request at a time: another is [`EduError::Busy`].
impl Edu {
    /// `n`!, modulo 2^32. PASSIVE: waits for the device.
    pub fn factorial(&self, at: &mut At<'_, Passive>, n: u32) -> Result<u32, EduError> {
        let _turn = self.turn.try_acquire(at).ok_or(EduError::Busy)?;
        match self.regs.status.read(at) {
            ALL_ONES => return Err(EduError::Gone),
            status if status & COMPUTING != 0 => return Err(EduError::Busy),
            _ => {}
        }
        self.ask(at, Kind::Factorial, |regs, at| regs.factorial.write(at, n))
    }

    /// Makes the device interrupt with `bits` that no request asked for, as a device may at any time: waits for nothing.
    /// Any IRQL.
    #[inline]
    pub fn raise_unasked<L: Level>(&self, at: &mut At<'_, L>, bits: u32) {
        self.regs.irq_raise.write(at, bits);
    }

    /// Makes the device interrupt with `bits` of 0xfe, and waits until that was served. PASSIVE.
    /// Returns the bits.
    pub fn raise(&self, at: &mut At<'_, Passive>, bits: u32) -> Result<u32, EduError> {
        if bits == 0 || bits & !RAISED != 0 {
            return Err(EduError::NotRaisable { bits });
        }
        let _turn = self.turn.try_acquire(at).ok_or(EduError::Busy)?;
        self.ask(at, Kind::Raise, |regs, at| regs.irq_raise.write(at, bits))
    }

    /// Sends `len` bytes to `offset` of the device's buffer, fetches them back and compares. PASSIVE: waits for the
    /// device, twice. What the device would not survive is refused before it sees it.
    pub fn round_trip(&self, at: &mut At<'_, Passive>, offset: usize, len: usize) -> Result<(), EduError> {
        if len == 0 || len > LONGEST_TRANSFER || offset.saturating_add(len) > USABLE_BUFFER {
            return Err(EduError::OutOfBuffer { offset, len });
        }
        let _turn = self.turn.try_acquire(at).ok_or(EduError::Busy)?;
        self.fill(at, len)?;
        self.transfer(at, Direction::ToDevice, offset, len)?;
        self.transfer(at, Direction::ToMemory, offset, len)?;
        Ok(())
    }

    /// What the driver knows about its interrupts. PASSIVE.
    pub fn counters(&self, at: &mut At<'_, Passive>) -> Counters {
        let raised = self.request.acquire(at).raised;
        Counters { raised, seen: self.pending.synchronize(at, |pending, _| pending.seen) }
    }

    fn transfer(
        &self,
        at: &mut At<'_, Passive>,
        direction: Direction,
        offset: usize,
        len: usize,
    ) -> Result<u32, EduError> {
        if is_transferring(&self.regs, at) {
            return Err(EduError::Busy);
        }
        let ours = self.memory.device_address();
        let theirs = DMA_BUFFER + offset as u64;
        let (source, destination, command) = match direction {
            Direction::ToDevice => (ours, theirs, DMA_RUN | DMA_INTERRUPT),
            Direction::ToMemory => (theirs, ours + LONGEST_TRANSFER as u64, DMA_RUN | DMA_INTERRUPT | DMA_TO_MEMORY),
        };
        self.ask(at, Kind::Transfer(direction, len), |regs, at| {
            regs.dma_source.write(at, source);
            regs.dma_destination.write(at, destination);
            regs.dma_count.write(at, len as u64);
            regs.dma_command.write(at, command);
        })
    }

    /// Starts a request and waits for its answer. The caller has the turn.
    fn ask(
        &self,
        at: &mut At<'_, Passive>,
        kind: Kind,
        start: impl FnOnce(&Regs, &mut At<'_, Passive>),
    ) -> Result<u32, EduError> {
        self.request.with(at, |request, at| {
            *request = Request { kind: Some(kind), answer: None, raised: request.raised + 1 };
            self.done.clear(at);
        });
        start(&self.regs, at);
        let waited = self.done.wait_timeout(at, TIME_OUT);
        let answer = self.request.with(at, |request, _| {
            request.kind = None;
            request.answer.take()
        });
        match (answer, waited) {
            (Some(answer), _) => answer,
            (None, Err(WaitError::TimedOut)) if is_alive(&self.regs, at) => Err(EduError::TimedOut),
            // Stopped or removed during the wait, or silent because it is gone.
            (None, _) => Err(EduError::Gone),
        }
    }

    /// Continues after the ISR, from the DPC or the work item: what the device did is what it still says it did, since
    /// the bits may be those of a request that timed out long ago.
    fn serve<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>, status: u32) {
        if status & FACTORIAL_DONE != 0 && self.regs.status.read(at) & COMPUTING == 0 {
            let n = self.regs.factorial.read(at);
            // No factorial is all ones: from 2! on they are even.
            self.answer(at, Kind::Factorial, if n == ALL_ONES { Err(EduError::Gone) } else { Ok(n) });
        }
        if status & DMA_DONE != 0 && !is_transferring(&self.regs, at) {
            // `false`: enqueued already, or the device is stopping; nobody waits for more then.
            self.compare.enqueue(at);
        }
        let raised = status & RAISED;
        if raised != 0 {
            self.answer(at, Kind::Raise, Ok(raised));
        }
    }

    /// Answers the request `to`, unless it is no longer there.
    fn answer<L: AtMost<Dispatch>>(&self, at: &mut At<'_, L>, to: Kind, answer: Result<u32, EduError>) {
        self.request.with(at, |request, at| {
            if request.kind == Some(to) {
                request.kind = None;
                request.answer = Some(answer);
                self.done.set(at);
            }
        });
    }

    /// Writes what will be sent, different every time, and clears where it will come back.
    fn fill(&self, at: &mut At<'_, Passive>, len: usize) -> Result<(), EduError> {
        let salt = self.request.acquire(at).raised as usize;
        let mut sent = [0; PIECE];
        for start in (0..len).step_by(PIECE) {
            let piece = PIECE.min(len - start);
            for (n, byte) in sent[..piece].iter_mut().enumerate() {
                *byte = (7 * (start + n) + salt) as u8;
            }
            self.memory.copy_from(at, start, &sent[..piece])?;
            self.memory.copy_from(at, LONGEST_TRANSFER + start, &[0; PIECE][..piece])?;
        }
        Ok(())
    }

    /// Compares what was sent with what came back; returns how many bytes that was.
    fn compare_halves(&self, at: &mut At<'_, Passive>, len: usize) -> Result<u32, EduError> {
        let (mut sent, mut received) = ([0; PIECE], [0; PIECE]);
        for start in (0..len).step_by(PIECE) {
            let piece = PIECE.min(len - start);
            self.memory.copy_to(at, start, &mut sent[..piece])?;
            self.memory.copy_to(at, LONGEST_TRANSFER + start, &mut received[..piece])?;
            if let Some(n) = (0..piece).find(|&n| sent[n] != received[n]) {
                return Err(EduError::Different { at: start + n, sent: sent[n], received: received[n] });
            }
        }
        Ok(len as u32)
    }
}

/// The device turns every bit of what is written to its liveness register. What is gone reads all ones.
fn is_alive(regs: &Regs, at: &mut At<'_, Passive>) -> bool {
    const PATTERN: u32 = 0x1d0d_0ed0;
    regs.liveness.write(at, PATTERN);
    regs.liveness.read(at) == !PATTERN
}

/// Whether a transfer is under way. What is gone transfers nothing.
fn is_transferring<L: Level>(regs: &Regs, at: &mut At<'_, L>) -> bool {
    let command = regs.dma_command.read(at);
    command != u64::MAX && command & DMA_RUN != 0
}
