//! `Notify`, on which the `acpi` crate panics: it reads the operator and then does not know it.
//!
//! [`replace`] puts `Store (number, Debug)` in its place, which is never longer; the number names the site, and the crate
//! hands it to its host. The rest is filled with statements that do nothing.
//!
//! A table is no list of operators that could be walked without knowing every method's arguments, so the operator is
//! known by what surrounds it: a name follows, then a number or a variable. A package length that looked like that would
//! be longer than 128 KiB.

use alloc::{string::String, vec::Vec};

/// So many sites are told apart; those beyond do nothing.
pub const MOST_SITES: usize = 4096;
/// Sites are numbered from here on, so that what firmware itself stores in `Debug` is unlikely to be one.
const FIRST_NUMBER: u16 = 0x8000;

mod op {
    pub const NOTIFY: u8 = 0x86;
    pub const STORE: u8 = 0x70;
    pub const NOOP: u8 = 0xa3;
    pub const DEBUG: [u8; 2] = [0x5b, 0x31];
    pub const ZERO: u8 = 0x00;
    pub const ONE: u8 = 0x01;
    pub const BYTE: u8 = 0x0a;
    pub const WORD: u8 = 0x0b;
    pub const DOUBLE_WORD: u8 = 0x0c;
    /// Local0 to Local7, Arg0 to Arg6.
    pub const VARIABLES: core::ops::RangeInclusive<u8> = 0x60..=0x6e;
    pub const DUAL_NAME: u8 = 0x2e;
    pub const MULTI_NAME: u8 = 0x2f;
}

/// A `Notify` that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The device's name, as the method has it.
    pub name: String,
    /// The value; `None` where it is a variable.
    pub value: Option<u64>,
}

/// The site that `number`, stored in `Debug`, stands for.
pub fn site(number: u64) -> Option<usize> {
    let site = usize::try_from(number.checked_sub(FIRST_NUMBER.into())?).ok()?;
    (site < MOST_SITES).then_some(site)
}

/// What stands in the place of site `site`.
pub fn marker(site: usize) -> [u8; 6] {
    let [low, high] = (FIRST_NUMBER + site as u16).to_le_bytes();
    [op::STORE, op::WORD, low, high, op::DEBUG[0], op::DEBUG[1]]
}

/// Replaces every `Notify` of a named object in `aml`, and adds them to `sites`.
pub fn replace(aml: &mut [u8], sites: &mut Vec<Site>) {
    let mut n = 0;
    while n < aml.len() {
        match notify(&aml[n..]) {
            Some((site, len)) => {
                aml[n..n + len].fill(op::NOOP);
                if sites.len() < MOST_SITES {
                    aml[n..n + 6].copy_from_slice(&marker(sites.len()));
                    sites.push(site);
                }
                n += len;
            }
            None => n += 1,
        }
    }
}

/// The `Notify` that `aml` begins with, and its length: at least 6, an operator, a name of a segment, and a value.
fn notify(aml: &[u8]) -> Option<(Site, usize)> {
    let (&first, after) = aml.split_first()?;
    if first != op::NOTIFY {
        return None;
    }
    let (name, name_len) = parse_name(after)?;
    let (value, value_len) = parse_value(&after[name_len..])?;
    Some((Site { name, value }, 1 + name_len + value_len))
}

/// The name string that `aml` begins with, and its length.
fn parse_name(aml: &[u8]) -> Option<(String, usize)> {
    let prefix = match aml.first()? {
        b'\\' => 1,
        _ => aml.iter().take_while(|&&c| c == b'^').count(),
    };
    let rest = &aml[prefix..];
    let (header, segments) = match *rest.first()? {
        op::DUAL_NAME => (1, 2),
        op::MULTI_NAME => (2, usize::from(*rest.get(1)?)),
        _ => (0, 1),
    };
    let names = rest.get(header..header + 4 * segments)?;
    let lead = |c: u8| c.is_ascii_uppercase() || c == b'_';
    let is_segment = |name: &[u8; 4]| lead(name[0]) && name[1..].iter().all(|&c| lead(c) || c.is_ascii_digit());
    if segments == 0 || !names.as_chunks().0.iter().all(is_segment) {
        return None;
    }
    let mut text: String = aml[..prefix].iter().copied().map(char::from).collect();
    for (n, &c) in names.iter().enumerate() {
        if n > 0 && n % 4 == 0 {
            text.push('.');
        }
        text.push(c.into());
    }
    Some((text, prefix + header + names.len()))
}

