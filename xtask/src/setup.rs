//! What a fresh machine lacks: the Rust target, by rustup, and QEMU, by the system's package manager.

use crate::workspace::BARE_TARGET;
use anyhow::{Context, Result, bail};
use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// QEMU, and what it says of itself.
#[derive(Debug, Clone)]
pub struct Qemu {
    pub program: PathBuf,
    /// As in `7.2.22`.
    pub version: String,
}

impl Qemu {
    /// Whether it was built with the device `name`.
    pub fn has_device(&self, name: &str) -> bool {
        let help = Command::new(&self.program).args(["-M", "none", "-device", "help"]).output();
        help.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(&format!("name \"{name}\"")))
    }
}

/// How to get QEMU with one package manager: the commands, without `sudo`.
struct Manager {
    program: &'static str,
    commands: &'static [&'static str],
    needs_root: bool,
}

const MANAGERS: [Manager; 4] = [
    Manager {
        program: "apt-get",
        commands: &["apt-get update", "apt-get install -y --no-install-recommends qemu-system-x86"],
        needs_root: true,
    },
    Manager { program: "dnf", commands: &["dnf install -y qemu-system-x86-core"], needs_root: true },
    Manager { program: "pacman", commands: &["pacman -Sy --noconfirm qemu-system-x86"], needs_root: true },
    Manager { program: "brew", commands: &["brew install qemu"], needs_root: false },
];

/// Adds the kernel's target to the Rust toolchain if it is missing.
pub fn rust_target() -> Result<()> {
    let found = Command::new("rustc").args(["--print=target-libdir", "--target", BARE_TARGET]).output();
    if found.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()) {
        return Ok(());
    }
    eprintln!("Adding the Rust target {BARE_TARGET}");
    let added = Command::new("rustup").args(["target", "add", BARE_TARGET]).status();
    if !added.is_ok_and(|status| status.success()) {
        bail!("the Rust target {BARE_TARGET} is missing; add it by: rustup target add {BARE_TARGET}");
    }
    Ok(())
}

/// Finds QEMU, or gets it: at once if `yes`, after asking at a terminal, else it says what to type. The environment
/// variable `QEMU` names another program than the one on the path.
pub fn qemu(yes: bool) -> Result<Qemu> {
    let program = PathBuf::from(std::env::var_os("QEMU").unwrap_or_else(|| "qemu-system-x86_64".into()));
    if let Some(version) = version_of(&program) {
        return Ok(Qemu { program, version });
    }
    install(yes)?;
    let version = version_of(&program).with_context(|| format!("{} is still not found", program.display()))?;
    Ok(Qemu { program, version })
}

fn version_of(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

fn parse_version(text: &str) -> Option<String> {
    let rest = text.strip_prefix("QEMU emulator version ")?;
    Some(rest.split_whitespace().next()?.into())
}

fn install(yes: bool) -> Result<()> {
    let exists = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let Some(manager) = MANAGERS.iter().find(|manager| exists(manager.program)) else {
        bail!(
            "qemu-system-x86_64 is not installed and no package manager that we know is here: install QEMU, then retry"
        );
    };
    let sudo = manager.needs_root && !is_root();
    let commands: Vec<String> =
        manager.commands.iter().map(|command| format!("{}{command}", if sudo { "sudo " } else { "" })).collect();
    let line = commands.join(" && ");
    if !yes && !confirmed(&line)? {
        bail!("qemu-system-x86_64 is not installed; install it by: {line}");
    }
    for command in commands {
        eprintln!("Running: {command}");
        let mut words = command.split_whitespace();
        let program = words.next().context("a command has a first word")?;
        if !Command::new(program).args(words).status().is_ok_and(|status| status.success()) {
            bail!("`{command}` failed; qemu-system-x86_64 is needed");
        }
    }
    Ok(())
}

/// Asks at a terminal; without one the answer is no.
fn confirmed(line: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    eprint!("QEMU is needed and not installed. Install it by `{line}`? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_off_qemus_first_line() {
        let text = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright (c)";
        assert_eq!(parse_version(text).as_deref(), Some("7.2.22"));
        assert_eq!(parse_version("something else"), None);
    }
}
