//! QEMU's `edu` device: a factorial unit, a DMA engine with a buffer of 4 KiB, an interrupt status register.

use super::{Bar, BusAccess, Identity, Model, PciModel, Step};

const VENDOR: u16 = 0x1234;
const DEVICE: u16 = 0x11e8;
const IDENTIFICATION: u32 = 0x0100_00ed;

/// Register offsets.
mod register {
    pub const IDENTIFICATION: u64 = 0x00;
    pub const LIVENESS: u64 = 0x04;
    pub const FACTORIAL: u64 = 0x08;
    pub const STATUS: u64 = 0x20;
    pub const IRQ_STATUS: u64 = 0x24;
    pub const IRQ_RAISE: u64 = 0x60;
    pub const IRQ_ACK: u64 = 0x64;
    pub const DMA_SOURCE: u64 = 0x80;
    pub const DMA_DESTINATION: u64 = 0x88;
    pub const DMA_COUNT: u64 = 0x90;
    pub const DMA_COMMAND: u64 = 0x98;
}

/// Bits of the status register.
mod status {
    pub const COMPUTING: u32 = 0x01;
    pub const IRQ_WHEN_DONE: u32 = 0x80;
}

/// Bits of the interrupt status register.
mod irq {
    pub const FACTORIAL: u32 = 0x001;
    pub const DMA: u32 = 0x100;
}

/// Bits of the DMA command.
mod command {
    pub const RUN: u64 = 1;
    pub const TO_RAM: u64 = 2;
    pub const IRQ_WHEN_DONE: u64 = 4;
}

const BUFFER: u64 = 0x40000;
const BUFFER_LEN: usize = 4096;
const DMA_TIME: u64 = 100_000_000;
/// The factorial is done by then, if not at once.
const FACTORIAL_TIME: u64 = 1_000_000;
const DMA_MASK: u64 = (1 << 28) - 1;

/// The steps.
const FACTORIAL_DONE: u32 = 0;
const DMA_DONE: u32 = 1;
const VANISH: u32 = 2;

/// A model of QEMU's `edu`, stricter where QEMU versions differ: a transfer that touches the last byte of the device's
/// buffer (which kills QEMU 7.2) or an address above 28 bits (which QEMU cuts off) fails the run.
#[derive(Debug)]
pub struct Edu {
    liveness: u32,
    factorial: u32,
    status: u32,
    irq_status: u32,
    dma: Dma,
    buffer: [u8; BUFFER_LEN],
    factorial_by: u64,
    hangs: bool,
    may_vanish: bool,
    raised: u64,
}

#[derive(Debug, Default)]
struct Dma {
    source: u64,
    destination: u64,
    count: u64,
    command: u64,
    done_at: u64,
}

impl Default for Edu {
    fn default() -> Self {
        Edu::new()
    }
}

impl Edu {
    /// A device after reset.
    pub fn new() -> Self {
        Edu {
            liveness: 0,
            factorial: 0,
            status: 0,
            irq_status: 0,
            dma: Dma::default(),
            buffer: [0; BUFFER_LEN],
            factorial_by: 0,
            hangs: false,
            may_vanish: false,
            raised: 0,
        }
    }

    /// Lets the explorer remove the device by surprise at any point: a deviation like any other.
    pub fn may_vanish(mut self) -> Self {
        self.may_vanish = true;
        self
    }

    /// A device that starts factorials and never finishes one: for time-outs.
    pub fn hangs(mut self) -> Self {
        self.hangs = true;
        self
    }

    /// How often the device has raised its interrupt.
    pub fn raised(&self) -> u64 {
        self.raised
    }

    fn raise(&mut self, bits: u32, bus: &mut BusAccess<'_>) {
        self.irq_status |= bits;
        if self.irq_status != 0 {
            self.raised += 1;
            bus.interrupt(0);
        }
    }

