//! A PC's serial port: a 16550A with its queues, at the first port's usual place.

use super::{BusAccess, IsaDevice, IsaModel, Model, Step};
use io::{Line, Polarity, Trigger};
use std::collections::VecDeque;

const FIRST_PORT: u16 = 0x3f8;
const GSI: u32 = 4;

/// Register offsets.
mod register {
    /// Received and to be sent; the divisor's low byte.
    pub const DATA: u64 = 0;
    /// Interrupt enable; the divisor's high byte.
    pub const ENABLE: u64 = 1;
    /// Interrupt identification; FIFO control.
    pub const IDENTIFICATION: u64 = 2;
    pub const LINE_CONTROL: u64 = 3;
    pub const MODEM_CONTROL: u64 = 4;
    pub const LINE_STATUS: u64 = 5;
    pub const MODEM_STATUS: u64 = 6;
    pub const SCRATCH: u64 = 7;
}

/// Causes of an interrupt: the bits of interrupt enable, and one for the time-out that belongs to the first.
mod cause {
    pub const RECEIVED: u8 = 0x01;
    pub const SENT: u8 = 0x02;
    pub const LINE_STATUS: u8 = 0x04;
    pub const MODEM_STATUS: u8 = 0x08;
    pub const TIME_OUT: u8 = 0x10;
}

/// Causes by priority, each with its identification.
const PRIORITIES: [(u8, u8); 5] = [
    (cause::LINE_STATUS, 0x06),
    (cause::RECEIVED, 0x04),
    (cause::TIME_OUT, 0x0c),
    (cause::SENT, 0x02),
    (cause::MODEM_STATUS, 0x00),
];
const NO_CAUSE: u8 = 0x01;
const FIFOS_ARE_ON: u8 = 0xc0;

/// FIFO control.
const FIFO_ON: u8 = 0x01;
const CLEAR_RECEIVE: u8 = 0x02;
const CLEAR_TRANSMIT: u8 = 0x04;
/// From how many received bytes on it interrupts at once, by the upper two bits.
const TRIGGERS: [usize; 4] = [1, 4, 8, 14];

/// Line control: the first two registers are the divisor.
const DIVISOR: u8 = 0x80;

/// Modem control: the interrupt line is connected; what is sent is received.
const OUT2: u8 = 0x08;
const LOOPBACK: u8 = 0x10;

/// Line status.
const DATA_READY: u8 = 0x01;
const OVERRUN: u8 = 0x02;
const TRANSMIT_EMPTY: u8 = 0x60;

/// Modem status: carrier, ready, clear to send; whether the latter has changed.
const CONNECTED: u8 = 0xb0;
const CHANGED: u8 = 0x01;

const QUEUE: usize = 16;

/// The steps.
const ARRIVES: u32 = 0;
const LEAVES: u32 = 1;
const PAUSES: u32 = 2;
const WAVERS: u32 = 3;

/// A model of a 16550A at port 0x3f8 and line 4, an edge. Bytes arrive and leave whenever the explorer wants them to, one a
/// step. A byte written when there is no room for it, which a chip would lose, fails the run.
#[derive(Debug, Default)]
pub struct Uart {
    enable: u8,
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    divisor: u16,
    overrun: bool,
    clear_to_send_changed: bool,
    /// The transmitter has become empty, and nobody has been told.
    sent_pending: bool,
    /// Received bytes have waited for as long as four would take.
    timed_out: bool,
    to_arrive: VecDeque<u8>,
    received: VecDeque<u8>,
    to_send: VecDeque<u8>,
    sent: Vec<u8>,
    wavers: bool,
    asserts: bool,
}

impl Uart {
    /// A chip after reset, with nobody at the other end.
    pub fn new() -> Self {
        Uart::default()
    }

    /// Lets somebody at the other end send `bytes`.
    pub fn send_later(&mut self, bytes: &[u8]) {
        self.to_arrive.extend(bytes);
    }

    /// Lets the modem's lines change once, at any point.
    pub fn wavers(mut self) -> Self {
        self.wavers = true;
        self
    }

    /// What has left for the other end.
    pub fn sent(&self) -> &[u8] {
        &self.sent
    }

    fn room(&self) -> usize {
        if self.fifo_control & FIFO_ON != 0 { QUEUE } else { 1 }
    }

    fn trigger(&self) -> usize {
        if self.fifo_control & FIFO_ON != 0 { TRIGGERS[usize::from(self.fifo_control >> 6)] } else { 1 }
    }

    /// What it would interrupt for.
    fn causes(&self) -> u8 {
        let received = if self.received.len() >= self.trigger() { cause::RECEIVED } else { 0 };
        let sent = if self.sent_pending { cause::SENT } else { 0 };
        let line = if self.overrun { cause::LINE_STATUS } else { 0 };
        let modem = if self.clear_to_send_changed { cause::MODEM_STATUS } else { 0 };
        let late = if self.timed_out && self.enable & cause::RECEIVED != 0 { cause::TIME_OUT } else { 0 };
        (received | sent | line | modem) & self.enable | late
    }

