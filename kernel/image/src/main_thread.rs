//! The machine's first thread: it starts the devices, then the monitor.

use crate::{
    bench, drivers,
    monitor::{self, Machine},
};
use alloc::vec::Vec;
use framework::DeviceState;
use hal_x86_64::{
    acpi_bus::AcpiBus,
    boot::BootInfo,
    cmdline,
    debug_exit::{self, ExitCode},
    layout, local_apic, memory, start,
};
use io::{EcamRegion, Platform};
use ke::{
    At, Passive,
    verifier::{self, Verifier},
    watchdog::{self, Watchdog},
};

/// Runs at PASSIVE once all CPUs are up.
pub fn main(at: &mut At<'_, Passive>, boot: &'static BootInfo) {
    let (settings, commands) = monitor::split_command_line(boot.cmdline());
    let free = memory::free_frame_count() as u64 * layout::PAGE / (1 << 20);
    let (cpus, mode) = (at.cpu_count(), local_apic::mode());
    let plural = if cpus == 1 { "" } else { "s" };
    at.print(format_args!("Dirql {}: {cpus} CPU{plural}, {mode}, {free} MiB free\n", env!("CARGO_PKG_VERSION")));

    if cmdline::value(settings, "watchdog") != Some("off") {
        watchdog::start(at, Watchdog::default());
    }
    if verifier_wanted(settings) {
        verifier::start(at, Verifier::default());
    }
    let drivers = match drivers::chosen(cmdline::value(settings, "drivers")) {
        // `lines=edu#1,edu#2`: devices that use their interrupt lines although they have messages.
        Ok(drivers) => {
            drivers.into_iter().map(|d| d.on_lines(cmdline::value(settings, "lines").unwrap_or(""))).collect()
        }
        Err(why) => {
            at.print(format_args!("{why}\n"));
            debug_exit::exit(ExitCode::Failed)
        }
    };
    let acpi = AcpiBus::start(at);
    let mut machine = Machine::start(at, acpi.add_to(platform()), drivers);
    bench::note_boot();
    report(&machine, at);
    for problem in acpi.problems(at) {
        at.print(format_args!("note: {problem}\n"));
    }
    let all_well = match commands {
        Some(commands) => monitor::run_all(&mut machine, &commands, at),
        None => {
            monitor::interact(&mut machine, at);
            true
        }
    };
    machine.remove_all(at);
    debug_exit::exit(if all_well { ExitCode::Ok } else { ExitCode::Failed })
}

/// `verifier=on` or `verifier=off`; without either it is on in a build for debugging.
fn verifier_wanted(settings: &str) -> bool {
    match cmdline::value(settings, "verifier") {
        Some("on") => true,
        Some("off") => false,
        _ => cfg!(debug_assertions),
    }
}

/// The PCI buses that the ACPI tables tell of.
fn platform() -> Platform {
    let acpi = start::platform().expect("the first thread starts after the ACPI tables were read");
    let region = |ecam: &hal_x86_64::acpi::Ecam| EcamRegion {
        segment: ecam.segment,
        first_bus: ecam.bus_start,
        last_bus: ecam.bus_end,
        physical: ecam.physical + (u64::from(ecam.bus_start) << 20),
    };
    // SAFETY: the regions are the firmware's MCFG table, and no window is claimed.
    unsafe { Platform::new(acpi.ecam.iter().map(region).collect(), Vec::new()) }
}

/// A line for each device that has a driver.
fn report(machine: &Machine, at: &mut At<'_, Passive>) {
    for row in machine.pnp().devices(at) {
        match (&row.name, &row.state) {
            (Some(name), state) => at.print(format_args!("{name} at {}: {state}\n", row.location)),
            (None, DeviceState::Failed(status)) => at.print(format_args!("{}: {status}\n", row.location)),
            (None, _) => {}
        }
    }
    for row in machine.pnp().acpi_devices(at) {
        if let Some(name) = &row.name {
            at.print(format_args!("{name} at {}: {}\n", row.acpi.name, row.state));
        }
    }
    for problem in machine.pnp().problems(at) {
        at.print(format_args!("note: {problem}\n"));
    }
}
