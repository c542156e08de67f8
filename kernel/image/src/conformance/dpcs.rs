//! Cases 40 to 51: DPCs, and work items that are queued at DISPATCH.

use super::{
    Case, Outcome, case,
    soft::{Deferred, soft},
};
use crate::{selftest::crew::ensure, sweep::software::lock_of_class};
use alloc::{format, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use hal_x86_64::X86Hal;
use ke::{
    At, Dirql, Dispatch, Dpc, DpcRoutine, Importance, InterruptLock, Passive, SpinLock, WorkItem, flush_queued_dpcs,
    hal::Hal, irql,
};

pub const CASES: &[Case] = &[
    case!(c40_five_queues_one_run),
    case!(c42_a_dpc_waits_at_dispatch_and_runs_once_before_the_lowering_returns),
    case!(c43_a_second_insert_changes_nothing),
    case!(c44_remove_tells_idle_queued_and_running_apart),
    case!(c46_importance_decides_the_order),
    case!(c46_low_importance_alone_starts_nothing),
    case!(c47_a_dpc_runs_on_its_target, cpus: 2),
    case!(c47_a_target_that_does_not_exist_is_refused),
    case!(c51_a_work_item_queued_at_dispatch_runs_once_at_passive),
];

/// The clock may queue a DPC at any time: what must queue none is tried so often, and once without is enough.
const TRIES: u32 = 20;

fn is_dpc_pending() -> bool {
    X86Hal.pending() & ke::percpu::pending::DPC != 0
}

fn c40_five_queues_one_run(at: &mut At<'_, Passive>) -> Outcome {
    #[derive(Default)]
    struct Seen {
        queued: [bool; 5],
        pending: u32,
    }
    let lock: InterruptLock<Seen> = lock_of_class(5)?;
    let isr = |seen: &mut Seen, this: &dyn Deferred<Dirql>, at: &mut At<'_, Dirql>| {
        for queued in &mut seen.queued {
            seen.pending += 1;
            *queued = this.queue_dpc(at);
        }
    };
    let runs: Arc<SpinLock<Vec<u32>>> = Arc::default();
    let log = runs.clone();
    let dpc = move |lock: &InterruptLock<Seen>, at: &mut At<'_, Dispatch>| {
        let covered = lock.synchronize(at, |seen, _| core::mem::take(&mut seen.pending));
        log.acquire(at).push(covered);
    };
    let five = soft(at, at.cpu(), 5, &lock, isr, dpc)?;
    five.raise();
    five.await_served(at, 1)?;
    flush_queued_dpcs(at);
    five.disconnect(at)?;
    let queued = lock.synchronize(at, |seen, _| seen.queued);
    ensure(queued == [true, false, false, false, false], || format!("queueing five times answered {queued:?}"))?;
    let runs = runs.acquire(at);
    ensure(*runs == [5], || format!("the DPC's runs covered {:?}, not five in one", *runs))
}

/// A DPC that counts its runs.
fn counting() -> (Arc<AtomicU32>, Dpc<impl DpcRoutine>) {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let dpc = Dpc::new(move |_: [usize; 2], _: &mut At<'_, Dispatch>| {
        counted.fetch_add(1, Relaxed);
    });
    (runs, dpc)
}

fn c42_a_dpc_waits_at_dispatch_and_runs_once_before_the_lowering_returns(at: &mut At<'_, Passive>) -> Outcome {
    let (runs, dpc) = counting();
    let highest: InterruptLock<()> = lock_of_class(irql::DEVICE_HIGHEST)?;
    let seen = SpinLock::new(()).with(at, |(), at| {
        dpc.insert(at);
        let queued = runs.load(Relaxed);
        let raised = highest.synchronize(at, |(), _| runs.load(Relaxed));
        [queued, raised, runs.load(Relaxed)]
    });
    // Nothing but the lowering has happened since.
    let after = runs.load(Relaxed);
    ensure(seen == [0; 3], || format!("at DISPATCH, raised, and at DISPATCH again it had run {seen:?} times"))?;
    ensure(after == 1, || format!("after the lowering it had run {after} times, not once"))
}

