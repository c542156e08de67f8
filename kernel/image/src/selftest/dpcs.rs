//! DPCs: targets, the barrier, what inserting and removing answer, importance.

use super::{Outcome, crew::ensure};
use alloc::{format, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use ke::{At, Dispatch, Dpc, Importance, Passive, SpinLock, flush_queued_dpcs};

pub fn remote(at: &mut At<'_, Passive>) -> Outcome {
    for cpu in 0..at.cpu_count() {
        let ran_on = Arc::new(AtomicU32::new(u32::MAX));
        let seen = ran_on.clone();
        let routine = move |_: [usize; 2], at: &mut At<'_, Dispatch>| seen.store(at.cpu(), Relaxed);
        let dpc = Dpc::with(routine, Importance::Medium, Some(cpu));
        ensure(dpc.insert(at), || format!("the DPC for CPU {cpu} could not be queued"))?;
        dpc.flush(at);
        let on = ran_on.load(Relaxed);
        ensure(on == cpu, || format!("the DPC for CPU {cpu} ran on CPU {}", on as i32))?;
    }
    Ok(())
}

/// Many DPCs on every CPU, of every importance: after the barrier all have run.
pub fn barrier(at: &mut At<'_, Passive>) -> Outcome {
    const EACH: u32 = 32;
    let runs = Arc::new(AtomicU32::new(0));
    for round in 1..=20 {
        let mut dpcs = Vec::new();
        for cpu in 0..at.cpu_count() {
            for n in 0..EACH {
                let runs = runs.clone();
                let importance = [Importance::Low, Importance::Medium, Importance::High][n as usize % 3];
                let routine = move |_: [usize; 2], _: &mut At<'_, Dispatch>| {
                    runs.fetch_add(1, Relaxed);
                };
                dpcs.push(Dpc::with(routine, importance, Some(cpu)));
            }
        }
        dpcs.iter().for_each(|dpc| {
            dpc.insert(at);
        });
        flush_queued_dpcs(at);
        let (ran, all) = (runs.load(Relaxed), round * EACH * at.cpu_count());
        ensure(ran == all, || format!("{ran} of {all} DPCs had run when the barrier was passed"))?;
    }
    Ok(())
}

pub fn insert_and_remove(at: &mut At<'_, Passive>) -> Outcome {
    let runs: Arc<SpinLock<Vec<[usize; 2]>>> = Arc::default();
    let log = runs.clone();
    let dpc = Dpc::new(move |arguments: [usize; 2], at: &mut At<'_, Dispatch>| log.acquire(at).push(arguments));
    // At DISPATCH nothing of this CPU's queue starts.
    let answers = SpinLock::new(()).with(at, |(), at| {
        [
            dpc.insert_with(at, [1, 1]),
            dpc.insert_with(at, [2, 2]),
            dpc.remove(at),
            dpc.remove(at),
            dpc.insert_with(at, [3, 4]),
            dpc.is_queued(),
        ]
    });
    let expected = [true, false, true, false, true, true];
    ensure(answers == expected, || format!("insert, insert, remove, remove, insert, queued? answered {answers:?}"))?;
    dpc.flush(at);
    let runs = runs.acquire(at);
    ensure(*runs == [[3, 4]], || format!("it ran with the arguments {:?}, not once with [3, 4]", *runs))?;
    ensure(!dpc.is_queued(), || "it is still queued after it has run".into())
}

pub fn importance(at: &mut At<'_, Passive>) -> Outcome {
    let order: Arc<SpinLock<Vec<char>>> = Arc::default();
    let named = |name: char, importance| {
        let order = order.clone();
        Dpc::with(move |_: [usize; 2], at: &mut At<'_, Dispatch>| order.acquire(at).push(name), importance, None)
    };
    let (first, second) = (named('a', Importance::Medium), named('b', Importance::Medium));
    let urgent = named('u', Importance::High);
    SpinLock::new(()).with(at, |(), at| {
        first.insert(at);
        second.insert(at);
        urgent.insert(at);
    });
    flush_queued_dpcs(at);
    let order = order.acquire(at);
    ensure(*order == ['u', 'a', 'b'], || format!("they ran in the order {:?}", *order))
}
