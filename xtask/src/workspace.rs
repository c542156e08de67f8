//! The workspace: where it is, what is in it, and the kernel built from it.

use anyhow::{Context, Result, bail};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The target the kernel is built for.
pub const BARE_TARGET: &str = "x86_64-unknown-none";

/// A package of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// Its directory, relative to the workspace.
    pub directory: String,
    /// The packages it depends on outside of tests.
    pub dependencies: Vec<String>,
}

impl Member {
    /// Whether it is a driver.
    pub fn is_driver(&self) -> bool {
        self.directory.starts_with("drivers/")
    }

    /// Whether it is made for the bare target alone, and only a part of it builds elsewhere.
    pub fn is_bare_only(&self) -> bool {
        matches!(self.directory.as_str(), "kernel/hal-x86_64" | "kernel/image")
    }

    /// Whether it is part of what boots.
    pub fn runs_on_bare_metal(&self) -> bool {
        self.is_driver()
            || self.directory == "framework"
            || (self.directory.starts_with("kernel/") && self.directory != "kernel/hal-sim")
    }
}

/// The directory of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// `cargo` with these arguments, in the workspace.
pub fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// The packages of the workspace, in the order of `Cargo.toml`.
pub fn members() -> Result<Vec<Member>> {
    let output = cargo(["metadata", "--no-deps", "--format-version", "1"]).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("`cargo metadata` failed");
    }
    parse_members(&serde_json::from_slice(&output.stdout)?, &root()).context("`cargo metadata` has an unknown shape")
}

fn parse_members(metadata: &serde_json::Value, root: &Path) -> Option<Vec<Member>> {
    let mut members = Vec::new();
    for package in metadata["packages"].as_array()? {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        let dependencies = package["dependencies"].as_array()?;
        members.push(Member {
            name: package["name"].as_str()?.into(),
            directory: manifest.parent()?.strip_prefix(root).ok()?.to_str()?.into(),
            dependencies: dependencies
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .filter_map(|dependency| Some(dependency["name"].as_str()?.to_owned()))
                .collect(),
        });
    }
    Some(members)
}

/// Builds the kernel as it ships and gives the path of its ELF. Cargo shows its progress.
pub fn build_kernel() -> Result<PathBuf> {
    eprintln!("Building the kernel for {BARE_TARGET}");
    let arguments = ["build", "-p", "kernel", "--release", "--target", BARE_TARGET];
    let output = cargo(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cargo could not be started")?;
    if !output.status.success() {
        bail!("the kernel does not build: `cargo {}` says why above", arguments.join(" "));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    messages.lines().filter_map(executable_of_kernel).next_back().context("cargo built no executable named `kernel`")
}

/// The path in cargo's message that the kernel's executable is ready.
fn executable_of_kernel(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    (message["reason"] == "compiler-artifact" && message["target"]["name"] == "kernel")
        .then(|| message["executable"].as_str().map(PathBuf::from))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_found_among_cargos_messages() {
        let kernel = r#"{"reason":"compiler-artifact","target":{"name":"kernel"},"executable":"/t/release/kernel"}"#;
        assert_eq!(executable_of_kernel(kernel), Some("/t/release/kernel".into()));
        let library = r#"{"reason":"compiler-artifact","target":{"name":"ke"},"executable":null}"#;
        assert_eq!(executable_of_kernel(library), None);
        assert_eq!(executable_of_kernel("warning: not JSON"), None);
    }

    #[test]
    fn members_know_their_room_and_what_they_depend_on() {
        let metadata = serde_json::json!({"packages": [
            {"name": "edu", "manifest_path": "/w/drivers/edu/Cargo.toml", "dependencies": [
                {"name": "framework", "kind": null}, {"name": "hal-sim", "kind": "dev"}]},
            {"name": "hal-sim", "manifest_path": "/w/kernel/hal-sim/Cargo.toml", "dependencies": []}]});
        let members = parse_members(&metadata, Path::new("/w")).expect("it has cargo's shape");
        assert_eq!(members[0].dependencies, ["framework"], "a test's dependency is not one of the crate");
        assert!(members[0].is_driver() && members[0].runs_on_bare_metal());
        assert!(!members[1].is_driver() && !members[1].runs_on_bare_metal());
    }
}
