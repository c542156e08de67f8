//! The rules that are not about the place of `unsafe`.

use super::{Finding, source::Source, unsafe_code::unsafe_words};
use crate::workspace::Member;
use proc_macro2::Span;
use syn::{spanned::Spanned, visit::Visit};

/// Checks `source` against every rule for its place in the workspace.
pub fn check(source: &Source) -> Vec<Finding> {
    let mut checker = Checker { path: &source.path, room: Room::of(&source.path), findings: Vec::new() };
    if checker.room.must_forbid_unsafe && !forbids_unsafe(&source.tree) {
        checker.find_line(1, "this crate must begin with `#![forbid(unsafe_code)]`");
    }
    for (line, text) in source.comments() {
        let mut words = text.split(|c: char| !c.is_alphanumeric());
        if let Some(word) = words.find(|word| matches!(*word, "TODO" | "FIXME")) {
            checker.find_line(line, format!("a {word}: finish it, or write an issue"));
        }
    }
    checker.visit_file(&source.tree);
    checker.findings
}

/// The packages each may depend on, by directory; `None`: any. Nothing points back, and no driver sees a HAL.
fn may_use(directory: &str) -> Option<&'static [&'static str]> {
    match directory {
        "kernel/ke" => Some(&[]),
        "kernel/io" => Some(&["ke"]),
        "kernel/hal-x86_64" | "kernel/hal-sim" | "framework" => Some(&["ke", "io"]),
        _ if directory.starts_with("drivers/") => Some(&["framework"]),
        _ => None,
    }
}

/// Checks the arrows between the packages of the workspace. A driver may depend on nothing else at all.
pub fn check_arrows(members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        let Some(allowed) = may_use(&member.directory) else { continue };
        for name in &member.dependencies {
            let ours = members.iter().any(|other| other.name == *name);
            if (ours || member.is_driver()) && !allowed.contains(&name.as_str()) {
                let sentence = format!("{} may not depend on {name}", member.name);
                findings.push(Finding::new(&format!("{}/Cargo.toml", member.directory), 1, sentence));
            }
        }
    }
    findings
}

/// Which rules hold in a file.
#[derive(Debug, Clone, Copy)]
struct Room {
    must_forbid_unsafe: bool,
    /// No `static` may change: all state is reached through the token.
    no_global_state: bool,
    /// The code runs on every machine. No macro that it exports may expand to `unsafe`.
    portable: bool,
    driver: bool,
}

impl Room {
    fn of(path: &str) -> Self {
        let driver = path.starts_with("drivers/") && path.contains("/src/");
        let core = ["kernel/ke/src/", "kernel/io/src/", "framework/src/"].iter().any(|room| path.starts_with(room));
        Room {
            must_forbid_unsafe: path == "framework/src/lib.rs" || (driver && path.ends_with("/src/lib.rs")),
            no_global_state: core || driver,
            portable: core || driver,
            driver,
        }
    }
}

fn forbids_unsafe(tree: &syn::File) -> bool {
    tree.attrs.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("forbid") && list.tokens.to_string().contains("unsafe_code"),
        _ => false,
    })
}

/// Whether a value of this type surely never changes while shared. What is not surely frozen is refused.
fn is_frozen(kind: &syn::Type) -> bool {
    const PLAIN: [&str; 16] = [
        "bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize",
        "f64",
    ];
    match kind {
        syn::Type::Reference(reference) => reference.mutability.is_none() && is_frozen(&reference.elem),
        syn::Type::Array(array) => is_frozen(&array.elem),
        syn::Type::Slice(slice) => is_frozen(&slice.elem),
        syn::Type::Tuple(tuple) => tuple.elems.iter().all(is_frozen),
        syn::Type::BareFn(_) => true,
        syn::Type::Path(path) => path.path.get_ident().is_some_and(|name| PLAIN.iter().any(|plain| name == plain)),
        _ => false,
    }
}

fn is_test_module(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}

struct Checker<'a> {
    path: &'a str,
    room: Room,
    findings: Vec<Finding>,
}