    fn finish_dma(&mut self, bus: &mut BusAccess<'_>) {
        let Dma { source, destination, count, command, .. } = self.dma;
        let to_ram = command & command::TO_RAM != 0;
        let (own, ram) = if to_ram { (source, destination) } else { (destination, source) };
        self.dma.command &= !command::RUN;
        let Some(range) = buffer_range(own, count) else {
            return bus.abort(format!("edu: a DMA of {count} bytes at {own:#x} leaves the device's buffer"));
        };
        if ram > DMA_MASK || count > DMA_MASK - ram {
            return bus.abort(format!("edu: a DMA of {count} bytes at {ram:#x} is above the device's 28 address bits"));
        }
        if to_ram {
            bus.dma_write(ram, &self.buffer[range]);
        } else {
            bus.dma_read(ram, &mut self.buffer[range]);
        }
        if command & command::IRQ_WHEN_DONE != 0 {
            self.raise(irq::DMA, bus);
        }
    }
}

/// The part of the buffer that a transfer touches, if it is one that every QEMU survives.
fn buffer_range(start: u64, count: u64) -> Option<std::ops::Range<usize>> {
    let start = start.checked_sub(BUFFER)?;
    let end = start.checked_add(count)?;
    (count > 0 && end < BUFFER_LEN as u64).then_some(start as usize..end as usize)
}

impl PciModel for Edu {
    fn identity(&self) -> Identity {
        let bars = vec![Bar::memory32(1 << 20)];
        Identity { class: 0x00_ff00, revision: 0x10, bars, msi_messages: 1, ..Identity::new(VENDOR, DEVICE) }
    }
}

impl Model for Edu {
    fn read(&mut self, _bar: usize, offset: u64, width: usize, _bus: &mut BusAccess<'_>) -> u64 {
        let wide = offset >= register::DMA_SOURCE && width == 8;
        if width != 4 && !wide {
            return u64::MAX;
        }
        match offset {
            register::IDENTIFICATION => IDENTIFICATION.into(),
            register::LIVENESS => self.liveness.into(),
            register::FACTORIAL => self.factorial.into(),
            register::STATUS => self.status.into(),
            register::IRQ_STATUS => self.irq_status.into(),
            register::DMA_SOURCE => self.dma.source,
            register::DMA_DESTINATION => self.dma.destination,
            register::DMA_COUNT => self.dma.count,
            register::DMA_COMMAND => self.dma.command,
            _ => u64::MAX,
        }
    }

    fn write(&mut self, _bar: usize, offset: u64, width: usize, value: u64, bus: &mut BusAccess<'_>) {
        let wide = offset >= register::DMA_SOURCE && width == 8;
        if width != 4 && !wide {
            return;
        }
        let running = self.dma.command & command::RUN != 0;
        match offset {
            register::LIVENESS => self.liveness = !(value as u32),
            register::FACTORIAL if self.status & status::COMPUTING == 0 => {
                self.factorial = value as u32;
                self.status |= status::COMPUTING;
                self.factorial_by = bus.now() + FACTORIAL_TIME;
            }
            register::STATUS => {
                let keep = self.status & !status::IRQ_WHEN_DONE;
                self.status = keep | (value as u32 & status::IRQ_WHEN_DONE);
            }
            register::IRQ_RAISE => self.raise(value as u32, bus),
            register::IRQ_ACK => self.irq_status &= !(value as u32),
            register::DMA_SOURCE if !running => self.dma.source = value,
            register::DMA_DESTINATION if !running => self.dma.destination = value,
            register::DMA_COUNT if !running => self.dma.count = value,
            register::DMA_COMMAND if !running && value & command::RUN != 0 => {
                self.dma.command = value;
                self.dma.done_at = bus.now() + DMA_TIME;
            }
            _ => {}
        }
    }

    fn steps(&self, steps: &mut Vec<Step>) {
        if self.status & status::COMPUTING != 0 && !self.hangs {
            steps.push(Step::before(FACTORIAL_DONE, "factorial done", self.factorial_by));
        }
        if self.dma.command & command::RUN != 0 {
            steps.push(Step::at(DMA_DONE, "DMA done", self.dma.done_at));
        }
        if self.may_vanish {
            steps.push(Step::perhaps(VANISH, "removed by surprise"));
        }
    }

