//! `cargo xtask new-driver NAME --pci VVVV:DDDD`: a driver crate that builds, passes its tests and runs at once.
//!
//! Everything is checked, and every text is made, before the first file is touched; what fails after that is undone.

mod edits;
mod names;
mod plan;
mod templates;

use crate::workspace;
use anyhow::{Context, Result, ensure};
use names::{DriverName, PciId, Taken};
use plan::Plan;
use std::{fs, path::Path, process::ExitCode};

#[cfg(test)]
pub use templates::example;

/// The workspace's own manifest.
const WORKSPACE: &str = "Cargo.toml";
/// The manifest of the image, which the driver is built into.
const IMAGE: &str = "kernel/image/Cargo.toml";
/// The image's table of drivers.
const TABLE: &str = "kernel/image/src/drivers.rs";

#[derive(clap::Args)]
pub struct NewDriverArgs {
    /// The driver's name: lower-case letters, digits and hyphens, as in `my-disk`
    #[arg(value_name = "NAME")]
    name: DriverName,
    /// The device it serves: vendor and device number, four hexadecimal digits each
    #[arg(long, value_name = "VVVV:DDDD")]
    pci: PciId,
}

pub fn new_driver(args: NewDriverArgs) -> Result<ExitCode> {
    let NewDriverArgs { name, pci } = args;
    let plan = plan(&workspace::root(), &name, pci)?;
    // Where a line breaks and what sorts first depends on the name.
    plan.carry_out(|| {
        let status = workspace::cargo(["fmt", "-p", name.package()]).status().context("cargo could not be started")?;
        ensure!(status.success(), "the new crate could not be formatted: `cargo fmt` says why above");
        Ok(())
    })?;
    print!("{}", report(&name, pci));
    Ok(ExitCode::SUCCESS)
}

/// What a driver `name` of `pci` adds to the workspace at `root`.
fn plan(root: &Path, name: &DriverName, pci: PciId) -> Result<Plan> {
    let read = |file: &str| fs::read_to_string(root.join(file)).with_context(|| format!("{file} cannot be read"));
    name.check_free(&Taken::of(&read("Cargo.lock")?, &root.join("kernel/image/src"))?)?;
    let directory = format!("drivers/{name}");
    ensure!(!root.join(&directory).exists(), "{directory} exists already, and nothing is overwritten");

    let mut plan = Plan::new(root);
    for (file, text) in templates::files(name, pci) {
        plan.create(format!("{directory}/{file}"), text);
    }
    let workspace = read(WORKSPACE)?;
    let drivers = edits::drivers(&workspace).context(WORKSPACE)?;
    let image = read(IMAGE)?;
    let table = read(TABLE)?;
    plan.change(IMAGE, edits::image_manifest(&image, &drivers, name).context(IMAGE)?, image);
    plan.change(TABLE, edits::driver_table(&table, name).context(TABLE)?, table);
    plan.change(WORKSPACE, edits::workspace_manifest(&workspace, &drivers, name).context(WORKSPACE)?, workspace);
    Ok(plan)
}

/// What was done, and the three commands that come next.
fn report(name: &DriverName, pci: PciId) -> String {
    format!(
        "drivers/{name} is a driver for PCI {pci}:\n  \
           src/lib.rs           registers, an ISR, a DPC, and a method that waits for both\n  \
           tests/model/mod.rs   its device on the simulated machine\n  \
           tests/explore.rs     every schedule within a bound, and a planted fault\n\
         It is a member of the workspace ({WORKSPACE}) and built into the image ({IMAGE}, {TABLE}).\n\
         Next:\n  \
           cargo test -p {name}\n  \
           cargo xtask lint\n  \
           cargo xtask run --drivers {name}\n\
         docs/writing-a-driver.md goes on from here.\n"
    )
}

/// What is printed for the driver of [`example`].
#[cfg(test)]
pub fn example_report() -> String {
    report(&"blink".parse().expect("it is a name"), "1234:11e8".parse().expect("these are numbers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(name: &str) -> Result<Plan> {
        let name: DriverName = name.parse().map_err(anyhow::Error::msg)?;
        plan(&workspace::root(), &name, "1234:11e8".parse().expect("these are numbers"))
    }

    #[test]
    fn this_workspace_takes_a_new_driver() {
        let plan = planned("newcomer").expect("nothing here has this name");
        let files: Vec<&str> = plan.files().collect();
        let new = ["Cargo.toml", "src/lib.rs", "tests/model/mod.rs", "tests/explore.rs"];
        let new = new.map(|file| format!("drivers/newcomer/{file}"));
        assert_eq!(files[..4], new.each_ref().map(String::as_str));
        assert_eq!(files[4..], [IMAGE, TABLE, WORKSPACE]);
    }

    #[test]
    fn what_has_its_name_already_is_refused() {
        for name in ["edu", "kernel", "anyhow", "msix"] {
            let error = planned(name).expect_err("it is taken").to_string();
            assert!(error.contains("taken"), "{error}");
        }
    }

    #[test]
    fn the_report_names_three_commands() {
        let report = example_report();
        let commands: Vec<&str> = report.lines().filter_map(|line| line.strip_prefix("  cargo ")).collect();
        assert_eq!(commands, ["test -p blink", "xtask lint", "xtask run --drivers blink"]);
    }
}
