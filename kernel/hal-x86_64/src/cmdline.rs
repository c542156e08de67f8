//! The kernel command line: words separated by blanks, each `key` or `key=value`.

/// The value of the last `key=value` word, the empty string for a bare `key`, `None` if the key is absent.
///
/// ```
/// use hal_x86_64::cmdline::value;
/// assert_eq!(value("apic=xapic quiet", "apic"), Some("xapic"));
/// assert_eq!(value("apic=xapic quiet", "quiet"), Some(""));
/// assert_eq!(value("apic=xapic quiet", "smp"), None);
/// ```
pub fn value<'a>(cmdline: &'a str, key: &str) -> Option<&'a str> {
    cmdline.split_ascii_whitespace().rev().find_map(|word| match word.split_once('=') {
        Some((name, value)) => (name == key).then_some(value),
        None => (word == key).then_some(""),
    })
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn the_last_word_wins() {
        assert_eq!(value("apic=auto apic=x2apic", "apic"), Some("x2apic"));
    }

    #[test]
    fn a_key_is_a_whole_word() {
        assert_eq!(value("xapic=1 apicx=2", "apic"), None);
        assert_eq!(value("  a=b=c\t", "a"), Some("b=c"));
        assert_eq!(value("", "apic"), None);
    }
}