    fn identification(&mut self) -> u8 {
        let causes = self.causes();
        let first = PRIORITIES.iter().find(|(cause, _)| causes & cause != 0);
        if first.is_some_and(|(cause, _)| *cause == cause::SENT) {
            self.sent_pending = false;
        }
        let fifos = if self.fifo_control & FIFO_ON != 0 { FIFOS_ARE_ON } else { 0 };
        fifos | first.map_or(NO_CAUSE, |(_, identification)| *identification)
    }

    fn receive(&mut self, byte: u8) {
        self.timed_out = false;
        if self.received.len() < self.room() {
            self.received.push_back(byte);
        } else {
            self.overrun = true;
        }
    }

    /// The interrupt line follows the causes.
    fn settle(&mut self, bus: &mut BusAccess<'_>) {
        let connected = self.modem_control & (OUT2 | LOOPBACK) == OUT2;
        let asserts = connected && self.causes() != 0;
        if asserts != self.asserts {
            self.asserts = asserts;
            bus.set_line(asserts);
        }
    }

    fn read_register(&mut self, offset: u64) -> u8 {
        match offset {
            register::DATA if self.line_control & DIVISOR != 0 => self.divisor as u8,
            register::ENABLE if self.line_control & DIVISOR != 0 => (self.divisor >> 8) as u8,
            register::DATA => {
                self.timed_out = false;
                self.received.pop_front().unwrap_or(0)
            }
            register::ENABLE => self.enable,
            register::IDENTIFICATION => self.identification(),
            register::LINE_CONTROL => self.line_control,
            register::MODEM_CONTROL => self.modem_control,
            register::LINE_STATUS => {
                let ready = if self.received.is_empty() { 0 } else { DATA_READY };
                let empty = if self.to_send.is_empty() { TRANSMIT_EMPTY } else { 0 };
                let overrun = if std::mem::take(&mut self.overrun) { OVERRUN } else { 0 };
                ready | empty | overrun
            }
            register::MODEM_STATUS => {
                CONNECTED | if std::mem::take(&mut self.clear_to_send_changed) { CHANGED } else { 0 }
            }
            _ => self.scratch,
        }
    }

    fn write_register(&mut self, offset: u64, value: u8, bus: &mut BusAccess<'_>) {
        match offset {
            register::DATA if self.line_control & DIVISOR != 0 => {
                self.divisor = self.divisor & 0xff00 | u16::from(value)
            }
            register::ENABLE if self.line_control & DIVISOR != 0 => {
                self.divisor = self.divisor & 0xff | u16::from(value) << 8;
            }
            register::DATA if self.to_send.len() == self.room() => {
                bus.abort(format!("uart: byte {value:#04x} is written while there is no room for it"));
            }
            register::DATA => {
                self.sent_pending = false;
                self.to_send.push_back(value);
            }
            register::ENABLE => {
                let switched_on = value & !self.enable & cause::SENT != 0;
                self.sent_pending =
                    value & cause::SENT != 0 && (self.sent_pending || switched_on && self.to_send.is_empty());
                self.enable = value & 0x0f;
            }
            register::IDENTIFICATION => self.control_fifos(value),
            register::LINE_CONTROL => self.line_control = value,
            register::MODEM_CONTROL => self.modem_control = value & 0x1f,
            register::SCRATCH => self.scratch = value,
            _ => {}
        }
    }

    fn control_fifos(&mut self, value: u8) {
        let switched = (value ^ self.fifo_control) & FIFO_ON != 0;
        self.fifo_control = if value & FIFO_ON != 0 { value & (FIFO_ON | 0xc0) } else { 0 };
        if switched || value & CLEAR_RECEIVE != 0 {
            self.received.clear();
            self.timed_out = false;
        }
        if switched || value & CLEAR_TRANSMIT != 0 {
            self.to_send.clear();
        }
    }
}

impl IsaModel for Uart {
    fn devices(&self) -> Vec<IsaDevice> {
        let line = Line { gsi: GSI, trigger: Trigger::Edge, polarity: Polarity::ActiveHigh };
        let ports = FIRST_PORT..FIRST_PORT + 8;
        vec![IsaDevice { hid: "PNP0501", ports: Vec::from([ports]), lines: vec![line] }]
    }
}

impl Model for Uart {
    fn read(&mut self, _: usize, offset: u64, width: usize, bus: &mut BusAccess<'_>) -> u64 {
        if width != 1 {
            return u64::MAX;
        }
        let value = self.read_register(offset);
        self.settle(bus);
        value.into()
    }

    fn write(&mut self, _: usize, offset: u64, width: usize, value: u64, bus: &mut BusAccess<'_>) {
        if width == 1 {
            self.write_register(offset, value as u8, bus);
            self.settle(bus);
        }
    }

