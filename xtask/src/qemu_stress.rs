//! Boots of the kernel's `stress`: much of the same while devices interrupt all the time, more of it in a long run.

use crate::{
    console,
    machine::{Apic, Machine},
    qemu_cases::{Case, Check, LIMIT},
    status::Ending,
};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{path::Path, time::Duration};

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// For every run.
    Short,
    /// For `test --long`.
    Long,
}

/// The boots.
pub fn cases(kernel: &Path, effort: Effort) -> Vec<Case> {
    // A stop finds what it finds by chance; in a long run of it there is enough of each.
    let (isrs, cycles, counted_cycles, requests, each, limit) = match effort {
        Effort::Short => (100_000, 200, 2_000, 20_000, 1, 3 * LIMIT),
        Effort::Long => (1_000_000, 1_000, 10_000, 100_000, 100, Duration::from_secs(3600)),
    };
    let case = |name: String, machine, commands: String, check| Case {
        name,
        machine: Machine { exec: Some(commands), ..machine },
        ending: Ending::Success,
        checks: vec![check],
        outside: None,
        limit,
    };
    let four = Machine { smp: 4, ..Machine::new(kernel) };
    let two = Machine { extra: ["-device", "edu"].map(String::from).into(), ..four.clone() };
    let common = format!("stress common {isrs}");
    let name = format!("{isrs} interrupts in one section with DPCs and threads");
    let mut cases = vec![case(name, two, common, Check::CommonSection { isrs })];
    // The first cycle brings the worker threads that stay.
    let again = |count| format!("stress cycles 1; objects --json; stress cycles {count}; objects --json");
    let name = format!("{cycles} stops and starts of what interrupts, 4 CPUs");
    cases.push(case(name, four.clone(), again(cycles), Check::Cycles { each }));
    // In a long run there are enough of each kind of end.
    let each_end = if effort == Effort::Long { 1_000 } else { 1 };
    let name = format!("{requests} requests to one queue, cancelled or not, 4 CPUs");
    let check = Check::Requests { requests, each: each_end };
    cases.push(case(name, four, format!("stress requests {requests}; queues"), check));
    let name = format!("{counted_cycles} stops and starts of what interrupts, instructions counted");
    // In x2APIC mode QEMU 10 counts wrongly unless it goes instruction by instruction, which takes too long for this.
    let counted = Machine { icount: true, apic: Apic::Xapic, ..Machine::new(kernel) };
    cases.push(case(name, counted, again(counted_cycles), Check::Cycles { each }));
    cases
}

/// Everybody in the section was counted: the kernel says so.
pub fn common_section(output: &str, wanted: u32) -> Result<()> {
    let [isrs] = verdict(output, "common", [])?;
    ensure!(isrs >= wanted, "{isrs} ISRs were in the section, {wanted} must");
    Ok(())
}

/// Every request ended once: the kernel says so. Each kind of end came at least so often.
pub fn requests(output: &str, wanted: u32, each: u32) -> Result<()> {
    let keys = ["completed", "cancelled-queued", "cancelled-in-flight"];
    let [all, completed, queued, in_flight] = verdict(output, "requests", keys)?;
    ensure!(
        all >= wanted && completed + queued + in_flight == all,
        "{completed} + {queued} + {in_flight} of {all} requests"
    );
    for (count, end) in
        [(completed, "completed"), (queued, "cancelled in the queue"), (in_flight, "cancelled in flight")]
    {
        ensure!(count >= each, "{count} requests were {end}, {each} must");
    }
    Ok(())
}

