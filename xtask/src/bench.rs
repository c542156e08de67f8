//! `cargo xtask bench`: the cost of the interrupt path in guest instructions.
//!
//! QEMU counts instructions as time (`-icount shift=0,sleep=off`), so the kernel's own clock gives exact figures, the
//! same in every run of one build. The kernel prints
//!
//! ```text
//! BENCH <row> <figure> [cr8=<writes>] [apic=<accesses>] [atomic=<operations>]
//! PATH <row> <hexadecimal address>...
//! ```
//!
//! An instruction is not a cycle, hence the three counts; `PATH` names code that the row runs through. A budget that is
//! missed is shown; it is no failure.

use crate::{
    boot::{self, Console},
    budgets::{self, ROWS},
    machine::Machine,
    run::in_ci,
    setup::{self, Qemu},
    status::Ending,
    symbols::Symbols,
    workspace,
};
use anyhow::{Context, Result, bail};
use std::{fmt::Write, path::Path, process::ExitCode, time::Duration};

/// Counting instructions is single-threaded and slow; a run takes some seconds.
const LIMIT: Duration = Duration::from_secs(300);

#[derive(clap::Args)]
pub struct BenchArgs {
    /// Print a JSON list of rows instead of the table
    #[arg(long)]
    json: bool,
    /// Measure three times and fail unless the figures are identical
    #[arg(long)]
    check: bool,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
}

/// One measured row.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    name: String,
    value: f64,
    /// CR8 writes, APIC accesses, atomic operations.
    accesses: [Option<f64>; 3],
    /// Addresses in the measured path.
    path: Vec<u64>,
}

const ACCESSES: [&str; 3] = ["cr8", "apic", "atomic"];

pub fn bench(args: BenchArgs) -> Result<ExitCode> {
    setup::rust_target()?;
    let qemu = setup::qemu(args.yes || in_ci())?;
    let kernel = workspace::build_kernel()?;
    let symbols = Symbols::load(&kernel, &workspace::root())?;
    let figures = measure(&qemu, &kernel, &symbols)?;
    if args.check {
        for _ in 1..3 {
            check_identical(&figures, &measure(&qemu, &kernel, &symbols)?)?;
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&json(&figures))?);
    } else {
        print!("{}{}", table(&figures), paths(&figures, &symbols));
    }
    if args.check {
        eprintln!("Three runs gave identical figures in {} rows", figures.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// One boot's figures.
pub fn measure(qemu: &Qemu, kernel: &Path, symbols: &Symbols) -> Result<Vec<Figure>> {
    eprintln!("Measuring in QEMU {}, counting instructions", qemu.version);
    let machine = Machine { smp: 1, exec: Some("bench".into()), icount: true, ..Machine::new(kernel) };
    let outcome = boot::boot(&qemu.program, &machine, symbols, Console::Quiet, Some(LIMIT))?;
    if outcome.ending != Ending::Success {
        bail!("{}{}the measuring boot failed: {}", outcome.output, outcome.complaints, outcome.ending);
    }
    let figures = parse(&outcome.output)?;
    if figures.is_empty() {
        bail!("{}the command `bench` printed no figures", outcome.output);
    }
    Ok(figures)
}

/// Reads the figures in a console's output.
fn parse(output: &str) -> Result<Vec<Figure>> {
    let mut figures: Vec<Figure> = Vec::new();
    for line in output.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["BENCH", name, value, ref accesses @ ..] => figures.push(
                figure(name, value, accesses).with_context(|| format!("the kernel printed a wrong figure: {line}"))?,
            ),
            ["PATH", name, ref addresses @ ..] => {
                let figure = figures.iter_mut().find(|figure| figure.name == name);
                let figure = figure.with_context(|| format!("a path without its row: {line}"))?;
                for address in addresses {
                    let digits = address.trim_start_matches("0x");
                    let address = u64::from_str_radix(digits, 16);
                    figure.path.push(address.with_context(|| format!("a path with a wrong address: {line}"))?);
                }
            }
            _ => {}
        }
    }
    Ok(figures)
}

fn figure(name: &str, value: &str, words: &[&str]) -> Result<Figure> {
    let row = budgets::row(name).with_context(|| format!("no row is called {name}"))?;
    let mut accesses = [None; 3];
    for word in words {
        let (kind, count) = word.split_once('=').context("an access count is kind=number")?;
        let kind = ACCESSES.iter().position(|known| *known == kind);
        accesses[kind.with_context(|| format!("{word} counts nothing that we know"))?] = Some(count.parse()?);
    }
    Ok(Figure { name: row.name.into(), value: value.parse()?, accesses, path: Vec::new() })
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
        if one != other {
            write!(differences, "\n  {}: {one}, then {other}", row.name)?;
        }
    }
    bail!("two runs of the same kernel measured differently:{differences}")
}

