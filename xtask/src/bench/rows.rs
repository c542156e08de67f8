//! From traces to figures.
//!
//! * A raise is the store to the device's register that is followed by the entry stub of its interrupt. Its figures
//!   count from that store, plus one for the load of the register's address.
//! * "First line" of a callback is the first instruction that debug information gives to its body.
//! * "Back" is the instruction after the store.
//! * A pair of a lock is an eighth of what eight pairs in a row take beyond none; so is what else is done eight times.
//! * On an idle CPU nobody raises: counted from the entry stub, which the halted CPU enters.
//! * An interrupt that the program raises by an IPI to itself is counted from the entry stub, plus two, as if it were a
//!   device's.
//! * A chain is counted from the entry stub to its return.
//! * Interrupts per million instructions: eight raises in a row, each with all it leads to.
//! * A sharer of a line that declines is what the second member's interrupt takes beyond the first's.
//! * An object's callback begins where the driver's own body does; the wrapper that takes a scope's lock counts.
//! * Draining a DPC is what `n` of them take beyond one, by `n`.

use super::{
    code::{Accesses, Code, stores},
    session::Recording,
};
use crate::budgets;
use anyhow::{Context, Result, ensure};
use iced_x86::Mnemonic;

/// The kernel's marker function.
const MARK: &str = "kernel::bench::window::mark";
/// The first line of the callbacks of bench's own objects.
const BODY: &str = "bench_body";
/// How often in a row a window has what is done eight times.
const TIMES: f64 = 8.0;
/// The load of the register's address, before a raise.
const ADDRESS_LOAD: f64 = 1.0;
/// The store to the device's register.
const STORE: f64 = 1.0;

/// The rows whose windows have the same eight times.
const EIGHT_TIMES: [&str; 12] = [
    "interrupt_lock",
    "synchronize",
    "spin_lock",
    "mask_unmask",
    "dpc_insert_1",
    "dpc_insert_100",
    "dpc_insert_10000",
    "timer_arm_cancel",
    "wait_lock",
    "verified_interrupt_lock",
    "verified_synchronize",
    "verified_spin_lock",
];
/// The windows that drain one DPC and so many more.
const DRAINS: [(&str, f64); 3] = [("dpc_drain_1", 1.0), ("dpc_drain_100", 100.0), ("dpc_drain_10000", 10_000.0)];

/// One measured row.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    pub name: &'static str,
    pub value: f64,
    /// None where nothing was traced.
    pub accesses: Option<Accesses>,
    /// Addresses of the instructions in the measured path, as they ran.
    pub path: Vec<u64>,
}

