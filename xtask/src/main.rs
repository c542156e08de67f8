//! Build, run, test, measure and check Dirql: `cargo xtask <command>`.
#![forbid(unsafe_code)]

mod accel;
mod bench;
mod boot;
mod budgets;
mod console;
#[cfg_attr(not(target_os = "linux"), path = "ivshmem_elsewhere.rs")]
mod ivshmem;
mod lint;
mod machine;
mod new_driver;
mod newcomer;
#[cfg(test)]
mod pages;
mod qemu_cases;
mod qemu_lines;
mod qemu_objects;
mod qemu_outside;
mod qemu_prompt;
mod qemu_stress;
mod qemu_trouble;
mod readme;
mod run;
mod setup;
mod status;
mod symbols;
mod test;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build, run, test, measure and check Dirql")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boot the kernel in QEMU: its monitor's prompt at a terminal, else a list of commands
    Run(run::RunArgs),
    /// Run every test: format, lints, host, documentation, misuse pairs, exploration, QEMU
    Test(test::TestArgs),
    /// Count the instructions of the interrupt path and compare them with the budgets
    Bench(bench::BenchArgs),
    /// Make a new driver: registers, ISR, DPC, a device model and an exploration test
    NewDriver(new_driver::NewDriverArgs),
    /// List every `unsafe` with its reason and check the rules that rustc does not know
    Lint,
    /// `test` as an unattended machine runs it
    Ci,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Test(args) => test::test(args),
        Command::Bench(args) => bench::bench(args),
        Command::NewDriver(args) => new_driver::new_driver(args),
        Command::Lint => lint::lint(),
        Command::Ci => test::ci(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