impl Checker<'_> {
    fn find(&mut self, span: Span, sentence: impl Into<String>) {
        self.find_line(span.start().line, sentence);
    }

    fn find_line(&mut self, line: usize, sentence: impl Into<String>) {
        self.findings.push(Finding::new(self.path, line, sentence));
    }

    fn path_segments(&mut self, segments: &[String], span: Span) {
        let atomic = segments.windows(2).any(|pair| pair[0] == "sync" && pair[1] == "atomic");
        if self.room.driver && atomic {
            self.find(span, "a driver uses raw atomics, which exploration cannot see: keep the state behind a lock");
        }
    }

    fn use_tree(&mut self, tree: &syn::UseTree, before: &mut Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.use_tree(&path.tree, before);
                before.pop();
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.use_tree(item, before)),
            syn::UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.path_segments(before, name.span());
                before.pop();
            }
            syn::UseTree::Rename(rename) => {
                before.push(rename.ident.to_string());
                self.path_segments(before, rename.span());
                before.pop();
            }
            syn::UseTree::Glob(glob) => self.path_segments(before, glob.span()),
        }
    }
}

impl<'ast> Visit<'ast> for Checker<'_> {
    fn visit_attribute(&mut self, node: &'ast syn::Attribute) {
        if node.path().is_ident("ignore") {
            self.find(node.span(), "a test is switched off by `#[ignore]`: make it pass or remove it");
        }
        if self.room.driver && (node.path().is_ident("cfg") || node.path().is_ident("cfg_attr")) {
            self.find(node.span(), "a driver has a `cfg`: the driver that is tested must be the one that ships");
        }
        syn::visit::visit_attribute(self, node);
    }

    fn visit_macro(&mut self, node: &'ast syn::Macro) {
        let name = node.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        if name == "todo" || name == "unimplemented" {
            self.find(node.span(), format!("`{name}!` is in the code: finish it, or write an issue"));
        }
        if self.room.driver && name == "cfg" {
            self.find(node.span(), "a driver has a `cfg!`: the driver that is tested must be the one that ships");
        }
        if self.room.portable && name.ends_with("asm") {
            self.find(node.span(), format!("`{name}!` ties portable code to one machine: it belongs in a HAL"));
        }
        if self.room.no_global_state && name == "thread_local" {
            self.find(node.span(), "`thread_local!` is global state: keep it in the `System` or in the driver's data");
        }
        syn::visit::visit_macro(self, node);
    }

    fn visit_item_macro(&mut self, node: &'ast syn::ItemMacro) {
        let exported = node.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"));
        if self.room.portable && exported {
            for span in unsafe_words(node.mac.tokens.clone()) {
                let name = node.ident.as_ref().map(syn::Ident::to_string).unwrap_or_default();
                self.find(span, format!("the exported macro `{name}!` brings `unsafe` into crates that forbid it"));
            }
        }
        syn::visit::visit_item_macro(self, node);
    }

    fn visit_item_mod(&mut self, node: &'ast syn::ItemMod) {
        let global_state = self.room.no_global_state;
        self.room.no_global_state &= !is_test_module(&node.attrs);
        syn::visit::visit_item_mod(self, node);
        self.room.no_global_state = global_state;
    }

    fn visit_item_static(&mut self, node: &'ast syn::ItemStatic) {
        let mutable = matches!(node.mutability, syn::StaticMutability::Mut(_));
        if self.room.no_global_state && (mutable || !is_frozen(&node.ty)) {
            let sentence = format!(
                "the static `{}` may change: state belongs to the `System` or to a driver's data, constants are `const`",
                node.ident
            );
            self.find(node.span(), sentence);
        }
        syn::visit::visit_item_static(self, node);
    }

    fn visit_item_use(&mut self, node: &'ast syn::ItemUse) {
        self.use_tree(&node.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, node: &'ast syn::Path) {
        let segments: Vec<String> = node.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.path_segments(&segments, node.span());
        syn::visit::visit_path(self, node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let source = Source::parse(path, text).expect("the snippet parses");
        check(&source).iter().map(Finding::to_string).collect()
    }

    #[track_caller]
    fn assert_one(path: &str, text: &str, sentence: &str) {
        let found = findings(path, text);
        assert!(found.len() == 1 && found[0].contains(sentence), "{path}: {text}: {found:?}");
    }

    const DRIVER: &str = "drivers/edu/src/isr.rs";

    #[test]
    fn framework_and_drivers_forbid_unsafe() {
        for path in ["framework/src/lib.rs", "drivers/edu/src/lib.rs"] {
            assert_one(path, "#![no_std]", "forbid(unsafe_code)");
            assert_eq!(findings(path, "#![no_std]\n#![forbid(unsafe_code)]"), [""; 0]);
            assert_one(path, "#![deny(unsafe_code)]", "forbid(unsafe_code)");
        }
        assert_eq!(findings("kernel/ke/src/lib.rs", "#![no_std]"), [""; 0]);
    }

    #[test]
    fn nothing_is_left_undone_or_switched_off() {
        assert_one("xtask/src/a.rs", "\n// TODO: later\nfn f() {}", "xtask/src/a.rs:2: a TODO");
        assert_one("kernel/io/src/a.rs", "fn f() { todo!() }", "`todo!`");
        assert_one("kernel/io/src/a.rs", "fn f() { g(|| unimplemented!(\"x\")) }", "`unimplemented!`");
        assert_one("kernel/io/tests/a.rs", "#[test]\n#[ignore]\nfn f() {}", "`#[ignore]`");
        assert_eq!(findings("xtask/src/a.rs", "fn f() { g(\"TODO\") } // a method"), [""; 0]);
    }

    #[test]
    fn drivers_have_no_cfg_and_no_atomics() {
        assert_one(DRIVER, "#[cfg(test)]\nmod tests {}", "`cfg`");
        assert_one(DRIVER, "fn f() { if cfg!(debug_assertions) {} }", "`cfg!`");
        assert_one(DRIVER, "use core::{fmt, sync::{atomic::{AtomicU32}}};", "raw atomics");
        assert_one(DRIVER, "struct X(core::sync::atomic::AtomicU32);", "raw atomics");
        assert_one(DRIVER, "use core::sync::atomic;", "raw atomics");
        assert_eq!(findings("drivers/edu/tests/a.rs", "#[cfg(test)]\nuse std::sync::atomic::AtomicU32;"), [""; 0]);
        assert_eq!(findings("kernel/ke/src/a.rs", "#[cfg(test)]\nuse core::sync::atomic::AtomicU32;"), [""; 0]);
    }

    #[test]
    fn assembly_stays_in_the_hals() {
        assert_one("kernel/ke/src/a.rs", "fn f() { core::arch::asm!(\"cli\") }", "`asm!`");
        assert_one("kernel/io/src/a.rs", "core::arch::global_asm!(\"cli\");", "`global_asm!`");
        assert_eq!(findings("kernel/hal-x86_64/src/a.rs", "fn f() { asm!(\"cli\") }"), [""; 0]);
    }

    #[test]
    fn state_is_never_global() {
        let path = "kernel/ke/src/a.rs";
        assert_one(path, "static COUNT: AtomicU32 = AtomicU32::new(0);", "the static `COUNT`");
        assert_one(path, "static mut COUNT: u32 = 0;", "the static `COUNT`");
        assert_one(path, "fn f() { static LOCK: SpinLock<u32> = SpinLock::new(0); }", "the static `LOCK`");
        assert_one(DRIVER, "thread_local! { static X: u32 = 0; }", "`thread_local!`");
        assert_eq!(findings(path, "static NAMES: [&str; 2] = [\"a\", \"b\"];"), [""; 0]);
        assert_eq!(findings(path, "#[cfg(test)]\nmod tests { static X: AtomicU32 = AtomicU32::new(0); }"), [""; 0]);
        assert_eq!(findings("kernel/hal-x86_64/src/a.rs", "static X: AtomicU32 = AtomicU32::new(0);"), [""; 0]);
    }

    #[test]
    fn exported_macros_are_safe_or_take_the_word_from_their_caller() {
        let path = "framework/src/registers.rs";
        let body = "macro_rules! regs { () => { unsafe { f() } } }";
        assert_one(path, &format!("#[macro_export]\n{body}"), "the exported macro `regs!`");
        assert_eq!(findings(path, body), [""; 0], "it stays in its crate");
        let word = "#[macro_export]\nmacro_rules! export_hal { ($unsafe:tt) => { #[$unsafe(no_mangle)] fn f() {} } }";
        assert_eq!(findings("kernel/ke/src/hal.rs", word), [""; 0]);
    }

    #[test]
    fn arrows_point_one_way() {
        let member = |name: &str, directory: &str, dependencies: &[&str]| Member {
            name: name.into(),
            directory: directory.into(),
            dependencies: dependencies.iter().map(|name| name.to_string()).collect(),
        };
        let members = [
            member("ke", "kernel/ke", &["bitflags"]),
            member("io", "kernel/io", &["ke", "framework"]),
            member("framework", "framework", &["ke", "io"]),
            member("edu", "drivers/edu", &["framework", "ke", "spin"]),
            member("kernel", "kernel/image", &["ke", "framework", "edu"]),
        ];
        let sentences: Vec<String> = check_arrows(&members).iter().map(Finding::to_string).collect();
        assert_eq!(
            sentences,
            [
                "kernel/io/Cargo.toml:1: io may not depend on framework",
                "drivers/edu/Cargo.toml:1: edu may not depend on ke",
                "drivers/edu/Cargo.toml:1: edu may not depend on spin",
            ]
        );
    }
}
