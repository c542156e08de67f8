//! The commands.

use super::{
    button, edu, faulty, io, ivshmem, machine::Machine, outside, show, terminal, tick, twins, unplug, verifier,
    words::Arguments,
};
use crate::{bench, conformance, crash, selftest, stress, sweep};
use ::faulty::Fault;
use alloc::{format, string::String, vec::Vec};
use framework::{Device, Driver, Status};
use ke::{At, Passive};

/// What a command says when it fails: one line.
pub type Outcome = Result<(), String>;

struct Command {
    /// How it is typed; its first word is its name.
    usage: &'static str,
    what: &'static str,
    run: fn(&mut Machine, Arguments<'_>, &mut At<'_, Passive>) -> Outcome,
}

const COMMANDS: &[Command] = &[
    Command { usage: "help", what: "this list", run: help },
    Command { usage: "devices [--json]", what: "the functions on the PCI buses", run: show::devices },
    Command { usage: "drivers [--json]", what: "the drivers and their devices", run: show::drivers },
    Command { usage: "interrupts [--json]", what: "the interrupts, counted three times", run: show::interrupts },
    Command { usage: "objects [--json]", what: "what exists, and the memory it takes", run: show::objects },
    Command { usage: "edu factorial N [DEVICE]", what: "N!, computed by the device", run: edu::run },
    Command { usage: "edu dma [DEVICE]", what: "4 KiB to the device and back, compared", run: edu::run },
    Command { usage: "edu raise N [DEVICE]", what: "an interrupt with the status N", run: edu::run },
    Command { usage: "open DEVICE", what: "whether a device takes requests", run: io::open },
    Command { usage: io::READ, what: "reads from a device", run: io::read },
    Command { usage: io::WRITE, what: "writes to a device", run: io::write },
    Command { usage: io::IOCTL, what: "device control: what a driver knows by a code", run: io::ioctl },
    Command { usage: "requests", what: "what became of the requests of `--later`", run: io::requests },
    Command { usage: "cancel REQUEST", what: "cancels one of them", run: io::cancel },
    Command { usage: "queues [--json]", what: "the devices' queues", run: show::queues },
    Command { usage: "stop DEVICE", what: "stops a device", run: stop },
    Command { usage: "start DEVICE", what: "starts a stopped device", run: start },
    Command { usage: button::USAGE, what: "how often the power button was pressed", run: button::run },
    Command { usage: unplug::USAGE, what: "uses an edu device until it has left the bus", run: unplug::run },
    Command { usage: ivshmem::USAGE, what: "rings a peer, or waits for rings", run: ivshmem::run },
    Command {
        usage: "i8042 watch KEYS MOVEMENTS PORT",
        what: "tells of input on a serial port",
        run: outside::watch_i8042,
    },
    Command {
        usage: "serial count BYTES PORT",
        what: "counts what arrives at a serial port",
        run: outside::count_serial,
    },
    Command { usage: "tick", what: "measures the real-time clock's ticks", run: tick::run },
    Command { usage: "twins N", what: "passive-level ISRs of all edu devices under one lock", run: twins::run },
    Command { usage: "selftest", what: "checks the core on this machine", run: run_selftest },
    Command { usage: "conformance", what: "shows the conformance cases on this machine", run: run_conformance },
    Command {
        usage: STRESS,
        what: "one section for all, stops and starts, or requests, in great number",
        run: run_stress,
    },
    Command { usage: "bench", what: "runs what `cargo xtask bench` measures, and waits for it", run: run_bench },
    Command { usage: "sweep [NAME]", what: "interrupts every instruction of the core's sequences", run: run_sweep },
    Command { usage: faulty::STORM_USAGE, what: "interrupts without end, masked and forgiven", run: faulty::storm },
    Command { usage: verifier::USAGE, what: "finds what no type can see; starts the devices anew", run: verifier::run },
    Command { usage: CRASH, what: "ends in a bug check, to see one", run: run_crash },
    Command { usage: "shutdown", what: "stops all devices and the machine", run: shutdown },
];

const STRESS: &str = "stress common|cycles|requests N";
const CRASH: &str =
    "crash fault|stack|nested|isr|dpc|endless-isr|endless-dpc|thread|forgotten-guard|lock-twice|lock-order";

impl Command {
    fn name(&self) -> &'static str {
        self.usage.split(' ').next().unwrap_or(self.usage)
    }
}

/// Runs one command.
pub fn run(machine: &mut Machine, line: &str, at: &mut At<'_, Passive>) -> Outcome {
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let found: Vec<&Command> = COMMANDS.iter().filter(|command| command.name() == name).collect();
    let Some(first) = found.first() else { return Err(format!("unknown command `{name}`; try `help`")) };
    let usage = if name == "edu" { edu::USAGE } else { first.usage };
    (first.run)(machine, Arguments::new(usage, rest), at)
}

