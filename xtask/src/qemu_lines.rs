//! Devices that share an interrupt line: what the table of interrupts must say of them.
//!
//! Who shares a level line is asked in turn until one claims, so the first is asked for everybody's interrupts, and the
//! last one only for those that are its own. What all of them claim together is what there was on the line.

use crate::console;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;

/// One who shares.
struct Member {
    device: String,
    raised: u64,
    count: u64,
    driver: u64,
    unclaimed: u64,
}

/// Checks the table of interrupts in `output`: a line that `wanted` edu devices share, with nothing lost on it and
/// nothing that nobody claims.
pub fn counts_agree(output: &str, wanted: usize) -> Result<()> {
    let rows = console::table(output, "vector").context("`interrupts --json` printed no table")?;
    let mut lines: BTreeMap<(u64, u64), Vec<Member>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row["mode"] == "level") {
        let number = |key: &str| row.get(key).and_then(Value::as_u64);
        let (Some(raised), Some(driver)) = (number("raised"), number("driver")) else { continue };
        let needed = |key: &str| number(key).with_context(|| format!("an interrupt without its {key}: {row}"));
        let device = row["device"].as_str().unwrap_or("?").to_owned();
        let member = Member { device, raised, count: needed("count")?, driver, unclaimed: needed("unclaimed")? };
        lines.entry((needed("cpu")?, needed("vector")?)).or_default().push(member);
    }
    let longest = lines.values().map(Vec::len).max().unwrap_or(0);
    ensure!(longest >= wanted, "at most {longest} devices share a line, {wanted} must");
    lines.values().try_for_each(|members| one_line(members))
}

fn one_line(members: &[Member]) -> Result<()> {
    for Member { device, raised, count, driver, unclaimed } in members {
        let claimed = count.checked_sub(*unclaimed).with_context(|| format!("{device} declined more than came"))?;
        ensure!(
            *raised == claimed && claimed == *driver,
            "the counts of {device} differ: raised {raised}, claimed {claimed}, driver {driver}"
        );
        ensure!(*raised > 0, "{device} never interrupted");
    }
    let interrupts: u64 = members.iter().map(|member| member.driver).sum();
    let first = members.iter().map(|member| member.count).max().unwrap_or(0);
    ensure!(first == interrupts, "the first on a line was asked {first} times for {interrupts} interrupts");
    let last = members.iter().map(|member| member.unclaimed).min().unwrap_or(0);
    ensure!(last == 0, "{last} interrupts of a line were nobody's");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(device: &str, vector: u64, [raised, count, driver, unclaimed]: [u64; 4]) -> String {
        format!(
            "{{\"device\":\"{device}\",\"mode\":\"level\",\"cpu\":1,\"vector\":{vector},\"raised\":{raised},\
             \"count\":{count},\"driver\":{driver},\"unclaimed\":{unclaimed}}}"
        )
    }

    #[track_caller]
    fn refused(rows: &[String], sentence: &str) {
        let error = counts_agree(&format!("[{}]\n", rows.join(",\n")), 2).expect_err("it is wrong").to_string();
        assert!(error.contains(sentence), "{error}");
    }

    #[test]
    fn sharers_claim_everything_once() {
        let good = [row("edu#0", 96, [5, 12, 5, 7]), row("edu#1", 96, [7, 7, 7, 0])];
        assert!(counts_agree(&format!("[{}]\n", good.join(",\n")), 2).is_ok());
        refused(&[row("edu#0", 96, [5, 5, 5, 0]), row("edu#1", 97, [7, 7, 7, 0])], "at most 1 devices share");
        refused(&[row("edu#0", 96, [5, 12, 5, 8]), row("edu#1", 96, [7, 7, 7, 0])], "claimed 4");
        refused(&[row("edu#0", 96, [0, 7, 0, 7]), row("edu#1", 96, [7, 7, 7, 0])], "never interrupted");
        refused(&[row("edu#0", 96, [5, 13, 5, 8]), row("edu#1", 96, [7, 7, 7, 0])], "asked 13 times for 12");
        refused(&[row("edu#0", 96, [5, 12, 5, 7]), row("edu#1", 96, [7, 8, 7, 1])], "1 interrupts of a line");
    }
}