/// The number that `aml` begins with, `None` within for a variable, and its length.
fn parse_value(aml: &[u8]) -> Option<(Option<u64>, usize)> {
    match *aml.first()? {
        op::ZERO => Some((Some(0), 1)),
        op::ONE => Some((Some(1), 1)),
        op::BYTE => Some((Some(u64::from(*aml.get(1)?)), 2)),
        op::WORD => Some((Some(u64::from(u16::from_le_bytes(*aml.get(1..)?.first_chunk()?))), 3)),
        op::DOUBLE_WORD => Some((Some(u64::from(u32::from_le_bytes(*aml.get(1..)?.first_chunk()?))), 5)),
        first if op::VARIABLES.contains(&first) => Some((None, 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(aml: &[u8]) -> (Vec<Site>, Vec<u8>) {
        let (mut aml, mut sites) = (aml.to_vec(), Vec::new());
        replace(&mut aml, &mut sites);
        (sites, aml)
    }

    fn of(name: &str, value: Option<u64>) -> Site {
        Site { name: name.into(), value }
    }

    #[test]
    fn a_hot_plug_method_of_q35_tells_its_sites() {
        // If (Arg0 & 1) { Notify (S00, Arg1) }  If (Arg0 & 2) { Notify (S08, Arg1) }
        let aml = b"\xa0\x0b\x7b\x68\x01\x00\x86S00_\x69\xa0\x0c\x7b\x68\x0a\x02\x00\x86S08_\x69";
        let (sites, after) = replaced(aml);
        assert_eq!(sites, [of("S00_", None), of("S08_", None)]);
        assert_eq!(
            after,
            b"\xa0\x0b\x7b\x68\x01\x00\x70\x0b\x00\x80\x5b\x31\xa0\x0c\x7b\x68\x0a\x02\x00\x70\x0b\x01\x80\x5b\x31"
        );
    }

    #[test]
    fn names_and_values_of_every_form_are_known_and_the_rest_is_filled() {
        for (aml, site) in [
            (&b"\x86\\_SB_\x01"[..], of("\\_SB_", Some(1))),
            (b"\x86^^PWRB\x0a\x80", of("^^PWRB", Some(0x80))),
            (b"\x86\\\x2e_SB_PWRB\x00", of("\\_SB_.PWRB", Some(0))),
            (b"\x86\x2f\x03_SB_PCI0S08_\x0b\x34\x12", of("_SB_.PCI0.S08_", Some(0x1234))),
            (b"\x86C000\x0c\x78\x56\x34\x12", of("C000", Some(0x1234_5678))),
        ] {
            let (sites, after) = replaced(aml);
            assert_eq!(sites, [site], "{aml:x?}");
            assert_eq!(after[..6], marker(0));
            assert!(after.len() == aml.len() && after[6..].iter().all(|&c| c == op::NOOP));
        }
    }

    #[test]
    fn other_bytes_of_that_value_are_left_alone() {
        for aml in [
            // A memory descriptor, a name that is none, names cut off, no value, values cut off, nothing.
            &b"\x86\x09\x00\x00\x00\x00\xd0\xfe"[..],
            b"\x86s00_\x69",
            b"\x86S0",
            b"\x86\x2f\x00\x69",
            b"\x86\x2f",
            b"\x86S00_\xa0",
            b"\x86S00_",
            b"\x86S00_\x0a",
            b"\x86S00_\x0b\x01",
            b"\x86",
            b"",
        ] {
            let (sites, after) = replaced(aml);
            assert_eq!((sites.as_slice(), after.as_slice()), (&[][..], aml), "{aml:x?}");
        }
    }

    #[test]
    fn a_number_names_its_site_and_others_none() {
        assert_eq!(site(0x8000), Some(0));
        assert_eq!(site(0x8fff), Some(MOST_SITES - 1));
        assert_eq!([site(0), site(0x7fff), site(0x9000), site(u64::MAX)], [None; 4]);
    }

    #[test]
    fn sites_beyond_the_last_do_nothing() {
        let mut sites = alloc::vec![of("S00_", None); MOST_SITES];
        let mut aml = *b"\x86S00_\x69";
        replace(&mut aml, &mut sites);
        assert_eq!((sites.len(), aml), (MOST_SITES, [op::NOOP; 6]));
    }
}