fn help(_: &mut Machine, words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    words.end()?;
    let width = COMMANDS.iter().map(|command| command.usage.len()).max().unwrap_or(0);
    for command in COMMANDS {
        terminal::print(at, format_args!("{:width$}  {}\n", command.usage, command.what));
    }
    Ok(())
}

fn stop(machine: &mut Machine, words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let name = device_name(words)?;
    // It may be the console's.
    terminal::give_back(at);
    let stopped = machine.pnp().stop_device(at, &name);
    terminal::take(at, machine.pnp());
    stopped.map_err(|status| about(machine, &name, status, at))?;
    terminal::print(at, format_args!("{name} is stopped\n"));
    Ok(())
}

fn start(machine: &mut Machine, words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let name = device_name(words)?;
    machine.pnp().start_device(at, &name).map_err(|status| about(machine, &name, status, at))?;
    terminal::take(at, machine.pnp());
    terminal::print(at, format_args!("{name} is started\n"));
    Ok(())
}

fn device_name(mut words: Arguments<'_>) -> Result<String, String> {
    let name = words.required("the device's name")?.into();
    words.end()?;
    Ok(name)
}

/// An error of a device, with its name, and the names that there are if it has none of them.
fn about(machine: &Machine, name: &str, status: Status, at: &mut At<'_, Passive>) -> String {
    match status {
        Status::NoSuchDevice => no_such_device(machine, name, at),
        status => format!("{name}: {status}"),
    }
}

/// Says which names there are.
pub fn no_such_device(machine: &Machine, name: &str, at: &mut At<'_, Passive>) -> String {
    let names: Vec<String> = machine.pnp().devices(at).into_iter().filter_map(|row| row.name).collect();
    match names.is_empty() {
        true => format!("{name}: no device has this name, and none has a driver"),
        false => format!("{name}: no device has this name; there are {}", names.join(", ")),
    }
}

fn run_bench(machine: &mut Machine, words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    words.end()?;
    bench::run(machine.pnp(), at)
}

fn run_selftest(machine: &mut Machine, words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    words.end()?;
    selftest::run(machine.pnp(), at)
}

fn run_sweep(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let only = words.next();
    words.end()?;
    sweep::run(machine.pnp(), only, at)
}

fn run_conformance(machine: &mut Machine, words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    words.end()?;
    let before = machine.drivers().first().map(Driver::name);
    machine.give_first(at, conformance::Probe::NAME)?;
    let outcome = conformance::run(machine.pnp(), at);
    if let Some(name) = before {
        machine.give_first(at, name)?;
    }
    outcome
}

fn run_stress(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let what = words.required("what to do often")?;
    let count = words.number(1..=10_000_000)?;
    match what {
        "common" => {
            words.end()?;
            machine.give_first(at, stress::Pair::NAME)?;
            stress::common(machine.pnp(), count, at)
        }
        "cycles" => {
            words.end()?;
            machine.give_first(at, stress::Restless::NAME)?;
            stress::cycles(machine.pnp(), count, at)
        }
        "requests" => {
            words.end()?;
            stress::requests(machine.pnp(), count, at)
        }
        other => Err(words.unknown(other, &["common", "cycles", "requests"])),
    }
}

fn shutdown(machine: &mut Machine, words: Arguments<'_>, _: &mut At<'_, Passive>) -> Outcome {
    words.end()?;
    machine.ended = true;
    Ok(())
}

fn run_crash(machine: &mut Machine, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    const KINDS: [&str; 11] = [
        "fault",
        "stack",
        "nested",
        "isr",
        "dpc",
        "endless-isr",
        "endless-dpc",
        "thread",
        "forgotten-guard",
        "lock-twice",
        "lock-order",
    ];
    let kind = words.required("the kind of crash")?;
    if !KINDS.contains(&kind) {
        return Err(words.unknown(kind, &KINDS));
    }
    words.end()?;
    match kind {
        "fault" => {
            terminal::print(at, format_args!("nothing was mapped there, but {} was read\n", crash::crash_by_fault()))
        }
        "stack" => terminal::print(at, format_args!("the stack had room for {}\n", crash::crash_by_stack(0))),
        "nested" => crash::crash_in_nested_isrs(at),
        "isr" => faulty::crash(machine, Fault::PanicInIsr, at)?,
        "dpc" => faulty::crash(machine, Fault::PanicInDpc, at)?,
        "endless-isr" => faulty::crash(machine, Fault::EndlessIsr, at)?,
        "endless-dpc" => faulty::crash(machine, Fault::EndlessDpc, at)?,
        "forgotten-guard" => faulty::crash_verified(machine, Fault::ForgetsGuard, at)?,
        "lock-twice" => faulty::crash_verified(machine, Fault::TakesTwice, at)?,
        "lock-order" => faulty::crash_verified(machine, Fault::TakesInBothOrders, at)?,
        _ => crash::crash_in_a_thread(at),
    }
    Err(format!("the machine survived `crash {kind}`"))
}