fn c43_a_second_insert_changes_nothing(at: &mut At<'_, Passive>) -> Outcome {
    let runs: Arc<SpinLock<Vec<[usize; 2]>>> = Arc::default();
    let log = runs.clone();
    let dpc = Dpc::new(move |arguments: [usize; 2], at: &mut At<'_, Dispatch>| log.acquire(at).push(arguments));
    let answers = SpinLock::new(()).with(at, |(), at| [dpc.insert_with(at, [1, 2]), dpc.insert_with(at, [3, 4])]);
    let runs = runs.acquire(at);
    ensure(answers == [true, false], || format!("inserting twice answered {answers:?}"))?;
    ensure(*runs == [[1, 2]], || format!("it ran with {:?}, not once with the first arguments", *runs))
}

fn c44_remove_tells_idle_queued_and_running_apart(at: &mut At<'_, Passive>) -> Outcome {
    let (runs, dpc) = counting();
    let answers = SpinLock::new(()).with(at, |(), at| {
        let idle = dpc.remove(at);
        dpc.insert(at);
        [idle, dpc.remove(at), dpc.remove(at)]
    });
    flush_queued_dpcs(at);
    let ran = runs.load(Relaxed);
    ensure(answers == [false, true, false], || format!("idle, queued, removed: remove answered {answers:?}"))?;
    ensure(ran == 0, || format!("it was removed and ran {ran} times"))?;

    let own = Dpc::new(RemovesItself { own: SpinLock::new(None), answer: SpinLock::new(None) });
    *own.routine().own.acquire(at) = Some(own.clone());
    own.insert(at);
    own.flush(at);
    // The handle to itself would keep it alive.
    drop(own.routine().own.acquire(at).take());
    let answer = *own.routine().answer.acquire(at);
    ensure(answer == Some(false), || format!("from inside its own routine, remove answered {answer:?}"))
}

struct RemovesItself {
    own: SpinLock<Option<Dpc<RemovesItself>>>,
    answer: SpinLock<Option<bool>>,
}

impl DpcRoutine for RemovesItself {
    fn run(&self, _: [usize; 2], at: &mut At<'_, Dispatch>) {
        let answer = self.own.with(at, |own, at| own.as_ref().map(|own| own.remove(at)));
        *self.answer.acquire(at) = answer;
    }
}

fn c46_importance_decides_the_order(at: &mut At<'_, Passive>) -> Outcome {
    let order: Arc<SpinLock<Vec<char>>> = Arc::default();
    let named = |name: char, importance| {
        let order = order.clone();
        Dpc::with(move |_: [usize; 2], at: &mut At<'_, Dispatch>| order.acquire(at).push(name), importance, None)
    };
    let (a, b) = (named('A', Importance::Medium), named('B', Importance::Medium));
    let c = named('C', Importance::High);
    SpinLock::new(()).with(at, |(), at| {
        a.insert(at);
        b.insert(at);
        c.insert(at);
    });
    let order = order.acquire(at);
    ensure(*order == ['C', 'A', 'B'], || format!("they ran in the order {:?}", *order))
}

/// It starts when its CPU drains the queue for another reason: here for the DPC of medium importance.
fn c46_low_importance_alone_starts_nothing(at: &mut At<'_, Passive>) -> Outcome {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let count = move |_: [usize; 2], _: &mut At<'_, Dispatch>| {
        counted.fetch_add(1, Relaxed);
    };
    let low = Dpc::with(count, Importance::Low, None);
    let mut starts_nothing = false;
    for n in 1..=TRIES {
        let is_pending = SpinLock::new(()).with(at, |(), at| {
            low.insert(at);
            is_dpc_pending()
        });
        starts_nothing |= !is_pending;
        let (_, other) = counting();
        other.insert(at);
        flush_queued_dpcs(at);
        let ran = runs.load(Relaxed);
        ensure(ran == n, || format!("after {n} inserts, each drained, it had run {ran} times"))?;
    }
    ensure(starts_nothing, || "inserting it always made the CPU drain its queue".into())
}

fn c47_a_dpc_runs_on_its_target(at: &mut At<'_, Passive>) -> Outcome {
    for importance in [Importance::Low, Importance::Medium, Importance::MediumHigh, Importance::High] {
        for target in 0..at.cpu_count() {
            let ran_on = Arc::new(AtomicU32::new(u32::MAX));
            let seen = ran_on.clone();
            let routine = move |_: [usize; 2], at: &mut At<'_, Dispatch>| seen.store(at.cpu(), Relaxed);
            let dpc = Dpc::with(routine, importance, Some(target));
            ensure(dpc.insert(at), || format!("the DPC for CPU {target} could not be queued"))?;
            dpc.flush(at);
            let on = ran_on.load(Relaxed);
            ensure(on == target, || format!("the {importance:?} DPC for CPU {target} ran on CPU {}", on as i32))?;
        }
    }
    Ok(())
}

fn c47_a_target_that_does_not_exist_is_refused(at: &mut At<'_, Passive>) -> Outcome {
    let nowhere = Dpc::with(|_: [usize; 2], _: &mut At<'_, Dispatch>| (), Importance::Medium, Some(at.cpu_count()));
    ensure(!nowhere.insert(at) && !nowhere.is_queued(), || "a DPC was queued on a CPU that does not exist".into())
}

fn c51_a_work_item_queued_at_dispatch_runs_once_at_passive(at: &mut At<'_, Passive>) -> Outcome {
    let levels: Arc<SpinLock<Vec<u8>>> = Arc::default();
    let log = levels.clone();
    let item = WorkItem::new(move |at: &mut At<'_, Passive>| {
        let level = at.irql();
        log.acquire(at).push(level);
    });
    let mut goes_without_a_dpc = false;
    for _ in 0..TRIES {
        let (queued, is_pending) = SpinLock::new(()).with(at, |(), at| {
            let queued = [item.enqueue(at), item.enqueue(at)];
            (queued, is_dpc_pending())
        });
        goes_without_a_dpc |= !is_pending;
        item.flush(at);
        let levels = core::mem::take(&mut *levels.acquire(at));
        ensure(queued == [true, false], || format!("queueing twice answered {queued:?}"))?;
        ensure(levels == [irql::PASSIVE], || format!("it ran at the IRQLs {levels:?}, not once at PASSIVE"))?;
    }
    ensure(goes_without_a_dpc, || "a DPC was always queued to carry it".into())
}