    fn steps(&self, steps: &mut Vec<Step>) {
        if !self.to_arrive.is_empty() {
            steps.push(Step::soon(ARRIVES, "a byte arrives"));
        }
        if !self.to_send.is_empty() {
            steps.push(Step::soon(LEAVES, "a byte leaves"));
        }
        if !self.received.is_empty() && self.received.len() < self.trigger() && !self.timed_out {
            steps.push(Step::soon(PAUSES, "nothing arrived for a while"));
        }
        if self.wavers {
            steps.push(Step::soon(WAVERS, "clear to send changes"));
        }
    }

    fn step(&mut self, id: u32, bus: &mut BusAccess<'_>) {
        match id {
            ARRIVES => self.to_arrive.pop_front().into_iter().for_each(|byte| self.receive(byte)),
            LEAVES => {
                let byte = self.to_send.pop_front();
                match self.modem_control & LOOPBACK {
                    0 => self.sent.extend(byte),
                    _ => byte.into_iter().for_each(|byte| self.receive(byte)),
                }
                self.sent_pending |= self.to_send.is_empty() && self.enable & cause::SENT != 0;
            }
            PAUSES => self.timed_out = true,
            _ => (self.wavers, self.clear_to_send_changed) = (false, true),
        }
        self.settle(bus);
    }

    fn interrupt_status(&self) -> u64 {
        if self.asserts { self.causes().into() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bench;

    type Bench = bench::Bench<Uart>;

    fn on(enable: u64, fifo_control: u64) -> Bench {
        let mut bench = Bench::new(Uart::new(), None);
        bench.write(2, 1, fifo_control);
        bench.write(4, 1, 0x0b);
        bench.write(1, 1, enable);
        bench
    }

    #[test]
    fn fewer_bytes_than_the_trigger_interrupt_after_a_pause() {
        let mut bench = on(0x01, 0x41);
        bench.model.send_later(b"ab");
        assert_eq!(
            (bench.step(), bench.step(), bench.lines.len()),
            (Some("a byte arrives"), Some("a byte arrives"), 0)
        );
        assert_eq!((bench.step(), bench.read(2, 1)), (Some("nothing arrived for a while"), 0xcc));
        assert_eq!((bench.read(0, 1), bench.read(2, 1), bench.read(0, 1), bench.read(5, 1)), (0x61, 0xc1, 0x62, 0x60));
        assert_eq!(bench.lines, [(0, true), (0, false)]);
        bench.model.send_later(b"cdef");
        (0..4).for_each(|_| _ = bench.step());
        assert_eq!((bench.read(2, 1), bench.lines.len()), (0xc4, 3));
    }

    #[test]
    fn an_empty_transmitter_interrupts_once_and_again_when_switched_on() {
        let mut bench = on(0x02, 0x01);
        assert_eq!((bench.read(2, 1), bench.read(2, 1)), (0xc2, 0xc1));
        bench.write(0, 1, 0x78);
        assert_eq!((bench.read(5, 1) & 0x20, bench.step(), bench.read(5, 1) & 0x20), (0, Some("a byte leaves"), 0x20));
        assert_eq!(bench.read(2, 1), 0xc2);
        assert_eq!(bench.model.sent(), b"x");
        bench.write(1, 1, 0);
        bench.write(1, 1, 2);
        assert_eq!(bench.read(2, 1), 0xc2);
        (0..17).for_each(|_| bench.write(0, 1, 0));
        assert!(bench.fault.is_some_and(|fault| fault.contains("no room")));
    }

    #[test]
    fn more_than_the_queue_holds_is_an_overrun() {
        let mut bench = on(0x05, 0xc1);
        bench.model.send_later(&[7; 17]);
        (0..17).for_each(|_| _ = bench.step());
        assert_eq!((bench.read(2, 1), bench.read(5, 1), bench.read(5, 1), bench.read(2, 1)), (0xc6, 0x63, 0x61, 0xc4));
    }

    #[test]
    fn in_a_loop_it_receives_what_it_sends_and_does_not_interrupt() {
        let mut bench = on(0x01, 0x00);
        bench.write(4, 1, 0x1b);
        bench.write(0, 1, 0x5a);
        bench.step();
        assert_eq!((bench.read(2, 1), bench.lines.len()), (0x04, 0));
        bench.write(4, 1, 0x0b);
        assert_eq!((bench.lines.len(), bench.read(0, 1)), (1, 0x5a));
        assert!(bench.model.sent().is_empty());
    }

    #[test]
    fn the_divisor_hides_two_registers() {
        let mut bench = on(0x01, 0x00);
        bench.write(3, 1, 0x83);
        bench.write(0, 1, 0x0c);
        bench.write(1, 1, 0x01);
        assert_eq!((bench.read(0, 1), bench.read(1, 1)), (0x0c, 0x01));
        bench.write(3, 1, 0x03);
        assert_eq!((bench.read(1, 1), bench.read(7, 1)), (0x01, 0));
    }
}
