//! `cargo xtask lint`: where `unsafe` is and why, and the rules of the project that rustc and clippy do not know.
//!
//! Every rule works on the parsed source, so strings and comments cannot fool it, and every finding is a sentence with
//! its place.

mod allowed;
mod rules;
mod source;
mod unsafe_code;

use crate::workspace::{self, Member};
use anyhow::{Context, Result};
use source::Source;
use std::{collections::BTreeMap, fmt, fs, path::Path, process::ExitCode};

/// A rule that is broken, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    file: String,
    line: usize,
    sentence: String,
}

impl Finding {
    fn new(file: &str, line: usize, sentence: impl Into<String>) -> Self {
        Finding { file: file.into(), line, sentence: sentence.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.sentence)
    }
}

/// The deliberate mistakes of the misuse pairs are no part of the project's code.
const MISUSE_PAIRS: &str = "framework/tests/misuse/";

pub fn lint() -> Result<ExitCode> {
    let root = workspace::root();
    let members = workspace::members()?;
    let sources = read_sources(&root, &members)?;
    let architecture = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();

    let (allowed, mut findings) = allowed::parse("ARCHITECTURE.md", &architecture);
    let mut modules: BTreeMap<&str, Vec<unsafe_code::Use>> = BTreeMap::new();
    for source in &sources {
        let uses = unsafe_code::find(source);
        findings.extend(unsafe_code::check(source, &uses, &allowed));
        findings.extend(rules::check(source));
        if !uses.is_empty() {
            modules.insert(&source.path, uses);
        }
    }
    let files: Vec<&str> = modules.keys().copied().collect();
    findings.extend(allowed::check_used("ARCHITECTURE.md", &allowed, &files));
    findings.extend(rules::check_arrows(&members));
    findings.sort();

    print!("{}", report(&modules));
    for finding in &findings {
        println!("{finding}");
    }
    println!("{} findings in {} files", findings.len(), sources.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every use of `unsafe` with its reason, module by module, and the counts.
fn report(modules: &BTreeMap<&str, Vec<unsafe_code::Use>>) -> String {
    let mut text = String::new();
    for (module, uses) in modules {
        text += &format!("{module}: {}\n", uses.len());
        for found in uses {
            let reason = found.reason.as_deref().unwrap_or("(no reason given)");
            text += &format!("  {:>5}  {:<9} {reason}\n", found.line, found.kind);
        }
    }
    let blocks = modules.values().flatten().filter(|found| found.kind == unsafe_code::Kind::Block).count();
    let all = modules.values().flatten().count();
    text += &format!("{blocks} unsafe blocks, {all} uses of `unsafe` in all, in {} modules\n", modules.len());
    text
}

fn read_sources(root: &Path, members: &[Member]) -> Result<Vec<Source>> {
    let mut paths = Vec::new();
    for member in members {
        collect(&root.join(&member.directory), &mut paths)?;
    }
    paths.sort();
    let mut sources = Vec::new();
    for path in paths {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        if !name.starts_with(MISUSE_PAIRS) {
            let text = fs::read_to_string(&path).with_context(|| format!("{name} cannot be read"))?;
            sources.push(Source::parse(&name, &text)?);
        }
    }
    Ok(sources)
}

fn collect(directory: &Path, paths: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("{} cannot be read", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, paths)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
    Ok(())
}
