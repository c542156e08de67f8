//! What both interrupts and everybody else share: the controller's one output buffer, and what came out of it.
//!
//! Keyboard and mouse have an interrupt each, but one buffer: whose byte is in it, the status says. Each ISR takes its own
//! bytes and leaves the other's to the other's.

use crate::{
    decode::{Key, Keys, Movement, Movements},
    queue::Queue,
};

/// Status: a byte is there to be read.
pub const OUTPUT_FULL: u8 = 0x01;
/// Status: the controller has not taken the last byte yet.
pub const INPUT_FULL: u8 = 0x02;
/// Status: the byte to be read is the mouse's.
pub const FROM_MOUSE: u8 = 0x20;
/// What a controller that is not there answers.
const ALL_ONES: u8 = 0xff;

/// What a keyboard or mouse answers: understood; say it again; failed. Something that happened before it was asked may still
/// be on its way.
pub const ACKNOWLEDGED: u8 = 0xfa;
const ANSWERS: [u8; 3] = [ACKNOWLEDGED, 0xfe, 0xfc];

/// More bytes than an ISR takes at a time: then something is stuck.
const MOST_BYTES: usize = 64;

/// Configuration: interrupts of the keyboard; of the mouse.
const INTERRUPT: [u8; 2] = [0x01, 0x02];
/// Configuration: the keyboard is cut off; the mouse.
const CUT_OFF: [u8; 2] = [0x10, 0x20];
/// Configuration: the machine has passed its self-test, and keys are translated to set 1.
const ALWAYS: u8 = 0x44;

/// The controller's registers. A trait, so that the ISR can be tested without one.
pub trait Chip {
    /// Which buffers are full, and whose byte is there.
    fn status(&mut self) -> u8;
    /// Takes the byte that is there.
    fn read(&mut self) -> u8;
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// The first port.
    Keyboard,
    /// The second port.
    Mouse,
}

/// Behind the lock of both interrupts.
#[derive(Debug, Default)]
pub struct Input {
    decode_keys: Keys,
    decode_movements: Movements,
    /// What was typed.
    pub keys: Queue<Key, 64>,
    /// What the mouse did.
    pub movements: Queue<Movement, 256>,
    /// Whose next byte answers a command.
    asked: Option<Port>,
    answer: Option<u8>,
    on: [bool; 2],
    bytes: [u64; 2],
}

impl Input {
    /// Takes the bytes of `port` that are there. `false`: there were none, so the interrupt was not its own.
    pub fn collect(&mut self, chip: &mut impl Chip, port: Port) -> bool {
        let mut any = false;
        for _ in 0..MOST_BYTES {
            let status = chip.status();
            if status == ALL_ONES || status & OUTPUT_FULL == 0 || whose(status) != port {
                break;
            }
            let byte = chip.read();
            self.file(port, byte);
            any = true;
        }
        any
    }

    /// Takes what is there and forgets it, unless it is of a port that is on: that one's ISR takes it.
    pub fn discard(&mut self, chip: &mut impl Chip) {
        for _ in 0..MOST_BYTES {
            let status = chip.status();
            if status == ALL_ONES || status & OUTPUT_FULL == 0 || self.on[whose(status) as usize] {
                break;
            }
            let _old = chip.read();
        }
    }

    /// From here on the next byte of `port` that can be one is an answer, whoever takes it.
    pub fn ask(&mut self, port: Port) {
        (self.asked, self.answer) = (Some(port), None);
    }

    /// The answer, if it has come.
    pub fn answer(&mut self) -> Option<u8> {
        self.answer.take()
    }

    /// Switches `port` on or off, and says which configuration does that.
    pub fn configure(&mut self, port: Port, on: bool) -> u8 {
        self.on[port as usize] = on;
        (0..2).fold(ALWAYS, |bits, n| bits | if self.on[n] { INTERRUPT[n] } else { CUT_OFF[n] })
    }

    /// How many bytes have come from `port`, answers too.
    pub fn bytes(&self, port: Port) -> u64 {
        self.bytes[port as usize]
    }

    fn file(&mut self, port: Port, byte: u8) {
        self.bytes[port as usize] += 1;
        if self.asked == Some(port) && ANSWERS.contains(&byte) {
            (self.asked, self.answer) = (None, Some(byte));
            return;
        }
        match port {
            Port::Keyboard => self.decode_keys.byte(byte).into_iter().for_each(|key| self.keys.push(key)),
            Port::Mouse => self.decode_movements.byte(byte).into_iter().for_each(|m| self.movements.push(m)),
        }
    }
}

fn whose(status: u8) -> Port {
    if status & FROM_MOUSE != 0 { Port::Mouse } else { Port::Keyboard }
}
