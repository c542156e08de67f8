//! The commands that show tables.

use super::{
    commands::Outcome,
    edu,
    machine::Machine,
    table::{
        Column::{Number, Text},
        Table,
    },
    terminal,
    words::Arguments,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use framework::{Dispatching, Mode, QueueInfo, QueueRow};
use hal_x86_64::{heap, layout, memory};
use io::{Bar, BarKind};
use ke::{At, Passive};
use serde_json::{Value, json};

/// Prints `table` as the command's words ask for it.
fn print(table: &Table, mut words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let as_json = words.flag("--json");
    words.end()?;
    match as_json {
        true => terminal::print(at, format_args!("{}", table.json())),
        false => terminal::print(at, format_args!("{table}")),
    }
    Ok(())
}

pub fn devices(machine: &mut Machine, words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let columns = &[Text("location"), Text("id"), Text("kind"), Text("device"), Text("state"), Text("BARs")];
    let mut table = Table::new(columns, "no devices");
    for row in machine.pnp().devices(at) {
        let id = format!("{:04x}:{:04x}", row.ids.vendor, row.ids.device);
        let bars = row.pci.bars();
        let bars_text: Vec<String> = bars.iter().map(describe).collect();
        let name = row.name.as_deref().unwrap_or("-");
        let object = json!({
            "location": row.location.to_string(),
            "vendor": row.ids.vendor,
            "device": row.ids.device,
            "class": row.ids.class,
            "revision": row.ids.revision,
            "name": row.name,
            "state": row.state.to_string(),
            "bars": bars.iter().map(bar_object).collect::<Vec<_>>(),
        });
        table.add([&row.location, &id, &kind(row.ids.class), &name, &row.state, &bars_text.join(", ")], object);
    }
    print(&table, words, at)?;
    for problem in machine.pnp().problems(at) {
        terminal::print(at, format_args!("note: {problem}\n"));
    }
    Ok(())
}

/// The words for a base class; the numbers are the PCI Code and ID Assignment's.
fn kind(class: u32) -> &'static str {
    match class >> 16 {
        0x01 => "storage",
        0x02 => "network",
        0x03 => "display",
        0x04 => "multimedia",
        0x05 => "memory",
        0x06 => "bridge",
        0x07 => "communication",
        0x08 => "system",
        0x09 => "input",
        0x0c => "serial bus",
        _ => "other",
    }
}

fn describe(bar: &Bar) -> String {
    let size = bytes(bar.len);
    match bar.base {
        Some(base) if bar.kind == BarKind::Io => format!("{}: ports {base:#x} ({size})", bar.index),
        Some(base) => format!("{}: {base:#x} ({size})", bar.index),
        None => format!("{}: not placed ({size})", bar.index),
    }
}

fn bar_object(bar: &Bar) -> Value {
    json!({ "index": bar.index, "address": bar.base, "bytes": bar.len, "ports": bar.kind == BarKind::Io })
}

/// A size as a person says it.
fn bytes(count: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(size, _)| count >= *size && count.is_multiple_of(*size));
    unit.map_or(format!("{count} bytes"), |(size, name)| format!("{} {name}", count / size))
}

pub fn drivers(machine: &mut Machine, words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let mut table = Table::new(&[Text("driver"), Number("devices"), Text("names")], "no drivers");
    let names: Vec<String> = machine.pnp().devices(at).into_iter().filter_map(|row| row.name).collect();
    for driver in machine.drivers() {
        let is_its = |name: &&String| name.split('#').next() == Some(driver.name());
        let its: Vec<&str> = names.iter().filter(is_its).map(String::as_str).collect();
        let object = json!({ "driver": driver.name(), "devices": its });
        table.add([&driver.name(), &its.len(), &its.join(", ")], object);
    }
    print(&table, words, at)
}

/// The queues, and what is in them.
pub fn queues(machine: &mut Machine, words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let columns = &[
        Text("device"),
        Text("dispatching"),
        Text("state"),
        Number("waiting"),
        Number("given"),
        Number("completed"),
        Number("cancelled"),
        Text("handler"),
    ];
    let mut table = Table::new(columns, "no device has a queue");
    for QueueRow { device, handler, info } in machine.pnp().queues(at) {
        let QueueInfo { dispatching, waiting, given, accepts, delivers, returned, cancelled } = info;
        let dispatching = match dispatching {
            Dispatching::Parallel(usize::MAX) => "parallel".to_string(),
            Dispatching::Parallel(most) => format!("parallel, {most}"),
            Dispatching::Sequential => "sequential".to_string(),
            Dispatching::Manual => "manual".to_string(),
        };
        let state = match (accepts, delivers) {
            (true, true) => "works",
            (true, false) => "holds",
            (false, true) => "drains",
            (false, false) => "closed",
        };
        let object = json!({
            "device": device,
            "dispatching": dispatching,
            "state": state,
            "waiting": waiting,
            "given": given,
            "completed": returned,
            "cancelled": cancelled,
            "handler": handler,
        });
        table.add([&device, &dispatching, &state, &waiting, &given, &returned, &cancelled, &handler], object);
    }
    print(&table, words, at)
}

