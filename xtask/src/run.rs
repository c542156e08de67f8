//! `cargo xtask run`: builds the kernel, boots it, and gives its console to the terminal or runs commands.

use crate::{
    accel,
    boot::{self, Console},
    ivshmem::{Peer, Server},
    machine::{Accel, Apic, Machine, states_accel},
    setup,
    symbols::Symbols,
    workspace,
};
use anyhow::Result;
use std::{
    io::IsTerminal,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

/// What runs where nobody can type.
const DEFAULT_COMMANDS: &str = "devices; edu factorial 12; edu dma; interrupts";

/// The same when the drivers are chosen, since `edu` may not be among them.
const COMMANDS_FOR_ANY_DRIVER: &str = "devices; interrupts";

/// The time a boot with commands gets. Translated code on a loaded machine is slow; a hang is rare.
const DEFAULT_LIMIT: Duration = Duration::from_secs(180);

/// How many vectors `--ivshmem` gives the device.
const IVSHMEM_VECTORS: u16 = 4;

/// The time QEMU gets to begin.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub struct RunArgs {
    /// Number of CPUs
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=255))]
    smp: u32,
    /// Mode of the local APICs
    #[arg(long, value_enum, default_value_t = Apic::Auto)]
    apic: Apic,
    /// RAM, in QEMU's notation
    #[arg(long, default_value = "512M")]
    mem: String,
    /// Start these drivers alone, separated by `,`: the first that serves a device gets it
    #[arg(long, value_name = "NAMES")]
    drivers: Option<String>,
    /// Run these commands of the monitor, separated by `;`, and end
    #[arg(long, value_name = "COMMANDS")]
    exec: Option<String>,
    /// End QEMU after this many seconds (180 with commands, none at the prompt)
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Give the machine an ivshmem whose only peer, number 0, rings back whatever vector it is rung by
    #[arg(long)]
    ivshmem: bool,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
    /// More arguments for QEMU
    #[arg(last = true, value_name = "QEMU-ARGS")]
    qemu: Vec<String>,
}

pub fn run(args: RunArgs) -> Result<ExitCode> {
    setup::rust_target()?;
    let qemu = setup::qemu(args.yes || in_ci())?;
    let kernel = workspace::build_kernel()?;
    let symbols = Symbols::load(&kernel, &workspace::root())?;

    let at_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let interactive = at_terminal && args.exec.is_none();
    let commands = if args.drivers.is_some() { COMMANDS_FOR_ANY_DRIVER } else { DEFAULT_COMMANDS };
    let server = args.ivshmem.then(|| Server::listen(IVSHMEM_VECTORS)).transpose()?;
    let mut machine = Machine {
        accel: if states_accel(&args.qemu) { Accel::Stated } else { accel::choose(&qemu, &kernel, &symbols)? },
        smp: args.smp,
        memory: args.mem,
        apic: args.apic,
        settings: args.drivers.iter().map(|names| format!(" drivers={names}")).collect(),
        exec: if interactive { None } else { Some(args.exec.unwrap_or_else(|| commands.into())) },
        extra: args.qemu,
        ..Machine::new(&kernel)
    };
    accel::check_apic(&qemu, &machine)?;
    machine.extra.extend(server.iter().flat_map(Server::arguments));
    eprintln!(
        "Booting in QEMU {} ({}, {} CPUs, {}, APIC {})",
        qemu.version, machine.accel, machine.smp, machine.memory, machine.apic
    );
    if interactive {
        eprintln!("`help` lists the commands, `shutdown` ends the machine, Ctrl-A X ends QEMU");
    }
    let console = if interactive { Console::Interactive } else { Console::Shown };
    let limit = args.timeout.map(Duration::from_secs).or((!interactive).then_some(DEFAULT_LIMIT));
    if let Some(server) = server {
        // It ends with this process.
        thread::spawn(move || {
            let echoed = server.accept(Instant::now() + CONNECT_LIMIT).and_then(Peer::echo);
            echoed.unwrap_or_else(|error| eprintln!("the ivshmem peer gives up: {error:#}"))
        });
    }
    let outcome = boot::boot(&qemu.program, &machine, &symbols, console, limit)?;
    if outcome.ending.exit_code() != 0 {
        eprint!("{}", outcome.complaints);
        eprintln!("{}", outcome.ending);
    }
    Ok(ExitCode::from(outcome.ending.exit_code()))
}

/// Whether this is an unattended run on a build machine.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}
