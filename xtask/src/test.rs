//! `cargo xtask test`: everything that is checked, one step after another, to the end even when some fail.

use crate::{
    accel,
    boot::{self, Console},
    machine::{Accel, Apic},
    newcomer,
    qemu_cases::{self, Case},
    qemu_outside,
    qemu_stress::{self, Effort},
    readme,
    run::in_ci,
    setup::{self, Qemu},
    symbols::Symbols,
    workspace::{self, BARE_TARGET, Member},
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

/// How often a long run repeats each boot: what depends on the host's timing shows up sooner or later.
const LONG_REPETITIONS: usize = 10;

/// The commands that stand for this one, so that a README that shows them does not make it run itself.
const THIS_COMMAND: [&str; 2] = ["cargo xtask test", "cargo xtask ci"];

/// When set to 1, a boot skipped for want of x2APIC counts as failed.
const REQUIRE_X2APIC: &str = "DIRQL_REQUIRE_X2APIC";

#[derive(clap::Args, Default)]
pub struct TestArgs {
    /// Run only the steps whose names contain this text
    only: Option<String>,
    /// Repeat what depends on chance many times
    #[arg(long)]
    long: bool,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
}

/// `test`, unattended.
pub fn ci() -> Result<ExitCode> {
    let program = std::env::current_exe().context("this program does not know its own file")?;
    let status = Command::new(program).arg("test").env("CI", "true").status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub fn test(args: TestArgs) -> Result<ExitCode> {
    setup::rust_target()?;
    let qemu = setup::qemu(args.yes || in_ci())?;
    let members = workspace::members()?;
    let mut report = Report { only: args.only.unwrap_or_default(), ..Report::default() };

    let commands = host_commands(&members);
    for command in &commands {
        report.step(command, || shell(command));
    }
    match shown_in("README.md").and_then(|readme| Ok((readme, shown_in(newcomer::PAGE)?))) {
        Ok((readme, page)) => {
            for command in readme.iter().filter(|command| !is_run(command, &commands) && !page.contains(command)) {
                report.step(command, || shell(command));
            }
            report.step("a new driver, made as its page says", || newcomer::follow(&page));
        }
        Err(error) => report.step("the commands that the documentation shows", || Err(error)),
    }
    eprintln!("=== boots in QEMU {}", qemu.version);
    match workspace::build_kernel().and_then(|kernel| Ok((Symbols::load(&kernel, &workspace::root())?, kernel))) {
        Ok((symbols, kernel)) => {
            let cases = qemu_cases::cases(&kernel);
            let has_x2apic = accel::has_x2apic(&qemu, Accel::Tcg);
            for round in 0..if args.long { LONG_REPETITIONS } else { 1 } {
                boots(&cases, &qemu, &symbols, has_x2apic, round, &mut report);
            }
            if args.long {
                let cases = qemu_stress::cases(&kernel, Effort::Long);
                boots(&cases, &qemu, &symbols, has_x2apic, 0, &mut report);
            }
        }
        Err(error) => report.step("build the kernel", || Err(error)),
    }
    Ok(report.end())
}

/// The commands that test on the host, as a person would type them.
fn host_commands(members: &[Member]) -> Vec<String> {
    let packages = |wanted: &dyn Fn(&Member) -> bool| {
        let wanted = members.iter().filter(|member| wanted(member));
        wanted.map(|member| format!("-p {}", member.name)).collect::<Vec<_>>().join(" ")
    };
    let (on_bare, bare_only) = (packages(&Member::runs_on_bare_metal), packages(&Member::is_bare_only));
    let elsewhere = packages(&|member| !member.is_bare_only());
    // A module's text may name its private parts: they are documented too.
    let rustdoc =
        "RUSTDOCFLAGS='-Dwarnings -Arustdoc::private-intra-doc-links' cargo doc --no-deps --document-private-items";
    let mut commands = vec![
        "cargo fmt --all --check".into(),
        "cargo clippy --workspace --all-targets -- -D warnings".into(),
        format!("cargo clippy {on_bare} --target {BARE_TARGET} -- -D warnings"),
        format!("{rustdoc} {elsewhere}"),
        format!("{rustdoc} {bare_only} --target {BARE_TARGET}"),
        "cargo test".into(),
    ];
    commands.extend(members.iter().map(|member| format!("cargo test -p {}", member.name)));
    commands.push("cargo xtask lint".into());
    commands.push("cargo xtask bench --check".into());
    commands
}

/// The commands that `page` shows.
fn shown_in(page: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(workspace::root().join(page)).with_context(|| format!("{page} cannot be read"))?;
    Ok(readme::commands(&text))
}

/// Whether a command that the README shows is one that runs anyway.
fn is_run(command: &str, commands: &[String]) -> bool {
    THIS_COMMAND.contains(&command) || commands.iter().any(|known| known == command)
}

fn boots(cases: &[Case], qemu: &Qemu, symbols: &Symbols, has_x2apic: bool, round: usize, report: &mut Report) {
    for case in cases {
        let name = if round == 0 { case.name.clone() } else { format!("{}, again {round}", case.name) };
        if case.machine.apic == Apic::X2apic && !has_x2apic {
            report.skip(&name, &format!("QEMU {} has no x2APIC under TCG", qemu.version));
        } else if let Some(device) = lacks(qemu, case) {
            report.skip(&name, &format!("QEMU {} was built without {device}", qemu.version));
        } else {
            report.step(&name, || run_case(case, qemu, symbols));
        }
    }
}

/// The device that a boot needs and QEMU lacks.
fn lacks(qemu: &Qemu, case: &Case) -> Option<&'static str> {
    case.outside?.needs().filter(|device| !qemu.has_device(device))
}

fn run_case(case: &Case, qemu: &Qemu, symbols: &Symbols) -> Result<()> {
    let (outcome, typed) = match case.outside {
        Some(outside) => qemu_outside::boot(&qemu.program, &case.machine, symbols, outside, case.limit)?,
        None => (boot::boot(&qemu.program, &case.machine, symbols, Console::Quiet, Some(case.limit))?, Ok(())),
    };
    let verdict = || {
        ensure!(
            outcome.ending == case.ending,
            "it ended otherwise ({}) than it must ({})",
            outcome.ending,
            case.ending
        );
        case.checks.iter().try_for_each(|check| qemu_cases::check(*check, &outcome.output))?;
        typed
    };
    verdict().inspect_err(|_| eprint!("{}{}", outcome.output, outcome.complaints))
}

/// Runs a command as the README's reader would, in the workspace, with nobody to answer.
fn shell(command: &str) -> Result<()> {
    let status = Command::new("sh")
        .args(["-c", command])
        .current_dir(workspace::root())
        .stdin(Stdio::null())
        .status()
        .context("there is no `sh`")?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// What passed, what failed, what could not run here.
#[derive(Default)]
struct Report {
    /// Only steps with this in their names run.
    only: String,
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Report {
    fn step(&mut self, name: &str, run: impl FnOnce() -> Result<()>) {
        if !name.contains(&self.only) {
            return;
        }
        eprintln!("=== {name}");
        let start = Instant::now();
        match run() {
            Ok(()) => {
                self.passed += 1;
                eprintln!("=== {name}: passed ({:.1} s)", start.elapsed().as_secs_f64());
            }
            Err(error) => {
                eprintln!("=== {name}: FAILED: {error:#}");
                self.failed.push(format!("{name}: {error:#}"));
            }
        }
    }

    fn skip(&mut self, name: &str, reason: &str) {
        if !name.contains(&self.only) {
            return;
        }
        eprintln!("=== {name}: skipped: {reason}");
        if std::env::var_os(REQUIRE_X2APIC).is_some_and(|value| value == "1") {
            self.failed.push(format!("{name}: {reason}, and {REQUIRE_X2APIC}=1 demands it"));
        } else {
            self.skipped.push(format!("{name}: {reason}"));
        }
    }

    fn end(self) -> ExitCode {
        for line in &self.skipped {
            println!("skipped: {line}");
        }
        for line in &self.failed {
            println!("failed: {line}");
        }
        println!("{} passed, {} failed", self.passed, self.failed.len());
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    fn member(name: &str, directory: &str) -> Member {
        Member { name: name.into(), directory: directory.into(), dependencies: Vec::new() }
    }

    #[test]
    fn every_member_is_tested_alone_and_what_boots_is_linted_for_the_bare_target() {
        let members = [member("ke", "kernel/ke"), member("hal-sim", "kernel/hal-sim"), member("edu", "drivers/edu")];
        let commands = host_commands(&members);
        for name in ["ke", "hal-sim", "edu"] {
            assert!(commands.contains(&format!("cargo test -p {name}")), "{commands:?}");
        }
        let bare = "cargo clippy -p ke -p edu --target x86_64-unknown-none -- -D warnings".to_owned();
        assert!(commands.contains(&bare), "{commands:?}");
    }

    #[test]
    fn a_readme_command_runs_once() {
        let commands = host_commands(&[]);
        assert!(is_run("cargo xtask test", &commands), "it must not run itself");
        assert!(is_run("cargo test", &commands));
        assert!(!is_run("cargo xtask run --smp 4", &commands));
    }

    #[test]
    fn a_failure_does_not_end_the_run_and_is_counted() {
        let mut report = Report::default();
        report.step("one", || bail!("broken"));
        report.step("two", || Ok(()));
        assert_eq!((report.passed, report.failed.len()), (1, 1));
        assert_eq!(report.failed[0], "one: broken");
    }

    #[test]
    fn a_text_chooses_steps_by_their_names() {
        let mut report = Report { only: "crash".into(), ..Report::default() };
        report.step("crash isr", || Ok(()));
        report.step("cargo test", || bail!("it was not asked for"));
        assert_eq!((report.passed, report.failed.len()), (1, 0));
    }
}