/// Each interrupt is counted three times: what the driver made its device raise, the table's own counts by CPU less what was
/// not claimed, and the driver's count of what it claimed. They must agree.
pub fn interrupts(machine: &mut Machine, words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    let columns = &[
        Text("device"),
        Number("message"),
        Number("CPU"),
        Number("vector"),
        Number("IRQL"),
        Number("synchronize"),
        Text("mode"),
        Text("count by CPU"),
        Number("raised"),
        Number("count"),
        Number("driver"),
        Number("unclaimed"),
        Text("handler"),
    ];
    let mut table = Table::new(columns, "no interrupts");
    let mut differing = Vec::new();
    for row in machine.pnp().interrupts(at) {
        let by_cpu = row.counts.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        let count: u64 = row.counts.iter().sum();
        let own = edu::counts(machine.pnp(), &row.device, at);
        // Who shares a line is asked for the others' interrupts too.
        let claimed = count - row.unclaimed;
        if own.is_some_and(|own| own.raised != claimed || own.seen != claimed) {
            differing.push(format!("{} message {}", row.device, row.message));
        }
        let text = |number: Option<u64>| number.map_or("-".into(), |number| number.to_string());
        let (raised, driver) = (own.map(|own| own.raised), own.map(|own| own.seen));
        let (cpu, vector) = (row.grant.map(|grant| grant.cpu), row.grant.map(|grant| grant.vector));
        let irql = row.grant.map(|grant| grant.irql());
        let mode = match (row.mode, row.passive) {
            (Mode::Latched, false) => "latched",
            (Mode::LevelSensitive, false) => "level",
            (Mode::Latched, true) => "latched, passive",
            (Mode::LevelSensitive, true) => "level, passive",
        };
        let object = json!({
            "device": row.device,
            "handler": row.handler,
            "message": row.message,
            "cpu": cpu,
            "vector": vector,
            "irql": irql,
            "synchronize_irql": row.synchronize_irql,
            "mode": mode,
            "counts": row.counts,
            "count": count,
            "raised": raised,
            "driver": driver,
            "unclaimed": row.unclaimed,
        });
        let cells: [&dyn core::fmt::Display; 13] = [
            &row.device,
            &row.message,
            &text(cpu.map(u64::from)),
            &vector.map_or("-".into(), |vector| format!("{vector:#x}")),
            &text(irql.map(u64::from)),
            &row.synchronize_irql,
            &mode,
            &by_cpu,
            &text(raised),
            &count,
            &text(driver),
            &row.unclaimed,
            &row.handler,
        ];
        table.add(cells, object);
    }
    print(&table, words, at)?;
    match differing.is_empty() {
        true => Ok(()),
        false => Err(format!("raised, count and driver differ: {}", differing.join(", "))),
    }
}

/// What is on its way out goes first: it exists no more.
pub fn objects(machine: &mut Machine, words: Arguments<'_>, at: &mut At<'_, Passive>) -> Outcome {
    ke::flush_dropped(at);
    let columns = &[Text("kind"), Text("of"), Number("count"), Number("bytes")];
    let mut table = Table::new(columns, "no objects");
    let mut add = |kind: &str, of: &str, count: Option<usize>, bytes: Option<usize>| {
        let text = |number: Option<usize>| number.map_or("-".into(), |number| number.to_string());
        let object = json!({ "kind": kind, "of": of, "count": count, "bytes": bytes });
        table.add([&kind, &of, &text(count), &text(bytes)], object);
    };
    for row in machine.pnp().objects(at) {
        add(row.kind, row.of, Some(row.count), Some(row.bytes));
    }
    for (name, count) in threads(at) {
        add("Thread", name, Some(count), None);
    }
    let free = memory::free_frame_count();
    add("Memory", "heap, in use", None, Some(heap::in_use()));
    add("Memory", "page frames, free", Some(free), Some(free * PAGE));
    print(&table, words, at)
}

const PAGE: usize = layout::PAGE as usize;

/// How many threads there are of each name, idle ones aside.
fn threads(at: &mut At<'_, Passive>) -> Vec<(&'static str, usize)> {
    let mut counts: Vec<(&'static str, usize)> = Vec::new();
    for thread in ke::thread::list(at) {
        match counts.iter_mut().find(|(name, _)| *name == thread.name()) {
            Some((_, count)) => *count += 1,
            None => counts.push((thread.name(), 1)),
        }
    }
    counts
}
