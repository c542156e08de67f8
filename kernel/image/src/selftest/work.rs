//! Work items and the pool that runs them.

use super::{
    Outcome,
    crew::{await_event, ensure},
};
use alloc::{format, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use ke::{At, Dispatch, Dpc, Event, Passive, SpinLock, WorkItem};

pub fn from_a_dpc(at: &mut At<'_, Passive>) -> Outcome {
    let levels: Arc<SpinLock<Vec<u8>>> = Arc::default();
    let log = levels.clone();
    let item = WorkItem::new(move |at: &mut At<'_, Passive>| {
        let level = at.irql();
        log.acquire(at).push(level);
    });
    let queued = item.clone();
    let dpc = Dpc::new(move |_: [usize; 2], at: &mut At<'_, Dispatch>| {
        queued.enqueue(at);
    });
    dpc.insert(at);
    dpc.flush(at);
    item.flush(at);
    let levels = levels.acquire(at);
    ensure(*levels == [0], || format!("the work item ran at the IRQLs {:?}, not once at 0", *levels))
}

/// More items than there were workers, each waiting for all to have started: without another worker none would end.
pub fn pool_grows(at: &mut At<'_, Passive>) -> Outcome {
    const ITEMS: u32 = 12;
    let started = Arc::new((AtomicU32::new(0), Event::new()));
    let items: Vec<_> = (0..ITEMS)
        .map(|_| {
            let started = started.clone();
            WorkItem::new(move |at: &mut At<'_, Passive>| {
                if started.0.fetch_add(1, SeqCst) + 1 == ITEMS {
                    started.1.set(at);
                }
                // What the waiter below says is the check's outcome.
                let _ = await_event(at, &started.1, "the last item");
            })
        })
        .collect();
    for item in &items {
        item.enqueue(at);
    }
    let all = await_event(at, &started.1, "the start of the last item");
    all.map_err(|why| format!("{why}: {} of {ITEMS} items have started", started.0.load(SeqCst)))?;
    items.iter().for_each(|item| item.flush(at));
    Ok(())
}
