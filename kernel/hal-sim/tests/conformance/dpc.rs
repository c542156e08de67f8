//! Cases 40 to 54: DPCs and work items.

use crate::support::{MACHINES, coarse, disturbed, explorer};
use hal_sim::{FaultKind, run_once};
use ke::{
    At, Dirql, Dispatch, Dpc, DpcRoutine, Importance, InterruptLock, Passive, SpinLock, WorkItem, flush_queued_dpcs,
    irql,
};
use std::{
    mem,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

/// What ran, in order.
#[derive(Default)]
struct Log(SpinLock<Vec<&'static str>>);

impl Log {
    fn take(&self, at: &mut At<'_, Passive>) -> Vec<&'static str> {
        mem::take(&mut *self.0.acquire(at))
    }

    /// A DPC that writes `name`.
    fn dpc(
        self: &Arc<Self>,
        name: &'static str,
        importance: Importance,
    ) -> Dpc<impl Fn([usize; 2], &mut At<'_, Dispatch>) + use<>> {
        let log = self.clone();
        Dpc::with(move |_: [usize; 2], at: &mut At<'_, Dispatch>| log.0.acquire(at).push(name), importance, None)
    }
}

/// The DPC of an interrupt is shown in `sets::c40_five_queues_one_run`.
#[test]
fn c42_a_dpc_waits_at_dispatch_and_runs_once_before_the_lowering_returns() {
    for cpus in MACHINES {
        disturbed("c42 DPC at DISPATCH", cpus, |at| {
            let log = Arc::new(Log::default());
            let dpc = log.dpc("ran", Importance::Medium);
            let (gate, high) = (SpinLock::new(()), InterruptLock::<(), Dirql>::new(()));
            gate.with(at, |(), at| {
                assert!(dpc.insert(at));
                assert_eq!(high.synchronize(at, |(), at| at.irql()), irql::DEVICE_HIGHEST);
                assert!(dpc.is_queued());
                assert!(log.0.with(at, |log, _| log.is_empty()));
            });
            assert!(!dpc.is_queued());
            assert_eq!(log.take(at), ["ran"]);
        });
    }
}

#[test]
fn c43_a_second_insert_changes_nothing() {
    for cpus in MACHINES {
        disturbed("c43 second insert", cpus, |at| {
            let got = Arc::new(SpinLock::new(Vec::new()));
            let seen = got.clone();
            let dpc = Dpc::new(move |arguments: [usize; 2], at: &mut At<'_, Dispatch>| {
                seen.acquire(at).push(arguments);
            });
            let gate = SpinLock::new(());
            gate.with(at, |(), at| {
                assert!(dpc.insert_with(at, [1, 10]));
                assert!(!dpc.insert_with(at, [2, 20]));
            });
            assert_eq!(*got.acquire(at), [[1, 10]]);
        });
    }
}

/// Tries to remove itself, then queues itself once more.
struct Own {
    removed: AtomicU32,
    runs: AtomicU32,
    dpc: Arc<OnceLock<Dpc<Own>>>,
}

impl DpcRoutine for Own {
    fn run(&self, _: [usize; 2], at: &mut At<'_, Dispatch>) {
        let own = self.dpc.get().expect("set before the first insert");
        self.removed.fetch_add(own.remove(at).into(), SeqCst);
        if self.runs.fetch_add(1, SeqCst) == 0 {
            assert!(own.insert(at), "it is no longer queued when it runs");
        }
    }
}

#[test]
fn c44_remove_tells_idle_queued_and_running_apart() {
    for cpus in MACHINES {
        disturbed("c44 remove", cpus, |at| {
            let cell = Arc::new(OnceLock::new());
            let own = Own { removed: AtomicU32::new(0), runs: AtomicU32::new(0), dpc: cell.clone() };
            let dpc = Dpc::new(own);
            assert!(cell.set(dpc.clone()).is_ok());
            assert!(!dpc.remove(at));
            let gate = SpinLock::new(());
            gate.with(at, |(), at| {
                assert!(dpc.insert(at));
                assert!(dpc.remove(at));
            });
            flush_queued_dpcs(at);
            assert_eq!(dpc.routine().runs.load(SeqCst), 0);
            assert!(dpc.insert(at));
            flush_queued_dpcs(at);
            assert_eq!((dpc.routine().runs.load(SeqCst), dpc.routine().removed.load(SeqCst)), (2, 0));
        });
    }
}

#[test]
fn c46_importance_decides_the_order() {
    disturbed("c46 importance", 1, |at| {
        let log = Arc::new(Log::default());
        let (a, b) = (log.dpc("A", Importance::Medium), log.dpc("B", Importance::Medium));
        let c = log.dpc("C", Importance::High);
        let gate = SpinLock::new(());
        gate.with(at, |(), at| assert!(a.insert(at) && b.insert(at) && c.insert(at)));
        assert_eq!(log.take(at), ["C", "A", "B"]);
    });
}

/// On the default schedule, where no clock starts it.
#[test]
fn c46_low_importance_alone_starts_nothing() {
    run_once(1, |machine| {
        machine.main(|at| {
            let log = Arc::new(Log::default());
            let (low, medium) = (log.dpc("low", Importance::Low), log.dpc("medium", Importance::Medium));
            assert!(low.insert(at));
            assert!(low.is_queued());
            assert!(medium.insert(at));
            assert_eq!(log.take(at), ["low", "medium"]);
        });
    });
}

#[test]
fn c47_a_dpc_runs_on_its_target() {
    for importance in [Importance::Medium, Importance::MediumHigh, Importance::High] {
        disturbed("c47 target CPU", 2, move |at| {
            let ran_on = Arc::new(SpinLock::new(Vec::new()));
            let seen = ran_on.clone();
            let routine = move |_: [usize; 2], at: &mut At<'_, Dispatch>| {
                let cpu = at.cpu();
                seen.acquire(at).push(cpu);
            };
            let target = 1 - at.cpu();
            let dpc = Dpc::with(routine, importance, Some(target));
            assert!(dpc.insert(at));
            flush_queued_dpcs(at);
            assert_eq!(*ran_on.acquire(at), [target]);
        });
    }
}

#[test]
fn c47_a_target_that_does_not_exist_is_refused() {
    coarse("c47 no such CPU", 1, |machine| {
        machine.main(|at| {
            let dpc = Dpc::with(|_: [usize; 2], _: &mut At<'_, Dispatch>| {}, Importance::High, Some(1));
            assert!(!dpc.insert(at) && !dpc.is_queued());
        });
    });
}

#[test]
fn c51_a_work_item_queued_at_dispatch_runs_once_at_passive() {
    for cpus in MACHINES {
        disturbed("c51 work item from DISPATCH", cpus, move |at| {
            let levels = Arc::new(SpinLock::new(Vec::new()));
            let seen = levels.clone();
            let item = WorkItem::new(move |at: &mut At<'_, Passive>| {
                let level = at.irql();
                seen.acquire(at).push(level);
            });
            let gate = SpinLock::new(());
            gate.with(at, |(), at| {
                assert!(item.enqueue(at));
                // On one CPU it cannot have started yet.
                assert!(cpus > 1 || !item.enqueue(at));
            });
            item.flush(at);
            assert_eq!(*levels.acquire(at), [irql::PASSIVE]);
        });
    }
}

#[test]
fn c54_a_dpc_that_returns_at_another_irql_is_detected() {
    let failure = explorer("c54 IRQL changed", 1).expect_failure(|machine| {
        machine.main(|at| {
            let lock = InterruptLock::<(), Dirql>::new(());
            let forgetful = Dpc::new(move |_: [usize; 2], at: &mut At<'_, Dispatch>| mem::forget(lock.acquire(at)));
            assert!(forgetful.insert(at));
            flush_queued_dpcs(at);
        });
    });
    assert_eq!(failure.kind(), FaultKind::IrqlImbalance, "{failure}");
    assert!(failure.message().contains("the DPC began at level 2 with CR8 0"), "{failure}");
}
