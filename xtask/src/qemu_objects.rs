//! A device that has left: what the table of objects must say before and after.

use crate::console;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;

/// What one device of these tests has: so many of each kind.
const OF_A_DEVICE: [(&str, u64); 6] =
    [("Device", 1), ("Interrupt", 1), ("Timer", 1), ("IoQueue", 2), ("DmaBuffer", 1), ("Vector", 1)];

/// Checks the first and the last table of objects in `output`: the last has one device less, and all that was its.
pub fn device_freed(output: &str) -> Result<()> {
    let tables: Vec<Vec<Value>> = console::json_lists(output).into_iter().filter(|rows| is_of_objects(rows)).collect();
    let [before, .., after] = &tables[..] else {
        bail!("{} tables of objects were printed, two must be", tables.len())
    };
    let (before, after) = (counts(before)?, counts(after)?);
    for (kind, each) in OF_A_DEVICE {
        let count = |table: &BTreeMap<&str, u64>| table.get(kind).copied().unwrap_or(0);
        let (had, has) = (count(&before), count(&after));
        ensure!(had == has + each, "of kind {kind} there were {had} objects, and there are {has} without the device");
    }
    Ok(())
}

fn is_of_objects(rows: &[Value]) -> bool {
    rows.first().is_some_and(|row| row.get("kind").is_some() && row.get("of").is_some())
}

/// How many objects there are of each kind.
fn counts(rows: &[Value]) -> Result<BTreeMap<&str, u64>> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let kind = row["kind"].as_str().with_context(|| format!("an object without its kind: {row}"))?;
        // What is measured in bytes alone has no number.
        *counts.entry(kind).or_insert(0) += row["count"].as_u64().unwrap_or(0);
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(devices: u64, buffers: u64) -> String {
        let row =
            |kind: &str, count: u64| format!("{{\"kind\":\"{kind}\",\"of\":\"x\",\"count\":{count},\"bytes\":0}}");
        let others = OF_A_DEVICE.iter().filter(|(kind, _)| *kind != "DmaBuffer");
        let mut rows: Vec<String> = others.map(|(kind, each)| row(kind, devices * each)).collect();
        rows.extend([row("DmaBuffer", buffers), row("Thread", 7)]);
        format!("[{}]\n", rows.join(",\n"))
    }

    #[test]
    fn a_device_takes_all_that_was_its_along() {
        assert!(device_freed(&format!("{}some text\n{}", table(2, 2), table(1, 1))).is_ok());
        let refused = |output: &str| device_freed(output).expect_err("it is wrong").to_string();
        assert!(refused(&format!("{}{}", table(2, 2), table(2, 2))).contains("Device there were 2 objects"));
        assert!(refused(&format!("{}{}", table(2, 2), table(1, 2))).contains("DmaBuffer there were 2"));
        assert!(refused(&table(2, 2)).contains("1 tables of objects"));
    }
}
