//! The barrier of DPCs; what one DPC does is among the conformance cases.

use super::{Outcome, crew::ensure};
use alloc::{format, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use ke::{At, Dispatch, Dpc, Importance, Passive, flush_queued_dpcs};

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
