//! The words of a command, and of the kernel's command line.

use alloc::{format, string::String, vec::Vec};
use core::ops::RangeInclusive;

/// The settings and the commands of the kernel's command line: `apic=auto drivers=edu exec=devices; edu dma`. The
/// commands come last, because they contain blanks.
pub fn split_command_line(line: &str) -> (&str, Option<Vec<&str>>) {
    const EXEC: &str = "exec=";
    let starts_a_word = |&at: &usize| at == 0 || line.as_bytes()[at - 1].is_ascii_whitespace();
    let found = line.match_indices(EXEC).map(|(at, _)| at).find(starts_a_word);
    match found {
        Some(at) => (&line[..at], Some(commands(&line[at + EXEC.len()..]))),
        None => (line, None),
    }
}

fn commands(text: &str) -> Vec<&str> {
    text.split(';').map(str::trim).filter(|command| !command.is_empty()).collect()
}

/// What was typed behind a command's name.
pub struct Arguments<'a> {
    usage: &'static str,
    words: Vec<&'a str>,
}

impl<'a> Arguments<'a> {
    /// The words of `text`, for the command that is used as `usage` says.
    pub fn new(usage: &'static str, text: &'a str) -> Self {
        Arguments { usage, words: text.split_ascii_whitespace().collect() }
    }

    /// Takes `flag`, wherever it stands.
    pub fn flag(&mut self, flag: &str) -> bool {
        let found = self.words.iter().position(|word| *word == flag);
        found.map(|at| self.words.remove(at)).is_some()
    }

    /// Takes the next word, if there is one.
    pub fn next(&mut self) -> Option<&'a str> {
        (!self.words.is_empty()).then(|| self.words.remove(0))
    }

    /// Whether no word is left.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Takes the next word, which is `what`.
    pub fn required(&mut self, what: &str) -> Result<&'a str, String> {
        self.next().ok_or_else(|| format!("{what} is missing; usage: {}", self.usage))
    }

    /// Takes the next word as a number, decimal or hexadecimal with `0x`.
    pub fn number(&mut self, range: RangeInclusive<u32>) -> Result<u32, String> {
        let wanted = format!("a number from {} to {}", range.start(), range.end());
        let word = self.required(&wanted)?;
        let parsed = match word.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => word.parse(),
        };
        parsed.ok().filter(|number| range.contains(number)).ok_or_else(|| format!("`{word}` is not {wanted}"))
    }

    /// Nothing may be left.
    pub fn end(mut self) -> Result<(), String> {
        match self.next() {
            Some(word) => Err(format!("`{word}` is not understood; usage: {}", self.usage)),
            None => Ok(()),
        }
    }

    /// An error for a word that is none of the `known` ones.
    pub fn unknown(&self, word: &str, known: &[&str]) -> String {
        format!("`{word}` is not one of {}; usage: {}", known.join(", "), self.usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_the_rest_of_the_line() {
        let (settings, commands) = split_command_line("apic=auto drivers=faulty exec=devices; edu factorial 12;;");
        assert_eq!(settings, "apic=auto drivers=faulty ");
        assert_eq!(commands.unwrap(), ["devices", "edu factorial 12"]);
        assert_eq!(split_command_line("apic=auto"), ("apic=auto", None));
        assert_eq!(split_command_line("noexec=devices"), ("noexec=devices", None));
        assert_eq!(split_command_line("exec="), ("", Some(Vec::new())));
    }

    #[test]
    fn a_flag_is_taken_wherever_it_stands() {
        let mut arguments = Arguments::new("x [--json]", "a --json b");
        assert!(arguments.flag("--json"));
        assert!(!arguments.flag("--json"));
        assert_eq!((arguments.next(), arguments.next(), arguments.next()), (Some("a"), Some("b"), None));
    }

    #[test]
    fn numbers_say_what_is_wanted() {
        let number = |text| Arguments::new("n N", text).number(0..=12);
        assert_eq!(number("12"), Ok(12));
        assert_eq!(number("0xc"), Ok(12));
        assert_eq!(number("13"), Err("`13` is not a number from 0 to 12".into()));
        assert_eq!(number("-1"), Err("`-1` is not a number from 0 to 12".into()));
        assert_eq!(number("twelve"), Err("`twelve` is not a number from 0 to 12".into()));
        assert_eq!(number(""), Err("a number from 0 to 12 is missing; usage: n N".into()));
    }

    #[test]
    fn words_too_many_are_refused() {
        let mut arguments = Arguments::new("stop NAME", "edu#0 now");
        assert_eq!(arguments.required("the device's name"), Ok("edu#0"));
        assert!(!arguments.is_empty());
        let unknown = arguments.unknown("edu", &["a", "b"]);
        assert_eq!(unknown, "`edu` is not one of a, b; usage: stop NAME");
        assert_eq!(arguments.end(), Err("`now` is not understood; usage: stop NAME".into()));
    }
}
