//! What must hold of the kernel in QEMU: one boot a row, and what its console must then show.

use crate::{
    console,
    machine::{Accel, Apic, Machine},
    qemu_lines, qemu_objects,
    qemu_outside::{self, Outside},
    qemu_prompt,
    qemu_stress::{self, Effort},
    qemu_trouble,
    status::Ending,
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{path::Path, time::Duration};

/// One boot and what it must show.
pub struct Case {
    pub name: String,
    pub machine: Machine,
    pub ending: Ending,
    pub checks: Vec<Check>,
    /// What is done to the machine from outside meanwhile.
    pub outside: Option<Outside>,
    /// The time it gets. The machine may be small and loaded; a hang is the only thing to catch.
    pub limit: Duration,
}

/// The time that most boots get.
pub const LIMIT: Duration = Duration::from_secs(180);

/// Something to find in a console's output.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    /// This text.
    Says(&'static str),
    /// The interrupts table, with equal counts by the device, the table and the driver in at least this many rows.
    CountsAgree { rows: usize },
    /// The interrupts table, with a line that at least this many devices share, and nothing lost on it.
    SharedLine { devices: usize },
    /// The devices table, with a 64-bit BAR above 4 GiB.
    HighBar,
    /// At least this many sequences of the one-instruction sweep, all well, each at some positions; and those that are wrong
    /// on purpose were caught.
    Swept { sequences: usize },
    /// Every conformance case passed; none was left out but for want of CPUs.
    Conforms,
    /// All that was to be counted was exact, over at least this many ISRs.
    CommonSection { isrs: u32 },
    /// Stops and starts of a device that interrupts: at least so many found its interrupt pending, in service, and
    /// deferred each, and the objects are the same before and after.
    Cycles { each: u32 },
    /// So many requests, each of which ended once, and so many in each of the three ways.
    Requests { requests: u32, each: u32 },
    /// These commands and no others at the prompt, in this order, each whole.
    Prompted(&'static str),
    /// The interrupts table, with so many by the console's serial port.
    ConsoleInterrupts { at_least: u64 },
    /// Two tables of objects, the second with one device less and all that belongs to one.
    DeviceFreed,
    /// A bug check, with these words, function names and a source line.
    Crash { names: &'static [&'static str] },
}

use Check::*;

const EVERYTHING: &str = "devices; selftest; edu factorial 12; edu dma; interrupts; objects; \
                          interrupts --json; devices --json";

/// Every case, for the kernel at `kernel`.
pub fn cases(kernel: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, ending, checks: &[Check], change: &dyn Fn(&mut Machine)| {
        let mut machine = Machine::new(kernel);
        change(&mut machine);
        cases.push(Case { name, machine, ending, checks: checks.to_vec(), outside: None, limit: LIMIT });
    };
    let works = [Says("479001600"), CountsAgree { rows: 1 }];

    for apic in [Apic::Xapic, Apic::X2apic] {
        for smp in [1, 2, 4] {
            add(format!("everything, {smp} CPUs, {apic}"), Ending::Success, &works, &|machine| {
                machine.apic = apic;
                machine.smp = smp;
                machine.exec = Some(EVERYTHING.into());
            });
        }
    }
    add("6 GiB of RAM and a BAR above 4 GiB".into(), Ending::Success, &[works[0], works[1], HighBar], &|machine| {
        machine.memory = "6G".into();
        machine.exec = Some(EVERYTHING.into());
        machine.extra = ["-device", "pci-testdev,membar=8G"].map(String::from).into();
    });
    add("three edu devices".into(), Ending::Success, &[works[0], CountsAgree { rows: 3 }], &|machine| {
        machine.exec = Some("edu factorial 12; edu dma; interrupts --json".into());
        machine.extra = ["-device", "edu", "-device", "edu"].map(String::from).into();
    });
    for apic in [Apic::Xapic, Apic::X2apic] {
        for (smp, devices) in [(1, 2), (1, 3), (4, 2), (4, 3)] {
            let name = format!("{devices} edu devices on one line, {smp} CPUs, {apic}");
            let checks = [works[0], SharedLine { devices }];
            add(name, Ending::Success, &checks, &|machine| share_a_line(machine, apic, smp, devices));
        }
    }
    for apic in [Apic::Xapic, Apic::X2apic] {
        for smp in [1, 2, 4] {
            add(format!("conformance, {smp} CPUs, {apic}"), Ending::Success, &[Conforms], &|machine| {
                machine.apic = apic;
                machine.smp = smp;
                machine.exec = Some("conformance; interrupts".into());
                machine.extra = on_the_line_of_the_first(3);
            });
        }
    }
    add("passive-level ISRs under one lock".into(), Ending::Success, &[Says(" 0 overlaps")], &|machine| {
        machine.exec = Some("twins 50".into());
        machine.extra = ["-device", "edu"].map(String::from).into();
    });
    for apic in [Apic::Xapic, Apic::X2apic] {
        add(format!("one-instruction sweep, {apic}"), Ending::Success, &[Swept { sequences: 12 }], &|machine| {
            machine.apic = apic;
            machine.smp = 1;
            machine.icount = true;
            machine.settings = " drivers=edu,msix".into();
            machine.exec = Some("sweep".into());
            if apic == Apic::X2apic {
                // QEMU 10 counts wrongly when the timer is armed through an MSR within a longer block.
                machine.accel = Accel::Stated;
                machine.extra = ["-accel", "tcg,one-insn-per-tb=on"].map(String::from).into();
            }
        });
    }
    for smp in [1, 4] {
        let checks = [works[0], works[1], Says("the verifier is on: ")];
        add(format!("under the verifier, {smp} CPUs"), Ending::Success, &checks, &|machine| {
            machine.smp = smp;
            machine.settings = " verifier=on".into();
            machine.exec = Some(format!("{EVERYTHING}; conformance; edu raise 6; verifier status"));
            machine.extra = on_the_line_of_the_first(3);
        });
    }
    add("one-instruction sweep under the verifier".into(), Ending::Success, &[Says("SWEEP isr_dpc")], &|machine| {
        machine.apic = Apic::Xapic;
        machine.smp = 1;
        machine.icount = true;
        machine.settings = " verifier=on drivers=edu,msix".into();
        machine.exec = Some("sweep spin_lock; sweep interrupt_lock; sweep raise_under_lock; sweep isr_dpc".into());
    });
    add("a command that fails".into(), Ending::CommandFailed, &[], &|machine| {
        machine.exec = Some("no-such-command; devices".into());
    });
    cases.extend(qemu_trouble::cases(kernel));
    cases.extend(qemu_outside::cases::cases(kernel));
    cases.extend(qemu_stress::cases(kernel, Effort::Short));
    cases
}

/// Puts `devices` edus on one interrupt line.
fn share_a_line(machine: &mut Machine, apic: Apic, smp: u32, devices: usize) {
    machine.apic = apic;
    machine.smp = smp;
    let names: Vec<String> = (0..devices).map(|n| format!("edu#{n}")).collect();
    let commands = "edu factorial 12; edu dma; edu raise 6; interrupts; interrupts --json";
    // Of several kernel command lines QEMU takes the last.
    let line = format!("apic={apic} lines={} exec={commands}", names.join(","));
    machine.exec = Some(commands.into());
    machine.extra = vec!["-append".into(), line];
    machine.extra.extend(on_the_line_of_the_first(devices));
}

/// More edus: every fourth slot has the line of the first.
fn on_the_line_of_the_first(devices: usize) -> Vec<String> {
    let more = ["07.0", "0b.0"].into_iter().take(devices - 1);
    more.flat_map(|slot| ["-device".into(), format!("edu,addr={slot}")]).collect()
}

/// Says what `output` lacks.
pub fn check(check: Check, output: &str) -> Result<()> {
    match check {
        Says(text) => ensure!(output.contains(text), "`{text}` is not in the output"),
        CountsAgree { rows } => counts_agree(output, rows)?,
        SharedLine { devices } => qemu_lines::counts_agree(output, devices)?,
        HighBar => high_bar(output)?,
        Swept { sequences } => swept(output, sequences)?,
        Conforms => conforms(output)?,
        CommonSection { isrs } => qemu_stress::common_section(output, isrs)?,
        Cycles { each } => qemu_stress::cycles(output, each)?,
        Requests { requests, each } => qemu_stress::requests(output, requests, each)?,
        Prompted(typed) => qemu_prompt::prompted(output, typed)?,
        ConsoleInterrupts { at_least } => qemu_prompt::by_interrupt(output, at_least)?,
        DeviceFreed => qemu_objects::device_freed(output)?,
        Crash { names } => bug_check(output, names)?,
    }
    Ok(())
}

fn counts_agree(output: &str, wanted: usize) -> Result<()> {
    let rows = console::table(output, "vector").context("`interrupts --json` printed no table")?;
    let mut complete = 0;
    for row in &rows {
        let number = |key: &str| row.get(key).and_then(Value::as_u64);
        let per_cpu: Option<u64> = row["counts"].as_array().and_then(|counts| counts.iter().map(Value::as_u64).sum());
        let per_cpu = per_cpu.with_context(|| format!("an interrupt without its counts by CPU: {row}"))?;
        let (Some(raised), Some(driver)) = (number("raised"), number("driver")) else { continue };
        let table = number("count").unwrap_or(per_cpu);
        ensure!(
            raised == table && table == driver && table == per_cpu,
            "the counts of an interrupt differ: raised {raised}, table {table} ({per_cpu} by CPU), driver {driver}"
        );
        ensure!(table > 0, "an interrupt that the commands use was never raised: {row}");
        complete += 1;
    }
    ensure!(complete >= wanted, "{complete} interrupts have all three counts, {wanted} must");
    Ok(())
}

fn swept(output: &str, wanted: usize) -> Result<()> {
    let (mut complete, mut caught) = (0, 0);
    let is_number = |text: &str| text.parse::<u32>().is_ok_and(|number| number > 0);
    for line in output.lines().filter(|line| line.starts_with("SWEEP ")) {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        match words[..] {
            [_, "positions", positions, "ok"] => {
                ensure!(is_number(positions), "nothing was swept: {line}");
                complete += 1;
            }
            [_, "positions", _, "caught", times] => {
                ensure!(is_number(times), "what is wrong was not caught: {line}");
                caught += 1;
            }
            _ => bail!("a sequence was not swept well: {line}"),
        }
    }
    ensure!(complete >= wanted, "{complete} sequences were swept, {wanted} must");
    ensure!(caught > 0, "no wrong order was caught");
    Ok(())
}

fn conforms(output: &str) -> Result<()> {
    let line = output.lines().find(|line| line.starts_with("CONFORMANCE ")).context("no line says `CONFORMANCE`")?;
    ensure!(line.contains(" 0 failed"), "{line}");
    let mut others = output.lines().filter(|line| line.starts_with("-- ") && !line.ends_with(" CPUs"));
    ensure!(others.next().is_none(), "a case was left out: {output}");
    ensure!(output.lines().any(|line| line.starts_with("ok c")), "no case has passed");
    Ok(())
}

fn high_bar(output: &str) -> Result<()> {
    let devices = console::table(output, "bars").context("`devices --json` printed no table")?;
    let bars = devices.iter().flat_map(|device| device["bars"].as_array().into_iter().flatten());
    let addresses: Vec<u64> = bars.filter_map(|bar| bar["address"].as_u64()).collect();
    ensure!(addresses.iter().any(|address| *address >= 1 << 32), "no BAR lies above 4 GiB: {addresses:x?}");
    Ok(())
}

fn bug_check(output: &str, names: &[&str]) -> Result<()> {
    let Some(start) = output.find("*** BUG CHECK") else { bail!("there is no bug check in the output") };
    let report = &output[start..];
    for name in names {
        ensure!(report.to_lowercase().contains(name), "the bug check does not name `{name}`");
    }
    let has_line =
        |text: &str| text.split_once(".rs:").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
    ensure!(report.lines().any(has_line), "the bug check shows no source line");
    ensure!(report.lines().any(|line| line.starts_with("       ")), "the backtrace has no function names");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(what: Check, output: &str, sentence: &str) {
        let error = check(what, output).expect_err("the output lacks it").to_string();
        assert!(error.contains(sentence), "{error}");
    }

    fn row(raised: u64, count: u64, driver: u64, counts: &str) -> String {
        format!("[{{\"vector\":81,\"counts\":{counts},\"raised\":{raised},\"count\":{count},\"driver\":{driver}}}]\n")
    }

    #[test]
    fn three_counts_and_the_sum_by_cpu_must_agree() {
        let once = CountsAgree { rows: 1 };
        assert!(check(once, &row(5, 5, 5, "[2,3]")).is_ok());
        refused(once, &row(5, 4, 5, "[2,2]"), "differ: raised 5, table 4");
        refused(once, &row(5, 5, 5, "[2,2]"), "4 by CPU");
        refused(once, &row(0, 0, 0, "[0]"), "never raised");
        refused(once, "[{\"vector\":32,\"counts\":[7]}]", "0 interrupts have all three counts");
        refused(CountsAgree { rows: 2 }, &row(5, 5, 5, "[5]"), "1 interrupts have all three counts, 2 must");
        refused(once, "nothing", "no table");
    }

    #[test]
    fn a_high_bar_lies_above_four_gib() {
        let devices = |address: u64| format!("[{{\"name\":\"x\",\"bars\":[{{\"index\":2,\"address\":{address}}}]}}]");
        assert!(check(HighBar, &devices(1 << 32)).is_ok());
        refused(HighBar, &devices((1 << 32) - 1), "no BAR lies above 4 GiB");
    }

    #[test]
    fn every_sequence_is_swept_and_well() {
        let two = Swept { sequences: 2 };
        let lines = "SWEEP spin_lock positions 256 ok\nSWEEP edu positions 2128 ok\nSWEEP wrong positions 9 caught 2\n";
        assert!(check(two, lines).is_ok());
        refused(two, &lines.replace("SWEEP edu", "edu"), "1 sequences were swept, 2 must");
        refused(two, &lines.replace("caught 2", "caught 0"), "not caught: SWEEP wrong");
        refused(two, &lines.replace("SWEEP wrong", "wrong"), "no wrong order was caught");
        refused(two, &format!("{lines}SWEEP isr_dpc positions 9 FAILED\n"), "not swept well: SWEEP isr_dpc");
        refused(two, &format!("{lines}SWEEP isr_dpc positions 0 ok\n"), "nothing was swept");
    }

    #[test]
    fn every_case_conforms_or_wants_more_cpus() {
        let good = "ok c27_x\n-- c34_y: needs 2 CPUs\nCONFORMANCE 1 passed, 0 failed, 1 left out\n";
        assert!(check(Conforms, good).is_ok());
        refused(Conforms, "CONFORMANCE 1 passed, 1 failed, 0 left out\n", "1 failed");
        refused(Conforms, &good.replace("2 CPUs", "3 edu devices on one line"), "was left out");
        refused(Conforms, &good.replace("ok c27", "FAILED c27"), "no case has passed");
        refused(Conforms, "ok c27_x\n", "no line says");
    }

    #[test]
    fn a_bug_check_names_its_callback_and_a_line() {
        let isr = Crash { names: &["evt_isr"] };
        let report = "*** BUG CHECK panic in an ISR\n  #0 0x1\n       edu::evt_isr at drivers/edu/src/lib.rs:7\n";
        assert!(check(isr, report).is_ok());
        refused(Crash { names: &["evt_dpc"] }, report, "does not name `evt_dpc`");
        refused(isr, "evt_isr at x.rs:1", "no bug check");
        refused(isr, "*** BUG CHECK\n       evt_isr\n", "no source line");
        refused(isr, "*** BUG CHECK evt_isr x.rs:1\n", "no function names");
    }

    #[test]
    fn the_table_has_every_machine_the_project_promises() {
        let cases = cases(Path::new("kernel"));
        let count = |apic: Apic| {
            cases.iter().filter(|case| case.machine.apic == apic).map(|case| case.machine.smp).sum::<u32>()
        };
        let each = 2 * (1 + 2 + 4) + (1 + 1 + 4 + 4) + 1 + (1 + 4);
        // The counted stops, and the sweep under the verifier.
        let xapic_alone = 2 + 1;
        let (xapic, x2apic) = (count(Apic::Xapic), count(Apic::X2apic));
        let what = "everything, conformance, shared lines, the sweep, a peer";
        assert_eq!((xapic - xapic_alone, x2apic), (each, each), "{what}");
        let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), cases.len());
    }
}
