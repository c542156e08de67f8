//! Names in the ACPI namespace, as text: `\_SB.PCI0.ISA.COM1`, segments without the underscores that fill them up.

use alloc::{format, string::String};

/// Whether `path` is an absolute name with at least one segment, each of one to four legal characters.
pub fn is_absolute(path: &str) -> bool {
    path.strip_prefix('\\').is_some_and(|names| names.split('.').all(is_segment))
}

fn is_segment(name: &str) -> bool {
    let lead = |c: u8| c.is_ascii_uppercase() || c == b'_';
    let mut bytes = name.bytes();
    name.len() <= 4 && bytes.next().is_some_and(lead) && bytes.all(|c| lead(c) || c.is_ascii_digit())
}

/// `path` with segments as short as they can be: `\_SB_.ISA_` is `\_SB.ISA`.
pub fn shortened(path: &str) -> String {
    let (root, names) = match path.strip_prefix('\\') {
        Some(names) => ("\\", names),
        None => ("", path),
    };
    let mut short = String::from(root);
    for (n, name) in names.split('.').enumerate() {
        if n > 0 {
            short.push('.');
        }
        let kept = name.trim_end_matches('_');
        short.push_str(if kept.is_empty() { "_" } else { kept });
    }
    short
}

/// The scope that `path` is in; `None` for one directly under the root.
pub fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('.').map(|(parent, _)| parent)
}

/// The absolute name that `name` means in `scope`: a name without a path is looked for in the scopes above too.
pub fn resolve(scope: &str, name: &str, exists: impl Fn(&str) -> bool) -> Option<String> {
    if name.starts_with('\\') {
        return exists(name).then(|| name.into());
    }
    let mut scope = Some(scope);
    let mut rest = name;
    while let Some(up) = rest.strip_prefix('^') {
        (scope, rest) = (scope.and_then(parent), up);
    }
    let searches = rest == name && !name.contains('.');
    loop {
        let full = match scope {
            Some(scope) => format!("{scope}.{rest}"),
            None => format!("\\{rest}"),
        };
        if exists(&full) {
            return Some(full);
        }
        scope = parent(scope.filter(|_| searches)?);
    }
}

/// The text of an EISA id, as `_HID` and `_CID` have it: `PNP0501`.
pub fn eisa_id(id: u32) -> String {
    let id = id.swap_bytes();
    let letter = |shift: u32| char::from(b'@' + (id >> shift & 0x1f) as u8);
    format!("{}{}{}{:04X}", letter(26), letter(21), letter(16), id & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_legal_absolute_names_are_paths() {
        assert!(is_absolute("\\_SB.PCI0.ISA.COM1") && is_absolute("\\_PIC") && is_absolute("\\_GPE._L01"));
        for bad in ["", "\\", "_SB", "\\_SB.", "\\_SB..A", "\\TOOLONG", "\\1AB", "\\a", "\\_SB.\u{e9}"] {
            assert!(!is_absolute(bad), "{bad}");
        }
    }

    #[test]
    fn names_are_shortened_segment_by_segment() {
        assert_eq!(shortened("\\_SB_.PCI0.ISA_.COM1"), "\\_SB.PCI0.ISA.COM1");
        assert_eq!(shortened("LNKA"), "LNKA");
        assert_eq!(shortened("\\____"), "\\_");
    }

    #[test]
    fn a_lone_name_is_searched_for_upwards() {
        let there = |name: &str| ["\\_SB.GSIE", "\\_SB.PCI0.LNKA", "\\TOP"].contains(&name);
        assert_eq!(resolve("\\_SB.PCI0", "LNKA", there).as_deref(), Some("\\_SB.PCI0.LNKA"));
        assert_eq!(resolve("\\_SB.PCI0", "GSIE", there).as_deref(), Some("\\_SB.GSIE"));
        assert_eq!(resolve("\\_SB.PCI0", "TOP", there).as_deref(), Some("\\TOP"));
        assert_eq!(resolve("\\_SB.PCI0", "NONE", there), None);
    }

    #[test]
    fn a_path_is_looked_for_where_it_says() {
        let there = |name: &str| ["\\_SB.GSIE", "\\_SB.PCI0.LNKA"].contains(&name);
        assert_eq!(resolve("\\_SB.PCI0.S10", "^LNKA", there).as_deref(), Some("\\_SB.PCI0.LNKA"));
        assert_eq!(resolve("\\_SB.PCI0", "^GSIE", there).as_deref(), Some("\\_SB.GSIE"));
        assert_eq!(resolve("\\_SB.PCI0", "\\_SB.GSIE", there).as_deref(), Some("\\_SB.GSIE"));
        assert_eq!(resolve("\\_SB.PCI0", "PCI0.LNKA", there), None);
        assert_eq!(resolve("\\_SB.PCI0.S10", "^GSIE", there), None);
    }

    #[test]
    fn eisa_ids_are_text() {
        assert_eq!(eisa_id(0x0105_d041), "PNP0501");
        assert_eq!(eisa_id(0x0303_d041), "PNP0303");
        assert_eq!(eisa_id(0x130f_d041), "PNP0F13");
        assert_eq!(eisa_id(0x080a_d041), "PNP0A08");
    }
}
