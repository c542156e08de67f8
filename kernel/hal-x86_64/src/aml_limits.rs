//! What the interpreter cannot run, known before it is tried: a failure within a called method would be the end of all AML.
//!
//! The `acpi` crate refuses `While (LocalN)` and `While (ArgN)`: it wants a number for the condition and is given the
//! variable. A method that contains such a loop is not run, nor one that may call it. Calls are known by the last part of
//! the called method's name, so a name too many is held to be a call, and never one too few.

use alloc::{collections::BTreeSet, vec::Vec};

const WHILE: u8 = 0xa2;
/// Local0 to Local7, Arg0 to Arg6.
const VARIABLES: core::ops::RangeInclusive<u8> = 0x60..=0x6e;

/// A method: the last part of its name, and its code.
pub type Method<'a> = ([u8; 4], &'a [u8]);

/// The last parts of the names of the methods that must not be run.
pub fn not_runnable(methods: &[Method<'_>]) -> BTreeSet<[u8; 4]> {
    let mut refused: BTreeSet<[u8; 4]> = BTreeSet::new();
    loop {
        let calls_one = |code: &[u8]| code.windows(4).any(|name| refused.iter().any(|refused| refused == name));
        let more: Vec<[u8; 4]> = methods
            .iter()
            .filter(|(name, code)| !refused.contains(name) && (has_refused_loop(code) || calls_one(code)))
            .map(|(name, _)| *name)
            .collect();
        if more.is_empty() {
            return refused;
        }
        refused.extend(more);
    }
}

/// Whether some bytes of `code` read as a loop with a bare variable for its condition. Data may read so too.
fn has_refused_loop(code: &[u8]) -> bool {
    code.iter().enumerate().filter(|(_, byte)| **byte == WHILE).any(|(n, _)| {
        let Some(&first) = code.get(n + 1) else { return false };
        // The two top bits of a package length count the bytes that follow it.
        let condition = n + 2 + usize::from(first >> 6);
        code.get(condition).is_some_and(|byte| VARIABLES.contains(byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(methods: &[(&str, &[u8])]) -> Vec<&'static str> {
        let name = |name: &str| *name.as_bytes().first_chunk().expect("four letters");
        let methods: Vec<Method<'_>> = methods.iter().map(|(text, code)| (name(text), *code)).collect();
        let found = not_runnable(&methods);
        ["LOOP", "CALL", "_E02", "_E01", "PCNT"].into_iter().filter(|text| found.contains(&name(text))).collect()
    }

    #[test]
    fn what_calls_a_loop_that_is_refused_is_refused_too() {
        // While (Local0) { Noop }, a longer one, and what reaches them.
        let methods: [(&str, &[u8]); 5] = [
            ("_E02", b"\\\x2e_SB_CALL"),
            ("CALL", b"LOOP\x01"),
            ("LOOP", b"\x70\x01\x60\xa2\x03\x60\xa3"),
            ("_E01", b"\\\x2e_SB_PCNT"),
            ("PCNT", b"\x86S00_\x01"),
        ];
        assert_eq!(refused(&methods), ["LOOP", "CALL", "_E02"]);
    }

    #[test]
    fn loops_with_a_computed_condition_are_run() {
        // While (Local0 == 1), with a package length of one byte and of two; While at the very end.
        assert_eq!(refused(&[("LOOP", b"\xa2\x05\x93\x60\x01\xa3")]), [""; 0]);
        assert_eq!(refused(&[("LOOP", b"\xa2\x45\x01\x93\x60\x01")]), [""; 0]);
        assert_eq!(refused(&[("LOOP", b"\xa2\x45\x01\x68")]), ["LOOP"]);
        assert_eq!(refused(&[("LOOP", b"\xa2"), ("PCNT", b"\xa2\x01")]), [""; 0]);
    }

    #[test]
    fn methods_that_call_one_another_are_looked_at_once() {
        assert_eq!(refused(&[("CALL", b"LOOP"), ("LOOP", b"CALL")]), [""; 0]);
    }
}
