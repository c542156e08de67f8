//! Text that has to wait until it can be printed: a fixed amount, because whoever prints may be at any IRQL.

use core::fmt::{self, Write};

/// Up to `N` bytes of text. What comes when it is full is counted.
pub struct Held<const N: usize> {
    bytes: [u8; N],
    len: usize,
    lost: usize,
}

impl<const N: usize> Held<N> {
    /// Nothing.
    pub const fn new() -> Self {
        Held { bytes: [0; N], len: 0, lost: 0 }
    }

    /// Prints what has waited, and how many bytes were too many. Then there is nothing.
    pub fn print_to(&mut self, out: &mut impl Write) -> fmt::Result {
        let (len, lost) = (core::mem::take(&mut self.len), core::mem::take(&mut self.lost));
        // Cut between two characters, so each piece is text.
        for piece in self.bytes[..len].utf8_chunks() {
            out.write_str(piece.valid())?;
        }
        if lost > 0 { writeln!(out, "[{lost} bytes of text are missing here]") } else { Ok(()) }
    }
}

impl<const N: usize> Default for Held<N> {
    fn default() -> Self {
        Held::new()
    }
}

impl<const N: usize> Write for Held<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // What follows something that is missing is missing too.
        let room = if self.lost > 0 { 0 } else { N - self.len };
        let kept = text.floor_char_boundary(room);
        self.bytes[self.len..][..kept].copy_from_slice(&text.as_bytes()[..kept]);
        self.len += kept;
        self.lost += text.len() - kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn printed<const N: usize>(held: &mut Held<N>) -> String {
        let mut text = String::new();
        held.print_to(&mut text).expect("a string takes everything");
        text
    }

    #[test]
    fn text_waits_in_its_order_and_is_printed_once() {
        let mut held = Held::<32>::new();
        write!(held, "one {} ", 2).expect("it takes everything");
        held.write_str("three").expect("it takes everything");
        assert_eq!(printed(&mut held), "one 2 three");
        assert_eq!(printed(&mut held), "");
    }

    #[test]
    fn what_is_too_much_is_counted_and_nothing_after_it_is_kept() {
        let mut held = Held::<4>::new();
        ["abc", "def", "g"].into_iter().for_each(|text| held.write_str(text).expect("it takes everything"));
        assert_eq!(printed(&mut held), "abcd[3 bytes of text are missing here]\n");
        held.write_str("abé").expect("it takes everything");
        assert_eq!(printed(&mut held), "abé");
        held.write_str("abcé").expect("it takes everything");
        assert_eq!(printed(&mut held), "abc[2 bytes of text are missing here]\n", "a character is not cut");
    }
}
