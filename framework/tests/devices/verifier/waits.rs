//! Callbacks that wait for themselves.

use super::*;

/// What the driver was told that asked for it.
fn told(name: &str, fault: Fault, bell: u32) {
    explorer(name, 2).run(on_device(move |dev, at| {
        dev.err(fault, bell, at);
        assert_eq!(dev.outcome.acquire(at).take(), Some(Err(Status::OwnCallback)));
    }));
}

#[test]
fn a_passive_isr_that_disables_its_own_interrupt_is_refused() {
    told("disabled in its ISR", Fault::DisablesItselfInPassiveIsr, 2);
}

#[test]
fn a_work_item_that_disables_its_own_interrupt_is_refused() {
    told("disabled in its work item", Fault::DisablesItselfInWorkItem, 1);
}

fn flushes_itself(dev: &Careless, at: &mut At<'_, Passive>) {
    *dev.fault.acquire(at) = Fault::FlushesItself;
    dev.served.clear(at);
    assert!(dev.item.enqueue(at));
    dev.served.wait(at).expect("the device stays");
}

#[test]
fn a_work_item_that_flushes_itself_is_reported() {
    let failure = found("flushes itself", flushes_itself);
    assert_says(&failure, "VERIFIER_VIOLATION", &["Item", "by its own run", &line_of("flushes itself")]);
}

#[test]
fn without_the_verifier_it_goes_on_at_once() {
    explorer("flushes itself, unseen", 2).without_verifier().run(on_device(flushes_itself));
}

#[test]
fn a_lock_held_over_a_flush_of_who_takes_it() {
    let failure = found("flush under a lock", |dev, at| {
        dev.err(Fault::TakesLockInWorkItem, 1, at);
        let _guard = dev.wait.acquire(at); // holds it
        // Disconnecting waits for the work item.
        dev.by_work.disable(at).expect("it is enabled");
    });
    let said = [
        "the flush at framework/src/interrupt/object.rs",
        "the run by the core for the work item",
        "ToWork",
        &line_of("takes it in the work item"),
        &place("waits.rs", include_str!("waits.rs"), "holds it"),
    ];
    assert_says(&failure, "VERIFIER_VIOLATION", &said);
}
