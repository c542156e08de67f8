//! `Notify`, on which the `acpi` crate panics: it reads the operator and then does not know it.
//!
//! [`defuse`] turns `Notify (name, value)` into `ObjectType (name)` and `value`, two statements without effect and as long
//! as the one. So a general purpose event's method runs to its end, and what it would have told the drivers is lost: who
//! serves the event looks at the hardware instead.
//!
//! A table is no list of operators that could be walked without knowing every method's arguments, so the operator is
//! known by what surrounds it: a name follows, then a number or a variable. A package length that looked like that would
//! be longer than 128 KiB.

/// `NotifyOp`.
const NOTIFY: u8 = 0x86;
/// `ObjectTypeOp`, which takes the same kind of name.
const OBJECT_TYPE: u8 = 0x8e;

/// Makes every `Notify` of a named object in `aml` one without effect, and says how many there were.
pub fn defuse(aml: &mut [u8]) -> usize {
    let mut defused = 0;
    for n in 0..aml.len() {
        let after = &aml[n + 1..];
        if aml[n] == NOTIFY && name_len(after).is_some_and(|len| is_value(&after[len..])) {
            aml[n] = OBJECT_TYPE;
            defused += 1;
        }
    }
    defused
}

/// The length of the name string that `aml` begins with.
fn name_len(aml: &[u8]) -> Option<usize> {
    const DUAL: u8 = 0x2e;
    const MULTI: u8 = 0x2f;
    let prefix = match aml.first()? {
        b'\\' => 1,
        _ => aml.iter().take_while(|&&c| c == b'^').count(),
    };
    let rest = &aml[prefix..];
    let (header, segments) = match *rest.first()? {
        DUAL => (1, 2),
        MULTI => (2, usize::from(*rest.get(1)?)),
        _ => (0, 1),
    };
    let names = rest.get(header..header + 4 * segments)?;
    let lead = |c: u8| c.is_ascii_uppercase() || c == b'_';
    let is_segment = |name: &[u8; 4]| lead(name[0]) && name[1..].iter().all(|&c| lead(c) || c.is_ascii_digit());
    (segments > 0 && names.as_chunks().0.iter().all(is_segment)).then_some(prefix + header + names.len())
}

/// Whether `aml` begins with a number or a variable.
fn is_value(aml: &[u8]) -> bool {
    // Zero, One, a byte, a word, a double word; Local0 to Local7, Arg0 to Arg6.
    aml.first().is_some_and(|first| matches!(first, 0x00 | 0x01 | 0x0a..=0x0c | 0x60..=0x6e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defused(aml: &[u8]) -> (usize, alloc::vec::Vec<u8>) {
        let mut aml = aml.to_vec();
        (defuse(&mut aml), aml)
    }

    #[test]
    fn a_hot_plug_method_of_q35_is_defused() {
        // If (Arg0 & 1) { Notify (S00, Arg1) }  If (Arg0 & 2) { Notify (S08, Arg1) }
        let aml = b"\xa0\x0b\x7b\x68\x01\x00\x86S00_\x69\xa0\x0c\x7b\x68\x0a\x02\x00\x86S08_\x69";
        let (count, after) = defused(aml);
        assert_eq!(count, 2);
        assert_eq!(after, b"\xa0\x0b\x7b\x68\x01\x00\x8eS00_\x69\xa0\x0c\x7b\x68\x0a\x02\x00\x8eS08_\x69");
    }

    #[test]
    fn names_of_every_form_are_known() {
        for aml in [
            &b"\x86\\_SB_\x01"[..],
            b"\x86^^PWRB\x0a\x80",
            b"\x86\\\x2e_SB_PWRB\x0a\x80",
            b"\x86\x2f\x03_SB_PCI0S08_\x0b\x00\x01",
        ] {
            assert_eq!(defused(aml).0, 1, "{aml:x?}");
        }
    }

    #[test]
    fn other_bytes_of_that_value_are_left_alone() {
        for aml in [
            // A memory descriptor, a name that is none, names cut off, no value, nothing.
            &b"\x86\x09\x00\x00\x00\x00\xd0\xfe"[..],
            b"\x86s00_\x69",
            b"\x86S0",
            b"\x86\x2f\x00\x69",
            b"\x86\x2f",
            b"\x86S00_\xa0",
            b"\x86S00_",
            b"\x86",
            b"",
        ] {
            let (count, after) = defused(aml);
            assert_eq!((count, after.as_slice()), (0, aml), "{aml:x?}");
        }
    }
}
