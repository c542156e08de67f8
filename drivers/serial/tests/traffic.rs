//! What the ISR does with the chip, on a chip of the test's own.

use serial::traffic::{
    Chip, Counters, DATA_READY, FIFO, LINE_STATUS, OVERRUN, RECEIVE, ROOM, Served, TRANSMIT, TRANSMIT_EMPTY, Traffic,
};
use std::collections::VecDeque;

/// A 16550 as far as the driver can see.
#[derive(Default)]
struct Fake {
    arriving: VecDeque<u8>,
    wire: Vec<u8>,
    in_fifo: usize,
    enabled: u8,
    transmit_pending: bool,
    overrun: bool,
    modem_changed: bool,
}

impl Fake {
    /// The wire takes what is in the chip.
    fn drain(&mut self) {
        self.in_fifo = 0;
        self.transmit_pending = true;
    }
}

impl Chip for Fake {
    fn interrupt_id(&mut self) -> u8 {
        match () {
            () if self.overrun && self.enabled & LINE_STATUS != 0 => 0xc6,
            () if !self.arriving.is_empty() && self.enabled & RECEIVE != 0 => 0xc4,
            () if self.transmit_pending && self.enabled & TRANSMIT != 0 => {
                self.transmit_pending = false;
                0xc2
            }
            () if self.modem_changed => 0xc0,
            () => 0xc1,
        }
    }
    fn line_status(&mut self) -> u8 {
        let overrun = if std::mem::take(&mut self.overrun) { OVERRUN } else { 0 };
        let ready = if self.arriving.is_empty() { 0 } else { DATA_READY };
        overrun | ready | if self.in_fifo == 0 { TRANSMIT_EMPTY } else { 0 }
    }
    fn modem_status(&mut self) -> u8 {
        self.modem_changed = false;
        0
    }
    fn receive(&mut self) -> u8 {
        self.arriving.pop_front().expect("the driver reads what is there")
    }
    fn transmit(&mut self, byte: u8) {
        assert!(self.in_fifo < FIFO, "the chip has room for 16");
        self.in_fifo += 1;
        self.wire.push(byte);
    }
    fn enable_interrupts(&mut self, bits: u8) {
        self.transmit_pending |= bits & !self.enabled & TRANSMIT != 0 && self.in_fifo == 0;
        self.enabled = bits;
    }
}

fn on() -> (Traffic, Fake) {
    let (mut traffic, mut chip) = (Traffic::new(), Fake::default());
    traffic.switch_on(&mut chip);
    (traffic, chip)
}

#[test]
fn an_interrupt_of_somebody_else_is_not_claimed() {
    let (mut traffic, mut chip) = on();
    assert_eq!(traffic.serve(&mut chip), Served::Nothing);
    assert_eq!(traffic.counters(), Counters::default());
}

#[test]
fn what_arrives_is_kept_until_somebody_asks() {
    let (mut traffic, mut chip) = on();
    chip.arriving.extend(b"edu dma\r");
    assert_eq!(traffic.serve(&mut chip), Served::News);
    let mut line = [0; 32];
    assert_eq!(traffic.read(&mut line), 8);
    assert_eq!(&line[..8], b"edu dma\r");
    assert_eq!(traffic.read(&mut line), 0);
}

#[test]
fn what_nobody_asks_for_is_counted_as_dropped() {
    let (mut traffic, mut chip) = on();
    for n in 0..ROOM + 10 {
        chip.arriving.push_back(n as u8);
        assert_eq!(traffic.serve(&mut chip), Served::News);
    }
    chip.overrun = true;
    traffic.serve(&mut chip);
    let Counters { received, dropped, overruns, .. } = traffic.counters();
    assert_eq!((received, dropped, overruns), (ROOM as u64 + 10, 10, 1));
}

#[test]
fn everything_written_is_sent_sixteen_at_a_time_and_then_the_chip_is_silent() {
    let (mut traffic, mut chip) = on();
    let text: Vec<u8> = (0..100).collect();
    assert_eq!(traffic.write(&mut chip, &text), 100);
    let mut interrupts = 0;
    while traffic.serve(&mut chip) != Served::Nothing {
        interrupts += 1;
        chip.drain();
    }
    assert_eq!(chip.wire, text);
    assert_eq!((interrupts, chip.enabled & TRANSMIT, traffic.is_sent()), (7, 0, true));
    assert_eq!(traffic.counters().sent, 100);
}

#[test]
fn a_long_text_is_taken_as_far_as_there_is_room() {
    let (mut traffic, mut chip) = on();
    let text = [b'x'; ROOM + 5];
    assert_eq!(traffic.write(&mut chip, &text), ROOM);
    traffic.serve(&mut chip);
    assert_eq!(traffic.write(&mut chip, &text), FIFO);
}

#[test]
fn every_cause_is_served_in_one_interrupt() {
    let (mut traffic, mut chip) = on();
    chip.modem_changed = true;
    chip.arriving.extend(b"x");
    traffic.write(&mut chip, b"y");
    assert_eq!(traffic.serve(&mut chip), Served::News);
    assert_eq!((chip.interrupt_id(), chip.wire.as_slice()), (0xc1, &b"y"[..]));
    assert_eq!(traffic.counters().interrupts, 1);
}

#[test]
fn switched_off_it_asks_for_nothing() {
    let (mut traffic, mut chip) = on();
    traffic.write(&mut chip, b"left");
    traffic.switch_off(&mut chip);
    assert_eq!(chip.enabled, 0);
    traffic.write(&mut chip, b" over");
    assert_eq!(chip.enabled, 0);
    traffic.switch_on(&mut chip);
    traffic.serve(&mut chip);
    assert_eq!(chip.wire, b"left over");
}

#[test]
fn what_is_held_stays_in_the_chip_and_sending_goes_on() {
    let (mut traffic, mut chip) = (Traffic::new(), Fake::default());
    traffic.switch_on(&mut chip);
    chip.arriving.extend(b"one");
    assert_eq!(traffic.serve(&mut chip), Served::News);
    traffic.hold(&mut chip);
    chip.arriving.extend(b"two");
    assert_eq!(traffic.serve(&mut chip), Served::Nothing);
    let mut read = [0; 8];
    assert_eq!((traffic.read(&mut read), &read[..3], chip.arriving.len()), (3, &b"one"[..], 3));
    assert_eq!(traffic.write(&mut chip, b"out"), 3);
    assert_eq!(traffic.serve(&mut chip), Served::News);
    assert_eq!((chip.wire.as_slice(), chip.arriving.len()), (&b"out"[..], 3));
    traffic.switch_on(&mut chip);
    assert_eq!(traffic.serve(&mut chip), Served::News);
    assert_eq!((traffic.read(&mut read), &read[..3]), (3, &b"two"[..]));
}
