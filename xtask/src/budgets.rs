//! The rows of `cargo xtask bench`: what each measures, what it may cost, and what Linux takes for the same.
//!
//! Figures are guest instructions on one CPU with edu over MSI, release build with frame pointers. Linux is 6.12.95
//! with mitigations off, measured by the same method on the same machine.

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The name the kernel reports it by.
    pub name: &'static str,
    pub meaning: &'static str,
    pub budget: f64,
    pub linux: Option<f64>,
    /// A rate rather than a cost.
    pub higher_is_better: bool,
}

const fn cost(name: &'static str, meaning: &'static str, linux: Option<f64>, budget: f64) -> Row {
    Row { name, meaning, budget, linux, higher_is_better: false }
}

/// Flat: no more beside many than beside few.
const CONNECT: f64 = 600.0;

/// A limit of ours, so that what is verified stays usable.
const VERIFIED_PAIR: f64 = 200.0;

/// All rows, in the order of the table.
pub const ROWS: [Row; 39] = [
    cost("isr_entry", "raise -> first line of the ISR", Some(225.0), 34.0),
    cost("isr_only", "raise -> back in the interrupted code, ISR only", Some(481.0), 72.0),
    cost("dpc_entry", "raise -> evt_dpc", Some(646.0), 105.0),
    cost("isr_dpc", "raise -> back, ISR + evt_dpc with synchronize", Some(792.0), 150.0),
    cost("passive_isr", "raise -> passive evt_isr", Some(2915.0), 170.0),
    cost("work_item", "raise -> evt_work_item queued by the ISR", Some(4128.0), 220.0),
    cost("isr_idle", "raise -> ISR on an idle CPU", Some(1031.0), 90.0),
    cost("line_entry", "line interrupt, level: raise -> first line of the ISR", None, 60.0),
    cost("line_owner", "line interrupt, level: raise -> back, one owner", Some(516.0), 95.0),
    cost("chain_1", "line interrupt, level: entry -> back, 1 sharer", None, 95.0),
    cost("chain_2", "line interrupt, level: entry -> back, 2 sharers", None, 125.0),
    cost("chain_8", "line interrupt, level: entry -> back, 8 sharers", None, 305.0),
    cost("line_sharer", "line interrupt, level: each sharer that declines", None, 30.0),
    cost("interrupt_lock", "interrupt lock pair: acquire_lock + drop", Some(33.0), 14.0),
    cost("synchronize", "interrupt lock pair: synchronize", Some(33.0), 14.0),
    cost("spin_lock", "spin lock pair", Some(19.0), 14.0),
    cost("queue_dpc", "queue_dpc from the ISR", Some(40.0), 14.0),
    cost("mask_unmask", "mask + unmask one interrupt", Some(1133.0), 60.0),
    Row {
        name: "per_million",
        meaning: "interrupts per million instructions, ISR + evt_dpc",
        budget: 6600.0,
        linux: Some(1321.0),
        higher_is_better: true,
    },
    cost("dpc_insert_1", "DPC insert, 1 queued", None, 16.0),
    cost("dpc_insert_100", "DPC insert, 100 queued", None, 16.0),
    cost("dpc_insert_10000", "DPC insert, 10,000 queued", None, 16.0),
    cost("dpc_drain_1", "DPC drain each, 1 queued", None, 24.0),
    cost("dpc_drain_100", "DPC drain each, 100 queued", None, 24.0),
    cost("dpc_drain_10000", "DPC drain each, 10,000 queued", None, 24.0),
    cost("dpc_object", "DPC object: enqueue at PASSIVE -> evt_dpc_func", None, 100.0),
    cost("dpc_serialized", "DPC object: enqueue at PASSIVE -> evt_dpc_func, serialized", None, 115.0),
    cost("timer_arm_cancel", "timer: start + stop", None, 240.0),
    cost("timer_fire", "timer: clock interrupt -> evt_timer_func", None, 180.0),
    cost("wait_lock", "wait lock pair", None, 24.0),
    cost("wait_lock_hand_over", "wait lock: release -> the waiter has it", None, 240.0),
    cost("request", "request: submit -> completed, taken, no device", None, 2300.0),
    cost("connect_few", "connect, the drivers' interrupts connected", None, CONNECT),
    cost("connect_150", "connect, 150 interrupts connected", None, CONNECT),
    cost("verified_spin_lock", "under the verifier: spin lock pair", None, VERIFIED_PAIR),
    cost(
        "verified_interrupt_lock",
        "under the verifier: interrupt lock pair: acquire_lock + drop",
        None,
        VERIFIED_PAIR,
    ),
    cost("verified_synchronize", "under the verifier: interrupt lock pair: synchronize", None, VERIFIED_PAIR),
    cost("verified_isr_dpc", "under the verifier: raise -> back, ISR + evt_dpc", None, 1000.0),
    cost("boot", "boot -> first driver callback", Some(2.1e9), 6e7),
];

/// The row of that name.
pub fn row(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// How a figure stands to its row's budget.
pub fn verdict(row: &Row, figure: f64) -> String {
    let over = if row.higher_is_better { row.budget - figure } else { figure - row.budget };
    if over <= 0.0 {
        return "met".into();
    }
    let by = if over.fract() == 0.0 { over.to_string() } else { format!("{over:.1}") };
    format!("misses by {by} ({:.0} %)", 100.0 * over / row.budget)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn a_cost_may_reach_its_budget_and_a_rate_must() {
        let isr = row("isr_entry").expect("it is in the table");
        assert_eq!(verdict(isr, 34.0), "met");
        assert_eq!(verdict(isr, 51.0), "misses by 17 (50 %)");
        let rate = row("per_million").expect("it is in the table");
        assert_eq!(verdict(rate, 8305.0), "met");
        assert_eq!(verdict(rate, 6534.0), "misses by 66 (1 %)");
        assert_eq!(verdict(rate, 1e6 / 189.0), "misses by 1309.0 (20 %)");
    }
}
