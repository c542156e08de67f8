//! Where `unsafe` may be: the table of ARCHITECTURE.md, so that the list exists once.
//!
//! ```text
//! ## Where unsafe lives
//! | module | invariant |
//! |---|---|
//! | `kernel/hal-x86_64` | ... |
//! | `ke::lock`, `ke::cell` | ... |
//! ```
//! A module is a path of the workspace (a file, or a directory with all in it) or the Rust path of a module in `ke` or
//! `io`.

use super::Finding;

const HEADING: &str = "where unsafe lives";

/// Where the table may point: the framework and the drivers forbid `unsafe` altogether.
const ROOMS: [&str; 5] = ["kernel/ke", "kernel/io", "kernel/hal-x86_64", "kernel/hal-sim", "kernel/image"];

/// The modules of the table.
#[derive(Debug)]
pub struct Allowed {
    /// Paths without `.rs`, each with the line of its row.
    modules: Vec<(String, usize)>,
}

impl Allowed {
    #[cfg(test)]
    pub fn of(modules: &[&str]) -> Self {
        Allowed { modules: modules.iter().map(|module| (path_of(module), 0)).collect() }
    }

    /// Whether the file `path` may contain `unsafe`.
    pub fn permits(&self, path: &str) -> bool {
        self.modules.iter().any(|(module, _)| covers(module, path))
    }
}

/// Whether `module` is the file `path` or has it inside.
fn covers(module: &str, path: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// `ke::lock` as `kernel/ke/src/lock`; a path loses its `.rs` and its last `/`.
fn path_of(module: &str) -> String {
    if let Some((package, rest)) = module.split_once("::") {
        return format!("kernel/{}/src/{}", package.replace('_', "-"), rest.replace("::", "/"));
    }
    module.trim_end_matches('/').trim_end_matches(".rs").into()
}

/// Reads the table in `text`, the content of `file`.
pub fn parse(file: &str, text: &str) -> (Allowed, Vec<Finding>) {
    let mut allowed = Allowed { modules: Vec::new() };
    let mut findings = Vec::new();
    let mut in_section = false;
    let mut found_section = false;
    for (line, number) in text.lines().zip(1..) {
        if line.starts_with('#') {
            in_section = line.trim_start_matches('#').trim().to_lowercase().replace('`', "").starts_with(HEADING);
            found_section |= in_section;
        }
        let Some(row) = line.trim().strip_prefix('|').filter(|_| in_section) else { continue };
        let mut cells = row.split('|').map(str::trim);
        let (module, invariant) = (cells.next().unwrap_or(""), cells.next().unwrap_or(""));
        if module.chars().all(|c| "-: ".contains(c)) || module.eq_ignore_ascii_case("module") {
            continue;
        }
        if invariant.is_empty() {
            findings.push(Finding::new(file, number, format!("the module {module} has no invariant")));
        }
        for name in module.split(',').map(|name| name.trim().trim_matches('`')) {
            let path = path_of(name);
            if !ROOMS.iter().any(|room| path == *room || path.starts_with(&format!("{room}/"))) {
                let sentence = format!("`unsafe` may not live in {name}: only in {}", ROOMS.join(", "));
                findings.push(Finding::new(file, number, sentence));
            } else {
                allowed.modules.push((path, number));
            }
        }
    }
    if !found_section {
        findings.push(Finding::new(file, 1, "there is no section \"Where unsafe lives\" with its table"));
    }
    (allowed, findings)
}

/// A row that no use of `unsafe` needs is a finding: the list must stay true.
pub fn check_used(file: &str, allowed: &Allowed, files: &[&str]) -> Vec<Finding> {
    let unused = allowed.modules.iter().filter(|(module, _)| !files.iter().any(|path| covers(module, path)));
    unused.map(|(module, line)| Finding::new(file, *line, format!("{module} is listed and has no `unsafe`"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Architecture\n| `framework` | not this table |\n## Where `unsafe` lives\n\n| module | invariant |\n\
                        |---|---|\n| `kernel/hal-x86_64/` | the machine |\n| `ke::lock`, `ke::dispatch::entry` | locks |\n\
                        ## Next\n| `drivers/edu` | not this table |\n";

    #[test]
    fn the_table_permits_what_it_lists() {
        let (allowed, findings) = parse("A.md", TEXT);
        assert_eq!(findings, []);
        for path in ["kernel/hal-x86_64/src/idt.rs", "kernel/ke/src/lock.rs", "kernel/ke/src/lock/ticket.rs"] {
            assert!(allowed.permits(path), "{path}");
        }
        assert!(allowed.permits("kernel/ke/src/dispatch/entry.rs"));
        for path in
            ["kernel/ke/src/locks.rs", "kernel/ke/src/dispatch.rs", "drivers/edu/src/lib.rs", "framework/src/lib.rs"]
        {
            assert!(!allowed.permits(path), "{path}");
        }
    }

    #[test]
    fn a_wrong_table_is_told() {
        let (_, findings) = parse("A.md", "## Where unsafe lives\n| `framework` | x |\n| `ke::lock` | |\n");
        let sentences: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert_eq!(sentences.len(), 2, "{sentences:?}");
        assert!(sentences[0].starts_with("A.md:2: `unsafe` may not live in framework"));
        assert!(sentences[1].starts_with("A.md:3: ") && sentences[1].contains("no invariant"));
        assert_eq!(parse("A.md", "nothing").1.len(), 1, "no section");
    }

    #[test]
    fn a_row_that_nothing_needs_is_told() {
        let (allowed, _) = parse("A.md", TEXT);
        let findings = check_used("A.md", &allowed, &["kernel/hal-x86_64/src/idt.rs", "kernel/ke/src/lock.rs"]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].to_string().contains("kernel/ke/src/dispatch/entry is listed"), "{findings:?}");
    }
}
