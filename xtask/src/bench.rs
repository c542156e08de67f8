//! `cargo xtask bench`: the cost of the interrupt path in guest instructions.
//!
//! The kernel is the one that ships. It opens *windows* around what is to be measured; xtask lets QEMU log every
//! instruction that runs in them ([`session`], [`trace`]), reads the log with the kernel's own code and debug
//! information ([`code`]), and counts ([`rows`]). So nothing on the measured path is there for the measurement. QEMU
//! counts instructions as time (`-icount shift=0,sleep=off`), and nothing else moves the clock: a build's figures are
//! exact, the same in every run.
//!
//! An instruction is not a cycle, hence the accesses to CR8 and to the local APIC and the atomic operations beside each
//! figure. A budget that is missed is shown; it is no failure.

mod code;
mod rows;
mod session;
mod trace;

use crate::{
    budgets::{self, ROWS},
    machine::{Apic, Machine},
    run::in_ci,
    setup::{self, Qemu},
    symbols::Symbols,
    workspace,
};
use anyhow::{Context, Result, bail};
use code::Code;
use rows::Figure;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// A boot takes some seconds; a busy host may take many.
const LIMIT: Duration = Duration::from_secs(300);

#[derive(clap::Args)]
pub struct BenchArgs {
    /// Print a JSON list of rows instead of the table
    #[arg(long)]
    json: bool,
    /// Measure three times and fail unless the figures are identical
    #[arg(long)]
    check: bool,
    /// Print the instructions of this row as they ran
    #[arg(long, value_name = "ROW", conflicts_with = "json")]
    listing: Option<String>,
    /// Mode of the local APIC. Some QEMUs cannot count instructions while the clock is armed in x2APIC mode
    #[arg(long, value_enum, default_value_t = Apic::Xapic)]
    apic: Apic,
    /// Measure this kernel instead of building one
    #[arg(long, value_name = "ELF")]
    kernel: Option<PathBuf>,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
}

