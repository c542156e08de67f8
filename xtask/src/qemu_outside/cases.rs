//! The boots in which somebody outside acts: what arrives, or leaves, is counted at both ends.

use super::Outside;
use crate::{
    machine::{Accel, Apic, Machine},
    qemu_cases::{
        Case,
        Check::{self, ConsoleInterrupts, DeviceFreed, Prompted, Says},
        LIMIT,
    },
    status::Ending,
};
use std::path::Path;

/// Every such boot, for the kernel at `kernel`.
pub fn cases(kernel: &Path) -> Vec<Case> {
    let rows = [
        ("keys and mouse movements from outside", Outside::Input { keys: 100, movements: 100 }, ", 0 dropped"),
        ("bytes at full speed on a serial line", Outside::Bytes(16384), " 0 overruns"),
        ("the power button from outside", Outside::Presses(20), "presses so far: 20"),
    ];
    let mut cases = Vec::new();
    for (name, outside, says) in rows {
        let machine = Machine { exec: Some(outside.command()), ..Machine::new(kernel) };
        cases.push(case(name.into(), machine, outside, &[Says(says)]));
    }
    cases.extend(prompted(kernel));
    cases.extend(rung(kernel));
    cases.extend(unplugged(kernel));
    cases
}

fn case(name: String, machine: Machine, outside: Outside, checks: &[Check]) -> Case {
    Case { name, machine, ending: Ending::Success, checks: checks.to_vec(), outside: Some(outside), limit: LIMIT }
}

/// Somebody types faster than the commands run, while the driver of the console's port works, is stopped, and works again.
fn prompted(kernel: &Path) -> Vec<Case> {
    const TYPED: &str = "devices\nedu factorial 12\nhelp\ninterrupts --json\nstop serial#0\nbutton\nhelp\nstart serial#0\n\
                         edu dma\nbutton\nobjects\nbutton\nhelp\nbutton\nshutdown\n";
    let checks = [Prompted(TYPED), ConsoleInterrupts { at_least: 100 }, Says("479001600"), Says("serial#0 is stopped")];
    let outside = Outside::Prompt(TYPED);
    let boot = |smp| {
        let machine = Machine { smp, ..Machine::new(kernel) };
        case(format!("commands typed at the prompt, {smp} CPUs"), machine, outside, &checks)
    };
    [1, 4].map(boot).into()
}

/// A peer in another process and the guest ring one another.
fn rung(kernel: &Path) -> Vec<Case> {
    const OUTSIDE: Outside = Outside::Rings { vectors: 8, rounds: 2000 };
    let mut cases = Vec::new();
    for apic in [Apic::Xapic, Apic::X2apic] {
        for smp in [1, 4] {
            let machine = Machine { apic, smp, exec: Some(OUTSIDE.command()), ..Machine::new(kernel) };
            let name = format!("a peer rings 8 vectors of ivshmem, {smp} CPUs, {apic}");
            cases.push(case(name, machine, OUTSIDE, &[Says("16000 rings came and 16000 went")]));
        }
    }
    cases
}

/// A device leaves the bus while three threads use it: one with a vector of its own, and one that shares a level line with a
/// device that stays.
fn unplugged(kernel: &Path) -> Vec<Case> {
    const ID: &str = "pulled";
    let ways = [
        ("ejected", Outside::Eject(ID), "edu#1 at 0000:01:00.0: ejected", "3 of 3 users ended by Gone"),
        ("powered off", Outside::PowerOff(ID), "edu#1 at 0000:01:00.0: gone", "in quarantine: 1, then 0"),
    ];
    let mut cases = Vec::new();
    for (how, outside, left, then) in ways {
        for (smp, shares) in [(1, false), (4, false), (1, true), (4, true)] {
            let mut machine = Machine { smp, ..Machine::new(kernel) };
            let mut checks = vec![Says(left), Says("3 of 3 users ended by Gone"), Says(then)];
            let mut name = format!("a device under load is {how}, {smp} CPUs");
            let command = outside.command();
            if shares {
                name += ", on a shared line";
                machine.settings = " lines=edu#0,edu#1".into();
                machine.exec = Some(format!("{command}; edu factorial 12 edu#0"));
                checks.push(Says("edu#0: 12! = 479001600"));
            } else {
                machine.exec = Some(format!("objects --json; {command}; objects --json"));
                checks.push(DeviceFreed);
            }
            // Behind slot 7, whose line is that of slot 3, where the other edu is.
            let port = "pcie-root-port,id=socket,chassis=1,addr=07.0";
            let behind = format!("edu,bus=socket,id={ID}");
            machine.extra = ["-device", port, "-device", &behind].map(String::from).into();
            if matches!(outside, Outside::PowerOff(_)) {
                // QEMU 10.0.2 has crashed when a device went while another of its threads was in that device's registers.
                machine.accel = Accel::Stated;
                machine.extra.extend(["-accel", "tcg,thread=single"].map(String::from));
            }
            cases.push(case(name, machine, outside, &checks));
        }
    }
    cases
}
