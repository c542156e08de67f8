//! Guards that are forgotten, and locks that are taken twice.

use super::*;
use std::mem;

const FORGOTTEN: &str = "its guard was forgotten";

fn here(mark: &str) -> String {
    place("guards.rs", include_str!("guards.rs"), mark)
}

#[test]
fn a_spin_guard_forgotten_in_a_dpc() {
    let failure = found("spin guard in a DPC", |dev, at| dev.err(Fault::ForgetsSpinGuardInDpc, 0, at));
    let said = [FORGOTTEN, "ToDpc", "the spin lock taken at", &line_of("forgets in evt_dpc")];
    assert_says(&failure, "VERIFIER_VIOLATION", &said);
}

#[test]
fn an_interrupt_guard_forgotten_in_a_dpc() {
    let failure = found("interrupt guard in a DPC", |dev, at| dev.err(Fault::ForgetsInterruptGuardInDpc, 0, at));
    let said = [FORGOTTEN, "ToDpc", "the interrupt lock taken at", &line_of("forgets the interrupt's")];
    assert_says(&failure, "VERIFIER_VIOLATION", &said);
}

#[test]
fn a_guard_forgotten_in_a_work_item() {
    let failure = found("spin guard in a work item", |dev, at| dev.err(Fault::ForgetsSpinGuardInWorkItem, 1, at));
    assert_says(&failure, "VERIFIER_VIOLATION", &[FORGOTTEN, "ToWork", &line_of("forgets in evt_work_item")]);
    let failure = found("wait guard in a work item", |dev, at| dev.err(Fault::ForgetsWaitGuardInWorkItem, 1, at));
    let said = [FORGOTTEN, "ToWork", "the wait lock taken at", &line_of("forgets the wait lock's")];
    assert_says(&failure, "VERIFIER_VIOLATION", &said);
}

#[test]
fn a_guard_forgotten_in_a_work_item_that_lowers_the_level_later() {
    let failure = found("guard forgotten, then lowered", |dev, at| dev.err(Fault::ForgetsAndLowersInWorkItem, 1, at));
    assert_says(&failure, "VERIFIER_VIOLATION", &[FORGOTTEN, "ToWork", &line_of("forgets and goes on")]);
}

#[test]
fn a_guard_forgotten_in_an_isr_at_passive() {
    let failure = found("guard in a passive ISR", |dev, at| dev.err(Fault::ForgetsGuardInPassiveIsr, 2, at));
    let said = [FORGOTTEN, "the ISR", "AtPassive", &line_of("forgets in a passive evt_isr")];
    assert_says(&failure, "VERIFIER_VIOLATION", &said);
}

#[test]
fn a_guard_forgotten_while_the_device_starts() {
    let failure = explorer("guard in prepare_hardware", 1).expect_failure(|machine| {
        machine.device(Bells::failing_at(PREPARE));
        machine.main(|at| start::<Careless>(at).shut_down(at));
    });
    let said = [FORGOTTEN, "prepare_hardware of careless", &line_of("forgets in prepare_hardware")];
    assert_says(&failure, "VERIFIER_VIOLATION", &said);
}

#[test]
fn a_wait_under_a_forgotten_guard() {
    let failure = found("wait under a guard", |dev, at| {
        mem::forget(dev.spin.acquire(at)); // forgets before a wait
        let _never = dev.served.wait(at);
    });
    assert_says(&failure, "IRQL_NOT_PASSIVE", &["held here: the spin lock taken at", &here("forgets before a wait")]);
}

#[test]
fn a_thread_that_ends_with_a_wait_lock() {
    let failure = explorer("thread ends", 1).expect_failure(|machine| {
        machine.main(|at| {
            let body = |at: &mut At<'_, Passive>| {
                let lock = WaitLock::new(0);
                mem::forget(lock.acquire(at)); // forgets in a thread
            };
            let options = ke::thread::ThreadOptions::named("careless");
            let thread = ke::thread::spawn(at, options, body).expect("there is memory");
            thread.join(at).expect("no device is used");
        });
    });
    let said = [FORGOTTEN, "the thread \"careless\"", &here("forgets in a thread")];
    assert_says(&failure, "VERIFIER_VIOLATION", &said);
}

#[test]
fn the_same_spin_lock_twice() {
    let failure = found("spin lock twice", |dev, at| {
        let mut guard = dev.spin.acquire(at); // takes it
        let (_, at) = guard.parts();
        drop(dev.spin.acquire(at)); // takes it again
    });
    assert_says(&failure, "VERIFIER_VIOLATION", &["is taken again", &here("takes it"), &here("takes it again")]);
}

#[test]
fn the_same_wait_lock_twice() {
    let failure = found("wait lock twice", |dev, at| {
        let _guard = dev.wait.acquire(at); // owns it
        drop(dev.wait.acquire(at)); // wants it again
    });
    assert_says(&failure, "RECURSIVE_LOCK", &["already holds", &here("owns it"), &here("wants it again")]);
}

#[test]
fn a_passive_isr_that_takes_its_own_lock() {
    let failure = found("own lock", |dev, at| dev.err(Fault::TakesOwnLockInPassiveIsr, 2, at));
    let said = ["the interrupt lock taken by the core for the ISR", "AtPassive", &line_of("takes its own lock")];
    assert_says(&failure, "RECURSIVE_LOCK", &said);
}
