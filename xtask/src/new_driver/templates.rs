//! The generated crate's files: `xtask/templates/driver/`, with the driver's names and numbers put in.

use super::names::{DriverName, PciId};

/// Where each file goes, and its template.
const TEMPLATES: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("../../templates/driver/Cargo.toml.in")),
    ("src/lib.rs", include_str!("../../templates/driver/lib.rs.in")),
    ("tests/model/mod.rs", include_str!("../../templates/driver/model.rs.in")),
    ("tests/explore.rs", include_str!("../../templates/driver/explore.rs.in")),
];

/// The files of driver `name` for `pci`, by their paths in its directory.
pub fn files(name: &DriverName, pci: PciId) -> Vec<(&'static str, String)> {
    let values = [
        ("{{name}}", name.package().to_owned()),
        ("{{crate}}", name.krate()),
        ("{{Type}}", name.device_type()),
        ("{{vendor}}", format!("{:#06x}", pci.vendor)),
        ("{{device}}", format!("{:#06x}", pci.device)),
    ];
    let fill = |template: &str| values.iter().fold(template.to_owned(), |text, (key, value)| text.replace(key, value));
    TEMPLATES.iter().map(|(file, template)| (*file, fill(template))).collect()
}

/// Whether a template says `word`, beside what is put in: then nothing new can be called so.
pub fn say(word: &str) -> bool {
    let is_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
    TEMPLATES.iter().any(|(_, template)| template.split(|c: char| !is_of_a_word(c)).any(|said| said == word))
}

/// A file of the driver that the documentation makes: `blink`, for QEMU's `edu`.
#[cfg(test)]
pub fn example(file: &str) -> Option<String> {
    let name = "blink".parse().expect("it is a name");
    let files = files(&name, PciId { vendor: 0x1234, device: 0x11e8 });
    files.into_iter().find_map(|(path, text)| (path == file).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_filled() {
        let name: DriverName = "my-disk".parse().expect("it is a name");
        let files = files(&name, PciId { vendor: 0x1af4, device: 0x10 });
        for (file, text) in &files {
            assert!(!text.contains("{{") && !text.contains("}}"), "{file} has a placeholder left");
        }
        let text = |wanted: &str| &files.iter().find(|(file, _)| *file == wanted).expect("it is made").1;
        assert!(text("Cargo.toml").contains("name = \"my-disk\""));
        assert!(text("src/lib.rs").contains("&[PciId(0x1af4, 0x0010)]"));
        assert!(text("tests/explore.rs").contains("use my_disk::MyDisk;"));
    }

    #[test]
    fn words_of_the_templates_are_known() {
        assert!(say("EvtIsr") && say("Regs"));
        assert!(!say("Blink") && !say("Type_"));
    }

    /// What `{{Type}}` becomes is no word of the templates, but the placeholder is.
    #[test]
    fn every_template_is_rust_or_toml_when_it_is_filled() {
        for file in ["src/lib.rs", "tests/model/mod.rs", "tests/explore.rs"] {
            let text = example(file).expect("it is made");
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(text.lines().all(|line| line.chars().count() <= 120), "{file} has a line that is too long");
        }
        let manifest = example("Cargo.toml").expect("it is made");
        manifest.parse::<toml_edit::DocumentMut>().expect("it is TOML");
    }
}