/// What the stops found, and that nothing was left behind.
pub fn cycles(output: &str, each: u32) -> Result<()> {
    let [_, pending, in_service, deferred] = verdict(output, "cycles", ["pending", "in-service", "deferred"])?;
    for (count, found) in [(pending, "pending"), (in_service, "in service"), (deferred, "deferred")] {
        ensure!(count >= each, "{count} stops found the interrupt {found}, {each} must");
    }
    let tables = console::tables(output, "kind");
    let [before, after] = &tables[..] else { anyhow::bail!("{} tables of objects, not two", tables.len()) };
    for row in before {
        let same = |other: &&Value| (&other["kind"], &other["of"]) == (&row["kind"], &row["of"]);
        let now = after.iter().find(same).with_context(|| format!("after it there is no more {row}"))?;
        ensure!(now == row, "the objects differ: {row} before, {now} after");
    }
    ensure!(before.len() == after.len(), "there are other kinds of objects after it");
    Ok(())
}

/// The numbers in the last `STRESS what N key number ... ok`.
fn verdict<const N: usize, const KEYS: usize>(output: &str, what: &str, keys: [&str; KEYS]) -> Result<[u32; N]> {
    let start = format!("STRESS {what} ");
    let line = output.lines().rfind(|line| line.starts_with(&start));
    let line = line.with_context(|| format!("no line says `{start}`"))?;
    let words: Vec<&str> = line[start.len()..].split_whitespace().collect();
    let numbers: Vec<u32> = words.iter().step_by(2).filter_map(|word| word.parse().ok()).collect();
    let names = words.iter().skip(1).step_by(2).copied();
    ensure!(names.eq(keys.into_iter().chain(["ok"])), "this is no success: {line}");
    numbers.try_into().ok().with_context(|| format!("other numbers than expected: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(result: Result<()>, sentence: &str) {
        let error = result.expect_err("it is wrong").to_string();
        assert!(error.contains(sentence), "{error}");
    }

    #[test]
    fn a_section_needs_its_isrs() {
        assert!(common_section("STRESS common 1003 ok\n", 1000).is_ok());
        refused(common_section("STRESS common 999 ok\n", 1000), "999 ISRs");
        refused(common_section("the integer is 3, not 4\n", 1000), "no line says");
    }

    #[test]
    fn requests_end_once_and_in_every_way() {
        let line = |ends: [u32; 3]| {
            let [completed, queued, in_flight] = ends;
            format!(
                "STRESS requests 10 completed {completed} cancelled-queued {queued} cancelled-in-flight {in_flight} ok\n"
            )
        };
        assert!(requests(&line([5, 3, 2]), 10, 2).is_ok());
        refused(requests(&line([5, 3, 2]), 11, 2), "of 10 requests");
        refused(requests(&line([5, 3, 1]), 10, 1), "5 + 3 + 1 of 10");
        refused(requests(&line([5, 4, 1]), 10, 2), "1 requests were cancelled in flight");
        refused(requests("7 of 8 requests ended\n", 8, 1), "no line says");
    }

    fn run(found: [u32; 3], after: &str) -> String {
        let [pending, in_service, deferred] = found;
        let before = "[{\"kind\":\"Vector\",\"of\":\"all\",\"count\":3}]";
        format!(
            "STRESS cycles 1 pending 0 in-service 0 deferred 0 ok\n{before}\n\
             STRESS cycles 9 pending {pending} in-service {in_service} deferred {deferred} ok\n{after}\n"
        )
    }

    #[test]
    fn stops_find_everything_and_leave_nothing() {
        let same = "[{\"kind\":\"Vector\",\"of\":\"all\",\"count\":3}]";
        assert!(cycles(&run([2, 3, 4], same), 2).is_ok());
        refused(cycles(&run([2, 1, 4], same), 2), "1 stops found the interrupt in service");
        refused(cycles(&run([2, 3, 4], "[{\"kind\":\"Vector\",\"of\":\"all\",\"count\":4}]"), 2), "the objects differ");
        refused(cycles(&run([2, 3, 4], "[{\"kind\":\"Thread\",\"of\":\"all\",\"count\":3}]"), 2), "there is no more");
        refused(cycles(&run([2, 3, 4], ""), 2), "1 tables");
    }
}