/// The table a person reads, in the order of the budgets.
fn table(figures: &[Figure]) -> String {
    let mut lines =
        vec![["", "figure", "budget", "Linux", "CR8 writes", "APIC", "atomics", "verdict"].map(String::from)];
    for row in &ROWS {
        let Some(figure) = figures.iter().find(|figure| figure.name == row.name) else { continue };
        let [cr8, apic, atomic] = figure.accesses.map(|count| count.map_or("-".into(), number));
        lines.push([
            row.meaning.into(),
            number(figure.value),
            number(row.budget),
            row.linux.map_or("-".into(), number),
            cr8,
            apic,
            atomic,
            budgets::verdict(row, figure.value),
        ]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..8).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        text += &format!("{:<1$}", line[0], widths[0]);
        for column in 1..7 {
            text += &format!("  {:>1$}", line[column], widths[column]);
        }
        text += &format!("  {}\n", line[7]);
    }
    let missing: Vec<&str> =
        ROWS.iter().filter(|row| figures.iter().all(|figure| figure.name != row.name)).map(|row| row.name).collect();
    if !missing.is_empty() {
        text += &format!("not measured yet: {}\n", missing.join(", "));
    }
    text
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

/// The functions that the measured paths run through.
fn paths(figures: &[Figure], symbols: &Symbols) -> String {
    let mut text = String::new();
    for figure in figures.iter().filter(|figure| !figure.path.is_empty()) {
        text += &format!("\nthrough {}:\n", figure.name);
        for address in &figure.path {
            let functions = symbols.functions(*address);
            match functions.last() {
                Some(function) => text += &format!("  {function}\n"),
                None => text += &format!("  {address:#x}\n"),
            }
        }
    }
    text
}

fn json(figures: &[Figure]) -> serde_json::Value {
    let rows = figures.iter().filter_map(|figure| {
        let row = budgets::row(&figure.name)?;
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
    use super::*;

    const OUTPUT: &str = "booting\nBENCH isr_entry 26 cr8=0 apic=1 atomic=1\r\nPATH isr_entry ffffffff80201000 0x20\n\
                          BENCH per_million 8305.5\nBENCHMARK done\n";

    #[test]
    fn figures_accesses_and_paths_are_read() {
        let figures = parse(OUTPUT).expect("the lines are right");
        assert_eq!(figures.len(), 2);
        assert_eq!(figures[0].value, 26.0);
        assert_eq!(figures[0].accesses, [Some(0.0), Some(1.0), Some(1.0)]);
        assert_eq!(figures[0].path, [0xffff_ffff_8020_1000, 0x20]);
        assert_eq!((figures[1].value, figures[1].accesses), (8305.5, [None; 3]));
    }

    #[test]
    fn a_wrong_line_is_an_error_that_shows_it() {
        for line in ["BENCH isr_entry many", "BENCH unknown_row 1", "BENCH isr_only 1 cr9=1", "PATH isr_only 20"] {
            let error = format!("{:#}", parse(line).expect_err("the line is wrong"));
            assert!(error.contains(line), "{error}");
        }
    }

    #[test]
    fn identical_means_identical() {
        let figures = parse(OUTPUT).expect("the lines are right");
        assert!(check_identical(&figures, &figures).is_ok());
        let mut other = figures.clone();
        other[0].value = 27.0;
        let error = check_identical(&figures, &other).expect_err("they differ").to_string();
        assert!(error.contains("isr_entry: 26, then 27"), "{error}");
    }

    #[test]
    fn the_table_says_what_is_met_missed_and_missing() {
        let table = table(&parse("BENCH isr_entry 26 cr8=0\nBENCH isr_only 90").expect("the lines are right"));
        let row = |name: &str| table.lines().find(|line| line.starts_with(name)).expect("the row is there").to_owned();
        assert!(row("raise -> first line").ends_with("met"), "{table}");
        assert!(row("raise -> back in").ends_with("misses by 18 (25 %)"), "{table}");
        assert!(row("not measured yet").contains("dpc_entry"), "{table}");
    }

    #[test]
    fn json_has_the_four_keys() {
        let rows = json(&parse(OUTPUT).expect("the lines are right"));
        let expected = serde_json::json!(
            {"name": "isr_entry", "figure": 26.0, "budget": 34.0, "higher_is_better": false});
        assert_eq!(rows[0], expected);
        assert_eq!(rows[1]["higher_is_better"], true);
    }
}
