//! What a driver may be called, and which device it is for.

use super::templates;
use anyhow::{Context, Result, bail};
use std::{fmt, fs, path::Path, str::FromStr};
use toml_edit::DocumentMut;

/// So that no line of the templates becomes too long.
const LONGEST: usize = 32;

/// Words that no crate can have as its name: Rust's keywords, those reserved for later among them.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];
/// Crates that are always there.
const OF_RUST: &[&str] = &["alloc", "core", "proc-macro", "std", "test"];
/// What the generated crate's own tests are called.
const OF_THE_TESTS: &[&str] = &["explore", "model"];

/// A driver's name in its three forms: `my-disk`, `my_disk`, `MyDisk`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverName {
    package: String,
}

impl DriverName {
    /// The package, the directory, and what the driver calls itself.
    pub fn package(&self) -> &str {
        &self.package
    }

    /// The crate as Rust code names it.
    pub fn krate(&self) -> String {
        self.package.replace('-', "_")
    }

    /// The device's type.
    pub fn device_type(&self) -> String {
        let capitalized = |word: &str| word[..1].to_uppercase() + &word[1..];
        self.package.split('-').map(capitalized).collect()
    }

    /// Refuses a name that something else has.
    pub fn check_free(&self, taken: &Taken) -> Result<()> {
        if taken.packages.contains(&self.package) || taken.packages.contains(&self.krate()) {
            bail!("the name `{self}` is taken: Cargo.lock has a package that is called so");
        }
        if taken.drivers.contains(&self.package) {
            bail!("the name `{self}` is taken: a driver of the image's own tests is called so");
        }
        Ok(())
    }
}

impl FromStr for DriverName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !text.starts_with(|c: char| c.is_ascii_lowercase()) || !text.chars().all(is_plain) {
            return Err(
                "a driver's name begins with a lower-case letter and goes on with more, digits and hyphens".into()
            );
        }
        if text.ends_with('-') || text.contains("--") {
            return Err("each hyphen of a driver's name stands between two words".into());
        }
        if text.len() > LONGEST {
            return Err(format!("a driver's name has at most {LONGEST} characters"));
        }
        if KEYWORDS.contains(&text) {
            return Err(format!("`{text}` is a keyword of Rust, which no crate can be called"));
        }
        if OF_RUST.contains(&text) || OF_THE_TESTS.contains(&text) {
            return Err(format!("`{text}` is a crate or module that the driver's own code uses"));
        }
        let name = DriverName { package: text.into() };
        if templates::say(&name.device_type()) {
            return Err(format!(
                "its type would be `{}`, which the driver's own code uses already",
                name.device_type()
            ));
        }
        Ok(name)
    }
}

impl fmt::Display for DriverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.package)
    }
}

/// The names that are in use.
#[derive(Debug, Default)]
pub struct Taken {
    /// All packages, those from outside too: `cargo test -p NAME` must mean one.
    packages: Vec<String>,
    /// What drivers inside the image call themselves.
    drivers: Vec<String>,
}

impl Taken {
    /// From the text of `Cargo.lock` and the image's sources.
    pub fn of(lock: &str, image: &Path) -> Result<Self> {
        let lock: DocumentMut = lock.parse().context("Cargo.lock cannot be read")?;
        let packages = lock.get("package").and_then(|list| list.as_array_of_tables());
        let packages = packages.context("Cargo.lock lists no packages: `cargo check` makes it anew")?.iter();
        let packages = packages.filter_map(|package| Some(package.get("name")?.as_str()?.to_owned())).collect();
        let mut drivers = Vec::new();
        collect_drivers(image, &mut drivers).with_context(|| format!("{} cannot be read", image.display()))?;
        Ok(Taken { packages, drivers })
    }
}

/// The names in all `impl Device` below `directory`.
fn collect_drivers(directory: &Path, names: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_drivers(&path, names)?;
        } else {
            let text = fs::read_to_string(&path)?;
            let after = text.split("const NAME: &'static str = \"").skip(1);
            names.extend(after.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
    Ok(())
}

/// Vendor and device number of a PCI function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PciId {
    pub vendor: u16,
    pub device: u16,
}

impl FromStr for PciId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.len() == 4 && text.chars().all(|c| c.is_ascii_hexdigit()) {
            true => u16::from_str_radix(text, 16).ok(),
            false => None,
        };
        let ids = text.split_once(':').and_then(|(vendor, device)| Some((number(vendor)?, number(device)?)));
        let Some((vendor, device)) = ids else {
            return Err(
                "a PCI id is two numbers of four hexadecimal digits with a colon between, as in 1234:11e8".into()
            );
        };
        if vendor == u16::MAX {
            return Err("no device has the vendor ffff: that is what an empty slot answers".into());
        }
        Ok(PciId { vendor, device })
    }
}

impl fmt::Display for PciId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_three_forms() {
        let name: DriverName = "my-disk2".parse().expect("it is a name");
        assert_eq!((name.package(), &*name.krate(), &*name.device_type()), ("my-disk2", "my_disk2", "MyDisk2"));
    }

    #[test]
    fn what_is_no_name_is_refused_with_a_sentence() {
        let refused = |text: &str, sentence: &str| {
            let error = text.parse::<DriverName>().expect_err("it is no name");
            assert!(error.contains(sentence), "{text}: {error}");
        };
        for text in ["", "Blink", "2nd", "-x", "my_disk", "a.b", "../up", "bl\u{ef}nk", "a b"] {
            refused(text, "begins with a lower-case letter");
        }
        for text in ["a-", "a--b"] {
            refused(text, "between two words");
        }
        refused(&"x".repeat(LONGEST + 1), "at most 32 characters");
        for text in ["fn", "gen", "self", "try"] {
            refused(text, "keyword");
        }
        for text in ["std", "proc-macro", "explore", "model"] {
            refused(text, "crate or module");
        }
        for text in ["device", "event", "pending", "irq", "dpc-cx", "result", "wait-lock"] {
            refused(text, "uses already");
        }
    }

    #[test]
    fn a_name_that_something_has_is_refused() {
        let taken = Taken { packages: vec!["edu".into(), "proc_x".into()], drivers: vec!["msix".into()] };
        let check = |text: &str| text.parse::<DriverName>().expect("it is a name").check_free(&taken);
        assert!(check("blink").is_ok());
        assert!(check("edu").expect_err("it is taken").to_string().contains("Cargo.lock"));
        assert!(check("proc-x").is_err(), "rustc makes no difference between hyphen and underscore");
        assert!(check("msix").expect_err("it is taken").to_string().contains("image's own"));
    }

    #[test]
    fn ids_are_four_digits_each() {
        let id: PciId = "1af4:10C0".parse().expect("these are numbers");
        assert_eq!((id, &*id.to_string()), (PciId { vendor: 0x1af4, device: 0x10c0 }, "1af4:10c0"));
        for text in ["", "1234", "1234:", "1234:11e", "12345:11e8", "1234:11g8", "+123:11e8", "0x1234:0x11e8"] {
            assert!(text.parse::<PciId>().expect_err("it is no id").contains("four hexadecimal digits"), "{text}");
        }
        assert!("ffff:0001".parse::<PciId>().expect_err("nobody has it").contains("empty slot"));
    }
}