    fn step(&mut self, id: u32, bus: &mut BusAccess<'_>) {
        match id {
            FACTORIAL_DONE => {
                // From 34 on the product is 0: it has more than 32 factors of 2.
                self.factorial = (1..=self.factorial.min(34)).fold(1, u32::wrapping_mul);
                self.status &= !status::COMPUTING;
                if self.status & status::IRQ_WHEN_DONE != 0 {
                    self.raise(irq::FACTORIAL, bus);
                }
            }
            DMA_DONE => self.finish_dma(bus),
            _ => bus.leave(),
        }
    }

    fn interrupt_status(&self) -> u64 {
        self.irq_status.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bus::Function, model::bench};

    /// An edu on a bus of its own, bus master, MSI on.
    type Bench = bench::Bench<Edu>;

    fn bench() -> Bench {
        let edu = Edu::new();
        let mut function = Function::new(&edu.identity());
        function.write(0x04, 2, 1 << 2);
        function.write(0x42, 2, 1);
        Bench::new(edu, Some(function))
    }

    fn dma(bench: &mut Bench, source: u64, destination: u64, count: u64, command: u64) {
        for (offset, value) in [(0x80, source), (0x88, destination), (0x90, count), (0x98, command)] {
            bench.write(offset, 4, value);
        }
        assert_eq!(bench.step(), Some("DMA done"));
    }

    #[test]
    fn it_identifies_itself_and_inverts() {
        let mut bench = bench();
        bench.write(0x04, 4, 0x0f0f_1234);
        assert_eq!((bench.read(0x00, 4), bench.read(0x04, 4)), (0x0100_00ed, 0xf0f0_edcb));
        assert_eq!(bench.read(0x00, 2), u64::MAX);
    }

    #[test]
    fn a_factorial_raises_its_interrupt_only_if_asked_to() {
        let mut bench = bench();
        bench.write(0x08, 4, 5);
        assert_eq!(bench.read(0x20, 4), 1);
        bench.write(0x08, 4, 6);
        assert_eq!(bench.step(), Some("factorial done"));
        assert_eq!((bench.read(0x08, 4), bench.read(0x20, 4), bench.messages), (120, 0, 0));
        bench.write(0x20, 4, 0xff);
        bench.write(0x08, 4, 12);
        bench.step();
        assert_eq!((bench.read(0x08, 4), bench.read(0x20, 4), bench.messages), (479_001_600, 0x80, 1));
        assert_eq!((bench.read(0x24, 4), bench.step()), (1, None));
        bench.write(0x60, 4, 0x10);
        bench.write(0x64, 4, 0x01);
        assert_eq!((bench.read(0x24, 4), bench.messages), (0x10, 2));
    }

    #[test]
    fn dma_goes_both_ways_and_stays_inside_the_buffer() {
        let mut bench = bench();
        let block = bench.memory.allocate(64, DMA_MASK).expect("there is memory");
        bench.memory.at(block.physical, 64).expect("it is allocated").fill(9);
        dma(&mut bench, block.physical, 0x40000, 32, 1);
        dma(&mut bench, 0x40000, block.physical + 32, 16, 1 | 2 | 4);
        assert_eq!((bench.read(0x24, 4), bench.read(0x98, 4), bench.messages), (0x100, 6, 1));
        bench.memory.at(block.physical, 32).expect("it is allocated").fill(0);
        dma(&mut bench, 0x40000, block.physical, 32, 1 | 2);
        assert_eq!(bench.memory.at(block.physical, 32).expect("it is allocated"), [9; 32]);
        assert_eq!(bench.fault, None);
        dma(&mut bench, 0x40000 + 4096 - 16, block.physical, 16, 1 | 2);
        assert!(bench.fault.take().is_some_and(|fault| fault.contains("leaves the device's buffer")));
        dma(&mut bench, 0x40000, 1 << 28, 16, 1 | 2);
        assert!(bench.fault.take().is_some_and(|fault| fault.contains("28 address bits")));
        dma(&mut bench, 0x40000, block.physical + 56, 16, 1 | 2);
        assert!(bench.fault.take().is_some_and(|fault| fault.contains("where nothing was allocated")));
    }
}
