//! Boots in which something goes wrong on purpose: what the bug check names, and what the machine survives.

use crate::{
    machine::Machine,
    qemu_cases::{
        Case,
        Check::{self, Crash, Says},
        LIMIT,
    },
    status::Ending,
};
use std::path::Path;

/// Where the verifier says that a lock was taken.
const DRIVER: &str = "taken at drivers/faulty/src/lib.rs:";

/// The boots.
pub fn cases(kernel: &Path) -> Vec<Case> {
    let case = |name: String, machine, ending, checks: &[Check]| Case {
        name,
        machine,
        ending,
        checks: checks.to_vec(),
        outside: None,
        limit: LIMIT,
    };
    let mut cases = Vec::new();

    let crashes: [(&str, Ending, &'static [&'static str]); 11] = [
        ("fault", Ending::Fault, &["page fault", "crash"]),
        ("stack", Ending::StackOverflow, &["stack overflow", "crash"]),
        ("nested", Ending::StackOverflow, &["stack overflow", "crash"]),
        ("isr", Ending::PanicInIsr, &["evt_isr"]),
        ("dpc", Ending::PanicInDpc, &["evt_dpc"]),
        ("endless-isr", Ending::BugCheck, &["evt_isr", "never_ends"]),
        ("endless-dpc", Ending::BugCheck, &["evt_dpc", "never_ends"]),
        ("thread", Ending::Panic, &["crash"]),
        ("forgotten-guard", Ending::BugCheck, &["its guard was forgotten", "faultyinterrupt", DRIVER]),
        ("lock-twice", Ending::BugCheck, &["is taken again at drivers/faulty", "takes_twice", DRIVER]),
        ("lock-order", Ending::BugCheck, &["opposite orders", "takes_in_both_orders", DRIVER]),
    ];
    for (kind, ending, names) in crashes {
        let machine = Machine { exec: Some(format!("crash {kind}")), ..Machine::new(kernel) };
        let what = match ending {
            Ending::BugCheck if kind.starts_with("endless") => "DPC_WATCHDOG_VIOLATION",
            Ending::BugCheck => "VERIFIER_VIOLATION",
            _ => "BUG CHECK",
        };
        cases.push(case(format!("crash {kind}"), machine, ending, &[Crash { names }, Says(what)]));
    }

    for smp in [1, 4] {
        let commands = "storm denied; storm claimed; storm denied; interrupts";
        let machine = Machine { smp, exec: Some("storm denied; interrupts".into()), ..Machine::new(kernel) };
        let said = [Says("its device was cut off, because nobody claims"), Says("forgiven, it interrupts again")];
        cases.push(case(format!("a storm of messages, {smp} CPUs"), machine, Ending::Success, &said));

        let line = format!("drivers=faulty lines=faulty#0 exec={commands}");
        let machine = Machine {
            smp,
            exec: Some(commands.into()),
            // Of several kernel command lines QEMU takes the last.
            extra: vec!["-append".into(), line],
            ..Machine::new(kernel)
        };
        let said = [
            Says("is masked because nobody claims"),
            Says("is masked because its interrupts come faster"),
            Says("forgiven, it interrupts again"),
        ];
        cases.push(case(format!("storms on a line, {smp} CPUs"), machine, Ending::Success, &said));
    }
    cases
}
