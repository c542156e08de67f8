//! From bytes to keys and movements.

/// A key that went down or up, by its code in set 1, which the controller translates to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The key's code; 0xe000 more for those with a prefix.
    pub code: u16,
    /// Down, not up.
    pub down: bool,
}

/// What the mouse did since it last said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Movement {
    /// To the right.
    pub right: i16,
    /// Up.
    pub up: i16,
    /// Bit 0: the left button is down; 1: the right one; 2: the middle one.
    pub buttons: u8,
}

/// Says that the next byte belongs to a key of the second hundred.
const PREFIX: u8 = 0xe0;
/// Set in a key's code when it goes up.
const UP: u8 = 0x80;

/// Puts a key's bytes together.
#[derive(Debug, Default)]
pub struct Keys {
    prefixed: bool,
}

impl Keys {
    /// The next byte. `None`: a key has more than one, and there is more to come.
    pub fn byte(&mut self, byte: u8) -> Option<Key> {
        if byte == PREFIX {
            self.prefixed = true;
            return None;
        }
        let prefix = if core::mem::take(&mut self.prefixed) { u16::from(PREFIX) << 8 } else { 0 };
        Some(Key { code: prefix | u16::from(byte & !UP), down: byte & UP == 0 })
    }
}

/// Set in the first of a movement's three bytes.
const FIRST: u8 = 0x08;
/// In the first byte: the second one is negative.
const LEFT: u8 = 0x10;
/// In the first byte: the third one is negative.
const DOWN: u8 = 0x20;
/// In the first byte: the second or third one was too large.
const TOO_FAR: u8 = 0xc0;

/// Puts a movement's bytes together.
#[derive(Debug, Default)]
pub struct Movements {
    bytes: [u8; 3],
    len: usize,
}

impl Movements {
    /// The next byte. `None`: there is more to come; or it cannot be a first byte, because one was lost: the next that can
    /// begins a movement.
    pub fn byte(&mut self, byte: u8) -> Option<Movement> {
        if self.len == 0 && byte & FIRST == 0 {
            return None;
        }
        self.bytes[self.len] = byte;
        self.len += 1;
        if self.len < self.bytes.len() {
            return None;
        }
        self.len = 0;
        let [first, right, up] = self.bytes;
        let signed = |byte: u8, negative: u8| i16::from(byte) - if first & negative != 0 { 256 } else { 0 };
        let buttons = first & 7;
        // How far is not known then; the buttons are.
        if first & TOO_FAR != 0 {
            return Some(Movement { right: 0, up: 0, buttons });
        }
        Some(Movement { right: signed(right, LEFT), up: signed(up, DOWN), buttons })
    }
}