/// The figures of one boot.
pub fn figures(recording: &Recording, code: &Code) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let window = |name| recording.window(name).and_then(|trace| Window::cut(trace, code, name));

    let isr = window("isr")?;
    let raise = isr.raise(code)?;
    figures.push(raise.until("isr_entry", isr.first_in("evt_isr", raise.stub, code)?, code)?);
    figures.push(raise.until("isr_only", raise.back, code)?);

    let dpc = window("dpc")?;
    let raise = dpc.raise(code)?;
    figures.push(raise.until("dpc_entry", dpc.first_in("evt_dpc", raise.stub, code)?, code)?);
    let whole = raise.until("isr_dpc", raise.back, code)?;
    let queueing = whole.path.iter().copied().filter(|address| code.is_in(*address, "queue_dpc")).collect();
    figures.extend([whole, figure("queue_dpc", 0.0, queueing, code)?]);
    let each = eighth("per_million", recording.window("storm")?, code)?;
    figures.push(Figure { value: 1e6 / each.value, ..each });

    let verified = window("verified_dpc")?;
    let raise = verified.raise(code)?;
    figures.push(raise.until("verified_isr_dpc", raise.back, code)?);

    let work = window("work_item")?;
    let raise = work.raise(code)?;
    figures.push(raise.until("work_item", work.first_in("evt_work_item", raise.stub, code)?, code)?);

    let idle = window("idle")?;
    let stub = idle.entered_from_halt(code)?;
    let path = idle.ran[stub..idle.first_in("evt_isr", stub, code)?].to_vec();
    figures.push(figure("isr_idle", 0.0, path, code)?);

    let passive = window("passive_isr")?;
    let stub = passive.entered(code)?;
    let path = passive.ran[stub..passive.first_in("evt_isr", stub, code)?].to_vec();
    figures.push(figure("passive_isr", STORE + ADDRESS_LOAD, path, code)?);

    let line = |window_name, row| {
        let line = window(window_name)?;
        let raise = line.raise(code)?;
        raise.until(row, raise.back, code)
    };
    let owner = window("line_owner")?;
    let raise = owner.raise(code)?;
    figures.push(raise.until("line_entry", owner.first_in("evt_isr", raise.stub, code)?, code)?);
    figures.push(line("line_owner", "line_owner")?);
    for name in ["chain_1", "chain_2", "chain_8"] {
        let chain = window(name)?;
        let stub = chain.entered(code)?;
        figures.push(figure(name, 0.0, chain.ran[stub..chain.returned(stub, code)?].to_vec(), code)?);
    }
    let (first, second) = (line("line_first", "line_sharer")?, line("line_second", "line_sharer")?);
    figures.push(second.beyond(&first, 1.0));

    for name in EIGHT_TIMES {
        figures.push(eighth(name, recording.window(name)?, code)?);
    }
    for name in ["connect_few", "connect_150", "wait_lock_hand_over", "request"] {
        figures.push(window(name)?.whole(name, code)?);
    }
    for name in ["dpc_object", "dpc_serialized"] {
        let object = window(name)?;
        figures.push(figure(name, 0.0, object.ran[..object.first_in(BODY, 0, code)?].to_vec(), code)?);
    }
    let timer = window("timer_fire")?;
    let stub = timer.entered(code)?;
    figures.push(figure("timer_fire", 0.0, timer.ran[stub..timer.first_in(BODY, stub, code)?].to_vec(), code)?);
    let one = window("dpc_drain_base")?.whole("dpc_drain_1", code)?;
    for (name, count) in DRAINS {
        figures.push(window(name)?.whole(name, code)?.beyond(&one, count));
    }
    for (name, value) in &recording.stated {
        let row = budgets::row(name).with_context(|| format!("no row is called {name}"))?;
        figures.push(Figure { name: row.name, value: *value, accesses: None, path: Vec::new() });
    }
    Ok(figures)
}

fn figure(name: &'static str, beyond: f64, path: Vec<u64>, code: &Code) -> Result<Figure> {
    let accesses = Some(sum(&path, code)?);
    Ok(Figure { name, value: path.len() as f64 + beyond, accesses, path })
}

impl Figure {
    /// What this takes more than `base`, by `count`. The path is the whole of this.
    fn beyond(self, base: &Figure, count: f64) -> Figure {
        let accesses = self.accesses.zip(base.accesses);
        Figure {
            value: (self.value - base.value) / count,
            accesses: accesses.map(|(all, base)| all.zip(base, |all, base| (all - base) / count)),
            ..self
        }
    }
}

fn sum(path: &[u64], code: &Code) -> Result<Accesses> {
    path.iter().try_fold(Accesses::default(), |sum, address| Ok(sum.zip(code.accesses(*address)?, |a, b| a + b)))
}

/// The row of what is done eight times: so it is between the first two marks, and not at all between the last two.
fn eighth(name: &'static str, trace: &[u64], code: &Code) -> Result<Figure> {
    let marks = marks(trace, code)?;
    let [.., first, second, third] = marks[..] else {
        anyhow::bail!("the window {name} has {} marks instead of three", marks.len());
    };
    let (eight, none) = (&trace[first..second], &trace[second..third]);
    let value = (eight.len() as f64 - none.len() as f64) / TIMES;
    let accesses = sum(eight, code)?.zip(sum(none, code)?, |eight, none| (eight - none) / TIMES);
    Ok(Figure { name, value, accesses: Some(accesses), path: eight.to_vec() })
}

fn marks(trace: &[u64], code: &Code) -> Result<Vec<usize>> {
    let mark = code.address_of(MARK)?;
    Ok((0..trace.len()).filter(|n| trace[*n] == mark).collect())
}

