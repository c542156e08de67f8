//! A driver as a newcomer makes it: by the commands of `docs/writing-a-driver.md`, in a copy of the workspace that is
//! thrown away.
//!
//! The copy has what is not committed too. It stays until the next time, and so does what was built there: only what
//! differs is copied, so that cargo builds little anew.

use crate::{console, workspace};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

/// The page whose commands are followed.
pub const PAGE: &str = "docs/writing-a-driver.md";

/// The driver of the page.
const EXAMPLE: &str = "blink";
/// What it is called in the copy: whoever followed the page may have one of that name already.
const NAME: &str = "newcomer";

/// What is no part of the workspace.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

/// Follows `commands`, which the page shows, and looks at what came of it.
pub fn follow(commands: &[String]) -> Result<()> {
    let room = workspace::root().join("target/new-driver");
    let copy = room.join("workspace");
    bring_up_to_date(&workspace::root(), &copy).context("the workspace cannot be copied")?;
    let shell = |command: &str, stdout: Stdio| {
        eprintln!("--- {command}");
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(&copy).env("CARGO_TARGET_DIR", room.join("build"));
        let output = shell.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::inherit()).output();
        let output = output.context("there is no `sh`")?;
        ensure!(output.status.success(), "`{command}` fails: {}", output.status);
        Ok(output.stdout)
    };
    for command in commands.iter().map(|command| command.replace(EXAMPLE, NAME)).chain(more_commands()) {
        shell(&command, Stdio::inherit())?;
    }
    let boot = shell(&format!("cargo xtask run --drivers {NAME} --exec 'interrupts --json'"), Stdio::piped())?;
    has_interrupted(&String::from_utf8_lossy(&boot), &format!("{NAME}#0"))
}

/// What else must hold of a new driver, though its author need not know.
fn more_commands() -> [String; 3] {
    [
        "cargo fmt --all --check".into(),
        format!("cargo clippy -p {NAME} --all-targets -- -D warnings"),
        format!("RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps -p {NAME}"),
    ]
}

/// Checks the table of interrupts in `output`: one by `device` was served.
fn has_interrupted(output: &str, device: &str) -> Result<()> {
    let rows = console::table(output, "vector").context("`interrupts --json` printed no table")?;
    let row = rows.iter().find(|row| row["device"] == device);
    let row = row.with_context(|| format!("no interrupt is {device}'s: {output}"))?;
    let number = |key: &str| row.get(key).and_then(Value::as_u64);
    let (Some(count), Some(unclaimed)) = (number("count"), number("unclaimed")) else {
        bail!("an interrupt without its counts: {row}")
    };
    ensure!(count > 0, "{device} never interrupted");
    ensure!(unclaimed == 0, "{unclaimed} of {count} interrupts of {device} were not claimed");
    Ok(())
}

/// Makes the files below `copy` those below `from`: what is the same stays untouched, and what is too much goes.
fn bring_up_to_date(from: &Path, copy: &Path) -> io::Result<()> {
    fs::create_dir_all(copy)?;
    for entry in fs::read_dir(copy)? {
        let entry = entry?;
        let (here, there) = (entry.path(), from.join(entry.file_name()));
        if here.is_dir() != there.is_dir() || !there.exists() {
            if here.is_dir() { fs::remove_dir_all(here)? } else { fs::remove_file(here)? }
        }
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let (there, here) = (entry.path(), copy.join(entry.file_name()));
        if there.is_dir() {
            bring_up_to_date(&there, &here)?;
        } else if fs::read(&here).ok() != Some(fs::read(&there)?) {
            fs::copy(there, here)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_that_was_counted_and_claimed_is_seen() {
        let output = |count: u64, unclaimed: u64| {
            format!("[{{\"device\":\"x#0\",\"vector\":96,\"count\":{count},\"unclaimed\":{unclaimed}}}]\n")
        };
        assert!(has_interrupted(&output(1, 0), "x#0").is_ok());
        let refused =
            |output: &str, device: &str| has_interrupted(output, device).expect_err("it is wrong").to_string();
        assert!(refused(&output(0, 0), "x#0").contains("never interrupted"));
        assert!(refused(&output(3, 1), "x#0").contains("1 of 3 interrupts"));
        assert!(refused(&output(1, 0), "y#0").contains("no interrupt is y#0's"));
        assert!(refused("nothing", "x#0").contains("no table"));
    }

    #[test]
    fn a_copy_has_what_the_workspace_has_and_no_more() {
        let room = std::env::temp_dir().join(format!("xtask-newcomer-{}", std::process::id()));
        let (from, copy) = (room.join("from"), room.join("copy"));
        for directory in ["from/src", "from/target", "copy/drivers/newcomer", "copy/src"] {
            fs::create_dir_all(room.join(directory)).expect("it can be made");
        }
        for file in ["from/src/kept.rs", "from/src/new.rs", "from/target/built", "copy/drivers/newcomer/lib.rs"] {
            fs::write(room.join(file), file).expect("it can be written");
        }
        fs::write(copy.join("src/kept.rs"), "from/src/kept.rs").expect("it can be written");
        let modified = |file: &Path| fs::metadata(file).and_then(|data| data.modified()).expect("it is there");
        let before = modified(&copy.join("src/kept.rs"));

        bring_up_to_date(&from, &copy).expect("nothing is in the way");

        assert_eq!(fs::read_to_string(copy.join("src/new.rs")).expect("it was copied"), "from/src/new.rs");
        assert_eq!(modified(&copy.join("src/kept.rs")), before, "what is the same is not touched");
        assert!(!copy.join("drivers").exists() && !copy.join("target").exists());
        fs::remove_dir_all(room).expect("it is ours");
    }
}