pub fn bench(args: BenchArgs) -> Result<ExitCode> {
    setup::rust_target()?;
    let qemu = setup::qemu(args.yes || in_ci())?;
    let kernel = args.kernel.map_or_else(workspace::build_kernel, Ok)?;
    let symbols = Symbols::load(&kernel, &workspace::root())?;
    let code = Code::load(&kernel, &symbols)?;
    let figures = measure(&qemu, &kernel, args.apic, &code)?;
    if args.check {
        for _ in 1..3 {
            check_identical(&figures, &measure(&qemu, &kernel, args.apic, &code)?)?;
        }
    }
    if let Some(row) = &args.listing {
        let figure = figures.iter().find(|figure| figure.name == row);
        print!("{}", listing(figure.with_context(|| format!("no row {row} was measured"))?, &code)?);
    } else if args.json {
        println!("{}", serde_json::to_string_pretty(&json(&figures))?);
    } else {
        print!("{}{}", table(&figures), paths(&figures, &code));
    }
    if args.check {
        eprintln!("Three runs gave identical figures in {} rows", figures.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// One boot's figures.
fn measure(qemu: &Qemu, kernel: &Path, apic: Apic, code: &Code) -> Result<Vec<Figure>> {
    eprintln!("Measuring in QEMU {}, counting instructions, APIC {apic}", qemu.version);
    // Slots that differ by four share a line: edu#2 and edu#4.
    let devices = ["edu", "edu,addr=0x8", "edu,addr=0x9", "edu,addr=0xc"];
    let extra = devices.iter().flat_map(|device| ["-device".into(), device.to_string()]).collect();
    // The drivers of every boot, and the one of bench's own objects.
    let drivers = "drivers=edu,serial,i8042,acpi-button,ivshmem,tick,twins,workbench";
    let settings = format!(" {drivers} lines=edu#2,edu#3,edu#4");
    let exec = Some("bench".into());
    let machine = Machine { smp: 1, apic, settings, exec, icount: true, extra, ..Machine::new(kernel) };
    rows::figures(&session::record(qemu, &machine, LIMIT)?, code)
}

fn check_identical(first: &[Figure], again: &[Figure]) -> Result<()> {
    if first == again {
        return Ok(());
    }
    let mut differences = String::new();
    for row in &ROWS {
        let find = |figures: &[Figure]| {
            let found = figures.iter().find(|figure| figure.name == row.name);
            found.map_or("missing".into(), |figure| figure.value.to_string())
        };
        let (one, other) = (find(first), find(again));
        let path = |figures: &[Figure]| figures.iter().find(|figure| figure.name == row.name).map(|f| f.path.clone());
        if one != other {
            write!(differences, "\n  {}: {one}, then {other}", row.name)?;
        } else if path(first) != path(again) {
            write!(differences, "\n  {}: {one}, but on two ways", row.name)?;
        }
    }
    bail!("two runs of the same kernel measured differently:{differences}")
}

/// What the table's rows mean exactly.
const NOTES: &str = "\
Guest instructions on one CPU, edu over MSI, local APIC in xAPIC mode (x2APIC: 3 more each).
A raise counts from the store to the device's register, with one for the load of the register's address; \"first line\"
is the first instruction of the callback's own body. ISR only: a status bit that the ISR serves alone; ISR + evt_dpc:
one that nobody waits for. On an idle CPU: from the entry stub. Lock pairs: eight in a row less none, by eight. Boot:
from reset, firmware included, until the drivers have started their devices.
Passive evt_isr: an edge-triggered interrupt that the program raises by an IPI to itself, from the entry stub, with two
for the store that raises and its address. Line interrupts: an edu by the I/O APIC, a status bit that the ISR serves
alone; a sharer: the second member's interrupt less the first's; chains: objects that the program raises, of which the
last on the line claims, from the entry stub to its return. Per million: eight raises in a row less none. Mask + unmask: a message without a mask bit, which the
core latches; eight in a row less none, by eight. DPC insert: at DISPATCH, for this CPU; eight in a row less none, by
eight, when so many are queued. DPC drain: so many and one less one, by so many, each with a body of one store.
Connect: a message to a vector, without what the framework does, beside the drivers' interrupts and beside 150.
DPC object: from `enqueue` at PASSIVE to the first instruction of the driver's body. Timer fires: from the entry stub of
the clock's interrupt to the same. Timer arm + cancel, wait lock pair: eight in a row less none, by eight. Hand-over:
from the release to the thread that waited, back from `acquire`.
";

/// The table a person reads, in the order of the budgets.
fn table(figures: &[Figure]) -> String {
    let head = ["", "figure", "budget", "Linux", "CR8 reads", "CR8 writes", "APIC", "atomics", "verdict"];
    let mut lines = vec![head.map(String::from)];
    for row in &ROWS {
        let figure = figures.iter().find(|figure| figure.name == row.name);
        let accesses = figure.and_then(|figure| figure.accesses);
        let [reads, writes, apic, atomics] = accesses.map_or(["-"; 4].map(String::from), |counts| {
            [counts.cr8_reads, counts.cr8_writes, counts.apic, counts.atomics].map(number)
        });
        lines.push([
            row.meaning.into(),
            figure.map_or("-".into(), |figure| number(figure.value)),
            number(row.budget),
            row.linux.map_or("-".into(), number),
            reads,
            writes,
            apic,
            atomics,
            figure.map_or("not yet".into(), |figure| budgets::verdict(row, figure.value)),
        ]);
    }
    let columns = head.len();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        text += &format!("{:<1$}", line[0], widths[0]);
        for column in 1..columns - 1 {
            text += &format!("  {:>1$}", line[column], widths[column]);
        }
        text += &format!("  {}\n", line[columns - 1]);
    }
    text + "\n" + NOTES
}

fn number(value: f64) -> String {
    if value >= 1e6 {
        format!("{value:.3e}")
    } else if value.fract() == 0.0 {
        format!("{value}")
    } else {
        format!("{value:.1}")
    }
}

/// The functions that the measured paths run through, each with the instructions that ran in it, in the order in which
/// they were reached. Rows whose path is the beginning of another's are left out.
fn paths(figures: &[Figure], code: &Code) -> String {
    let mut text = String::new();
    let is_part = |figure: &Figure| {
        figures.iter().any(|other| other.path.len() > figure.path.len() && other.path.starts_with(&figure.path))
    };
    for figure in figures.iter().filter(|figure| !is_part(figure)) {
        text += &format!("\n{}, instructions by function:\n", figure.name);
        let mut functions: Vec<(String, u32)> = Vec::new();
        for address in &figure.path {
            let name = innermost(*address, code);
            match functions.iter_mut().find(|(known, _)| *known == name) {
                Some((_, count)) => *count += 1,
                None => functions.push((name, 1)),
            }
        }
        for (function, count) in functions {
            text += &format!("  {count:>4}  {function}\n");
        }
    }
    text
}

/// The innermost function at `address` that is not Rust's own.
fn innermost(address: u64, code: &Code) -> String {
    let frames = code.functions(address);
    let ours = frames.iter().find(|frame| !frame.in_library).or(frames.first());
    ours.map_or_else(|| format!("{address:#x}"), |frame| frame.function.clone())
}

/// The instructions of a row as they ran, a line whenever the function changes.
fn listing(figure: &Figure, code: &Code) -> Result<String> {
    let mut text = String::new();
    let mut last = None;
    for (n, address) in figure.path.iter().enumerate() {
        let functions = code.functions(*address);
        if last.as_ref() != Some(&functions) {
            let names: Vec<&str> = functions.iter().map(|frame| &*frame.function).collect();
            text += &format!("{}:\n", names.join(" < "));
            last = Some(functions);
        }
        text += &format!("{n:>5}  {address:x}  {}\n", code.text(*address)?);
    }
    Ok(text)
}

fn json(figures: &[Figure]) -> serde_json::Value {
    let rows = figures.iter().filter_map(|figure| {
        let row = budgets::row(figure.name)?;
        Some(serde_json::json!({
            "name": figure.name,
            "figure": figure.value,
            "budget": row.budget,
            "higher_is_better": row.higher_is_better,
        }))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::{code::Accesses, *};

    fn figure(name: &'static str, value: f64) -> Figure {
        Figure { name, value, accesses: None, path: Vec::new() }
    }

    #[test]
    fn identical_means_identical() {
        let figures = [figure("isr_entry", 26.0)];
        assert!(check_identical(&figures, &figures).is_ok());
        let error = check_identical(&figures, &[figure("isr_entry", 27.0)]).expect_err("they differ").to_string();
        assert!(error.contains("isr_entry: 26, then 27"), "{error}");
        let other_way = Figure { path: vec![0x1000], ..figure("isr_entry", 26.0) };
        let error = check_identical(&figures, &[other_way]).expect_err("they differ").to_string();
        assert!(error.contains("isr_entry: 26, but on two ways"), "{error}");
    }

    #[test]
    fn the_table_says_what_is_met_missed_and_not_there_yet() {
        let accesses = Some(Accesses { cr8_writes: 2.0, atomics: 1.0, ..Accesses::default() });
        let table = table(&[figure("isr_entry", 26.0), Figure { accesses, ..figure("isr_only", 90.0) }]);
        let row = |name: &str| table.lines().find(|line| line.starts_with(name)).expect("the row is there").to_owned();
        assert!(row("raise -> first line").ends_with("met"), "{table}");
        let missed: Vec<String> = row("raise -> back in").split_whitespace().map(String::from).collect();
        assert!(
            missed.ends_with(
                &["90", "72", "481", "0", "2", "0", "1", "misses", "by", "18", "(25", "%)"].map(String::from)
            ),
            "{table}"
        );
        assert!(row("mask + unmask").ends_with("not yet"), "{table}");
    }

    #[test]
    fn json_has_the_four_keys() {
        let rows = json(&[figure("isr_entry", 26.0), figure("per_million", 8305.5)]);
        let expected = serde_json::json!(
            {"name": "isr_entry", "figure": 26.0, "budget": 34.0, "higher_is_better": false});
        assert_eq!(rows[0], expected);
        assert_eq!(rows[1]["higher_is_better"], true);
    }
}
