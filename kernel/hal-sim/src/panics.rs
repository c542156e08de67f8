//! A panic on a machine is that machine's bug check.

use crate::{
    fault::FaultKind,
    machine::{Machine, with_current},
};
use std::{any::Any, panic, sync::Once};

/// Installs, once per process, a panic hook that turns a panic on a machine into that machine's bug check before the
/// unwind begins: the guards that drop on the way must find the machine dead.
pub(crate) fn catch_panics_of_machines() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let report = |machine: &Machine| {
                machine.inside.set(true);
                let place = info.location().map(|at| (at.file().to_owned(), at.line()));
                let at = place.as_ref().map_or(String::new(), |(file, line)| format!(" at {file}:{line}"));
                let text = payload_text(info.payload());
                let who = machine.who(machine.cpu().fiber.get());
                let (cpu, irql) = (machine.running.get(), machine.irql());
                machine.fail_at(
                    FaultKind::BugCheck,
                    format!("panic in {who} on CPU {cpu} at IRQL {irql}: {text}{at}"),
                    place,
                );
            };
            if with_current(report).is_none() {
                next(info);
            }
        }));
    });
}

/// The text of a panic.
pub(crate) fn payload_text(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "a payload without text",
    }
}
