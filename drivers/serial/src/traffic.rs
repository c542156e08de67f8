//! What the port's ISR and everybody else share, and what the ISR does with it: bytes between the chip and two rings.
//!
//! **Invariant:** while something waits to be sent, the chip's transmit interrupt is on.

use crate::ring::Ring;

/// The longest queue in either direction.
pub const ROOM: usize = 4096;
/// What the chip's own transmit queue holds.
pub const FIFO: usize = 16;
/// An ISR looks so often for another cause: more than the chip can have unless it is broken.
const MOST_CAUSES: usize = 256;

/// Interrupt enable: something was received.
pub const RECEIVE: u8 = 0x01;
/// Interrupt enable: the chip can be given more to send.
pub const TRANSMIT: u8 = 0x02;
/// Interrupt enable: something went wrong on the line.
pub const LINE_STATUS: u8 = 0x04;

/// Interrupt identification: nothing is pending.
const NOTHING_PENDING: u8 = 0x01;
/// What a port that is not there answers.
const ALL_ONES: u8 = 0xff;

/// Line status: there is a byte to read.
pub const DATA_READY: u8 = 0x01;
/// Line status: a byte came with no room in the chip.
pub const OVERRUN: u8 = 0x02;
/// Line status: parity, framing, break.
const BAD: u8 = 0x1c;
/// Line status: the chip can be given more to send.
pub const TRANSMIT_EMPTY: u8 = 0x20;

/// The chip's registers, as the ISR uses them. A trait, so that it can be tested without a chip.
pub trait Chip {
    /// What the chip interrupts for (IIR).
    fn interrupt_id(&mut self) -> u8;
    /// What happened on the line (LSR); reading takes errors away.
    fn line_status(&mut self) -> u8;
    /// What happened to the modem's lines (MSR); reading takes it away.
    fn modem_status(&mut self) -> u8;
    /// The oldest received byte.
    fn receive(&mut self) -> u8;
    /// Gives the chip a byte to send.
    fn transmit(&mut self, byte: u8);
    /// What the chip may interrupt for (IER).
    fn enable_interrupts(&mut self, bits: u8);
}

/// Behind the interrupt lock.
#[derive(Debug)]
pub struct Traffic {
    received: Ring<ROOM>,
    to_send: Ring<ROOM>,
    on: bool,
    /// What arrives stays in the chip.
    held: bool,
    counters: Counters,
}

/// What has come and gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes received, those dropped too.
    pub received: u64,
    /// Bytes that came when nobody had read for too long.
    pub dropped: u64,
    /// Times that bytes were lost in the chip, because the ISR came too late.
    pub overruns: u64,
    /// Bytes with a wrong parity or frame, and breaks.
    pub bad: u64,
    /// Bytes given to the chip.
    pub sent: u64,
    /// Interrupts that were the port's.
    pub interrupts: u64,
}

/// What an interrupt was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// Nothing: it was not the port's.
    Nothing,
    /// Nobody else has anything to do.
    Quietly,
    /// Somebody may wait for it: there are bytes to read, or room to write.
    News,
}

impl Default for Traffic {
    fn default() -> Self {
        Traffic::new()
    }
}

impl Traffic {
    /// Nothing received, nothing to send, switched off.
    pub fn new() -> Self {
        Traffic { received: Ring::new(), to_send: Ring::new(), on: false, held: false, counters: Counters::default() }
    }

    /// What has come and gone.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Lets the chip interrupt.
    pub fn switch_on(&mut self, chip: &mut impl Chip) {
        (self.on, self.held) = (true, false);
        self.settle_interrupts(chip);
    }

    /// Lets it interrupt no more.
    pub fn switch_off(&mut self, chip: &mut impl Chip) {
        self.on = false;
        self.settle_interrupts(chip);
    }

    /// Leaves in the chip what arrives from here on, until it is switched on again.
    pub fn hold(&mut self, chip: &mut impl Chip) {
        self.held = true;
        self.settle_interrupts(chip);
    }

    /// Serves every cause until the chip has none: its line is an edge, and comes down only then.
    pub fn serve(&mut self, chip: &mut impl Chip) -> Served {
        let mut served = Served::Nothing;
        for _ in 0..MOST_CAUSES {
            let id = chip.interrupt_id();
            if id & NOTHING_PENDING != 0 || id == ALL_ONES {
                break;
            }
            if served == Served::Nothing {
                served = Served::Quietly;
                self.counters.interrupts += 1;
            }
            let news = match id & 0x0f {
                0x00 => {
                    // Reading it is what takes the cause away.
                    let _lines = chip.modem_status();
                    false
                }
                0x02 => self.send(chip),
                // Received, received long ago, line status.
                _ => self.receive(chip),
            };
            if news {
                served = Served::News;
            }
        }
        served
    }

    /// Takes out what was received.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        self.received.pop_all(into)
    }

    /// Queues as many of `bytes` as there is room for. The chip interrupts for the first of them, since it is empty.
    pub fn write(&mut self, chip: &mut impl Chip, bytes: &[u8]) -> usize {
        let n = self.to_send.push_all(bytes);
        self.settle_interrupts(chip);
        n
    }

    /// Whether nothing waits to be sent.
    pub fn is_sent(&self) -> bool {
        self.to_send.is_empty()
    }

    fn receive(&mut self, chip: &mut impl Chip) -> bool {
        let mut any = false;
        loop {
            let status = chip.line_status();
            self.counters.overruns += u64::from(status & OVERRUN != 0);
            self.counters.bad += u64::from(status & BAD != 0);
            if status & DATA_READY == 0 || status == ALL_ONES {
                return any;
            }
            let byte = chip.receive();
            self.counters.received += 1;
            self.counters.dropped += u64::from(!self.received.push(byte));
            any = true;
        }
    }

    /// `true`: there is much room again.
    fn send(&mut self, chip: &mut impl Chip) -> bool {
        if chip.line_status() & TRANSMIT_EMPTY == 0 {
            return false;
        }
        let mut bytes = [0; FIFO];
        let n = self.to_send.pop_all(&mut bytes);
        // Before the last bytes go, or the chip would say once more that it is empty, to nobody's use.
        if self.to_send.is_empty() {
            self.settle_interrupts(chip);
        }
        bytes[..n].iter().for_each(|byte| chip.transmit(*byte));
        self.counters.sent += n as u64;
        self.to_send.len() <= ROOM / 2
    }

    fn settle_interrupts(&mut self, chip: &mut impl Chip) {
        let transmit = if self.to_send.is_empty() { 0 } else { TRANSMIT };
        let receive = if self.held { 0 } else { RECEIVE | LINE_STATUS };
        chip.enable_interrupts(if self.on { receive | transmit } else { 0 });
    }
}
