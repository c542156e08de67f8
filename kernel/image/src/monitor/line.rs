//! The line that a person types at the prompt.

use alloc::string::String;

/// What a byte did to the line.
#[derive(Debug, PartialEq, Eq)]
pub enum Edit {
    /// Nothing to show.
    Nothing,
    /// This character came to the end of the line.
    Added(char),
    /// So many characters went from the end of the line.
    Erased(usize),
    /// Ctrl-C: the line was given up.
    Abandoned,
    /// Ctrl-D on an empty line.
    EndOfInput,
    /// Enter: this is the line.
    Entered(String),
}

/// A line so far.
#[derive(Default)]
pub struct Line {
    text: String,
    escape: Escape,
    /// The last byte was a carriage return: a line feed right after it belongs to it.
    after_return: bool,
}

/// Where in a terminal's escape sequence (an arrow key, say) the input is.
#[derive(Default, PartialEq)]
enum Escape {
    #[default]
    Outside,
    Begun,
    Inside,
}

/// Longer lines are no commands.
const LONGEST: usize = 200;

impl Line {
    /// Takes the next byte of the input.
    pub fn byte(&mut self, byte: u8) -> Edit {
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        match self.escape {
            Escape::Begun if byte == b'[' || byte == b'O' => self.escape = Escape::Inside,
            Escape::Inside if !(0x40..=0x7e).contains(&byte) => {}
            Escape::Begun | Escape::Inside => self.escape = Escape::Outside,
            Escape::Outside => return self.plain(byte, after_return),
        }
        Edit::Nothing
    }

    fn plain(&mut self, byte: u8, after_return: bool) -> Edit {
        match byte {
            b'\n' if after_return => Edit::Nothing,
            b'\r' | b'\n' => Edit::Entered(core::mem::take(&mut self.text)),
            0x08 | 0x7f => self.text.pop().map_or(Edit::Nothing, |_| Edit::Erased(1)),
            CTRL_U => Edit::Erased(core::mem::take(&mut self.text).len()),
            CTRL_C => {
                self.text.clear();
                Edit::Abandoned
            }
            CTRL_D if self.text.is_empty() => Edit::EndOfInput,
            0x1b => {
                self.escape = Escape::Begun;
                Edit::Nothing
            }
            b' '..=b'~' if self.text.len() < LONGEST => {
                self.text.push(byte.into());
                Edit::Added(byte.into())
            }
            _ => Edit::Nothing,
        }
    }
}

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const CTRL_U: u8 = 0x15;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// The lines entered by typing `bytes`.
    fn entered(bytes: &[u8]) -> Vec<String> {
        let mut line = Line::default();
        let edits = bytes.iter().map(|&byte| line.byte(byte));
        edits.filter_map(|edit| if let Edit::Entered(text) = edit { Some(text) } else { None }).collect()
    }

    #[test]
    fn enter_is_a_return_a_line_feed_or_both() {
        assert_eq!(entered(b"one\rtwo\nthree\r\nfour\r"), ["one", "two", "three", "four"]);
        assert_eq!(entered(b"\r\r"), ["", ""]);
    }

    #[test]
    fn backspace_erases_what_is_there() {
        assert_eq!(entered(b"\x7fdevz\x7f\x08vices\r"), ["devices"]);
        let mut line = Line::default();
        assert_eq!(line.byte(0x7f), Edit::Nothing);
        assert_eq!(line.byte(b'a'), Edit::Added('a'));
        assert_eq!(line.byte(0x08), Edit::Erased(1));
    }

    #[test]
    fn control_characters_clear_end_and_are_not_text() {
        assert_eq!(entered(b"wrong\x15right\r"), ["right"]);
        assert_eq!(entered(b"wrong\x03right\r"), ["right"]);
        assert_eq!(entered(b"a\x01\tb\r"), ["ab"]);
        let mut line = Line::default();
        assert_eq!(line.byte(CTRL_D), Edit::EndOfInput);
        line.byte(b'a');
        assert_eq!(line.byte(CTRL_D), Edit::Nothing);
    }

    #[test]
    fn arrow_keys_leave_no_letters_behind() {
        assert_eq!(entered(b"de\x1b[Av\x1b[1;5C\x1bOP\r"), ["dev"]);
    }

    #[test]
    fn an_endless_line_stays_bounded() {
        assert_eq!(entered(&[&[b'x'; 1000][..], b"\r"].concat())[0].len(), LONGEST);
    }
}