/// What ran between two marks.
struct Window<'t> {
    name: &'static str,
    ran: &'t [u64],
}

/// Where in its window a raise is.
struct Raise<'t> {
    ran: &'t [u64],
    store: usize,
    stub: usize,
    back: usize,
}

impl<'t> Window<'t> {
    fn cut(trace: &'t [u64], code: &Code, name: &'static str) -> Result<Self> {
        let marks = marks(trace, code)?;
        let [first, second] = marks[..] else {
            anyhow::bail!("the window {name} has {} marks instead of two", marks.len());
        };
        Ok(Window { name, ran: &trace[first..second] })
    }

    /// All of it.
    fn whole(&self, row: &'static str, code: &Code) -> Result<Figure> {
        figure(row, 0.0, self.ran.to_vec(), code)
    }

    /// The first entry stub.
    fn entered(&self, code: &Code) -> Result<usize> {
        let entered = stubs(code)?;
        let stub = self.ran.iter().position(|address| entered.contains(address));
        stub.with_context(|| format!("no interrupt came in the window {}", self.name))
    }

    fn raise(&self, code: &Code) -> Result<Raise<'t>> {
        let name = self.name;
        let stub = self.entered(code)?;
        let store = stub.checked_sub(1).context("the window begins in an interrupt")?;
        let raise = code.instruction(self.ran[store])?;
        ensure!(stores(&raise), "the interrupt in the window {name} came after {raise}, which is no raise");
        let back = self.ran[stub..].iter().position(|address| *address == raise.next_ip());
        let back = stub + back.with_context(|| format!("the interrupt in the window {name} does not return"))?;
        Ok(Raise { ran: self.ran, store, stub, back })
    }

    /// The place after the return of the interrupt that was entered at place `stub`.
    fn returned(&self, stub: usize, code: &Code) -> Result<usize> {
        for n in stub..self.ran.len() {
            if code.instruction(self.ran[n])?.mnemonic() == Mnemonic::Iretq {
                return Ok(n + 1);
            }
        }
        anyhow::bail!("the interrupt in the window {} does not return", self.name)
    }

    fn entered_from_halt(&self, code: &Code) -> Result<usize> {
        let entered = stubs(code)?;
        for n in 1..self.ran.len() {
            if entered.contains(&self.ran[n]) && code.instruction(self.ran[n - 1])?.mnemonic() == Mnemonic::Hlt {
                return Ok(n);
            }
        }
        anyhow::bail!("no interrupt came to an idle CPU in the window {}", self.name)
    }

    /// The first instruction of `function`, at or after place `from`.
    fn first_in(&self, function: &str, from: usize, code: &Code) -> Result<usize> {
        let first = self.ran[from..].iter().position(|address| code.is_in(*address, function));
        first.map(|first| from + first).with_context(|| format!("{function} did not run in the window {}", self.name))
    }
}

impl Raise<'_> {
    fn until(&self, name: &'static str, end: usize, code: &Code) -> Result<Figure> {
        figure(name, ADDRESS_LOAD, self.ran[self.store..end].to_vec(), code)
    }
}

/// The addresses at which an interrupt is entered: 256 stubs of 16 bytes for each mode of the local APIC.
fn stubs(code: &Code) -> Result<Vec<u64>> {
    let mut entries = Vec::new();
    for table in ["xapic_stubs", "x2apic_stubs"] {
        let start = code.address_of(table)?;
        entries.extend((0..256).map(|vector| start + 16 * vector));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_a_base_is_shared_by_the_count() {
        let figure = |value, atomics| Figure {
            name: "dpc_drain_100",
            value,
            accesses: Some(Accesses { atomics, ..Accesses::default() }),
            path: vec![0x1000],
        };
        let each = figure(3050.0, 202.0).beyond(&figure(50.0, 2.0), 100.0);
        assert_eq!((each.value, each.path.len()), (30.0, 1));
        assert_eq!(each.accesses.map(|counts| counts.atomics), Some(2.0));
    }
}
