//! The core on the simulated machine, at every `Hal` call: what depends on when things happen.

use hal_sim::{Explorer, Granularity, Setup, Stats};
use ke::{
    At, CpuSet, Dispatch, Dpc, Event, Importance, Passive, SpinLock, Timer, WaitLock, WorkItem, flush_queued_dpcs,
    thread::{self, JoinHandle, ThreadOptions},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

fn explore(name: &str, cpus: usize, setup: impl Fn(&mut Setup) + 'static) -> Stats {
    let bound = if cpus == 1 { 3 } else { 2 };
    let explorer = Explorer::new(name).cpus(cpus).bound(bound).granularity(Granularity::Fine);
    explorer.limit(Duration::from_secs(1)).run(setup)
}

fn spawn(
    at: &mut At<'_, Passive>,
    options: ThreadOptions,
    main: impl for<'c> FnOnce(&mut At<'c, Passive>) + Send + 'static,
) -> JoinHandle {
    thread::spawn(at, options, main).expect("no allocation fails here")
}

/// What happened, in order.
#[derive(Default)]
struct Log(SpinLock<Vec<&'static str>>);

impl Log {
    fn add<L: ke::AtMost<Dispatch>>(&self, at: &mut At<'_, L>, what: &'static str) {
        self.0.acquire(at).push(what);
    }

    fn take(&self, at: &mut At<'_, Passive>) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.acquire(at))
    }
}

#[test]
fn a_set_event_wakes_its_waiter_whenever_it_is_set() {
    for cpus in [1, 2] {
        explore("event set against wait", cpus, |machine| {
            machine.main(|at| {
                let event = Arc::new(Event::new());
                let set = event.clone();
                let helper = spawn(at, ThreadOptions::named("setter"), move |at| set.set(at));
                event.wait(at).expect("no device is used");
                helper.join(at).expect("no device is used");
            });
        });
    }
}

#[test]
fn a_wait_lock_is_handed_over_and_excludes() {
    for cpus in [1, 2] {
        explore("wait lock handed over", cpus, |machine| {
            machine.main(|at| {
                let lock = Arc::new(WaitLock::new(0));
                let taken = lock.clone();
                let add = |lock: &WaitLock<u32>, at: &mut At<'_, Passive>| {
                    let mut sum = lock.acquire(at);
                    let before = *sum;
                    // Time for somebody else to come in, if the lock let them.
                    Event::new().set(at);
                    *sum = before + 1;
                };
                let helper = spawn(at, ThreadOptions::named("adder"), move |at| add(&taken, at));
                add(&lock, at);
                helper.join(at).expect("no device is used");
                assert_eq!(*lock.acquire(at), 2);
            });
        });
    }
}

#[test]
fn who_tries_a_wait_lock_in_vain_changes_nothing() {
    for cpus in [1, 2] {
        explore("wait lock tried", cpus, |machine| {
            machine.main(|at| {
                let lock = Arc::new(WaitLock::new(0));
                let theirs = lock.clone();
                let guard = lock.acquire(at);
                let other = spawn(at, ThreadOptions::named("other"), move |at| {
                    assert!(theirs.try_acquire(at).is_none());
                    assert!(theirs.try_acquire(at).is_none(), "the first attempt gave the lock back");
                });
                other.join(at).expect("no device is used");
                drop(guard);
                assert_eq!(lock.try_acquire(at).map(|guard| *guard), Some(0));
            });
        });
    }
}

/// A guard may end at any level: the hand-over waits until the level falls.
#[test]
fn a_wait_lock_released_at_dirql_is_handed_over_after_it() {
    for cpus in [1, 2] {
        explore("wait lock released at DIRQL", cpus, |machine| {
            machine.main(|at| {
                let lock = Arc::new(WaitLock::new(0));
                let theirs = lock.clone();
                let mut guard = lock.acquire(at);
                let better = spawn(at, ThreadOptions::named("better").priority(20), move |at| {
                    let mut sum = theirs.acquire(at);
                    assert_eq!((*sum, at.irql()), (1, 0));
                    *sum += 1;
                });
                *guard += 1;
                let interrupt = ke::InterruptLock::<(), ke::Dirql>::new(());
                interrupt.synchronize(at, |(), _| drop(guard));
                better.join(at).expect("no device is used");
                assert_eq!(*lock.acquire(at), 2);
            });
        });
    }
}

#[test]
fn a_preempted_thread_migrates() {
    let migrated = Arc::new(AtomicUsize::new(0));
    let count = migrated.clone();
    explore("migration", 2, move |machine| {
        let migrated = count.clone();
        machine.main(move |at| {
            // Keeps CPU 1 busy until the main thread has lost CPU 0 to a better thread, which then waits for it.
            let (release, done) = (Arc::new(Event::new()), Arc::new(Event::new()));
            let (released, set) = (release.clone(), release.clone());
            let awaited = done.clone();
            let only = |cpu| CpuSet::of([cpu]);
            let holder = spawn(at, ThreadOptions::named("holder").on(only(1)), move |at| {
                released.wait(at).expect("no device is used");
            });
            let from = at.cpu();
            let better = spawn(at, ThreadOptions::named("better").priority(20).on(only(0)), move |at| {
                assert_eq!(at.cpu(), 0);
                set.set(at);
                awaited.wait(at).expect("no device is used");
                assert_eq!(at.cpu(), 0);
            });
            release.set(at);
            holder.join(at).expect("no device is used");
            migrated.fetch_add(usize::from(at.cpu() != from), Relaxed);
            done.set(at);
            better.join(at).expect("no device is used");
        });
    });
    assert!(migrated.load(Relaxed) > 0, "no schedule moved the main thread to another CPU");
}

#[test]
fn a_preempted_thread_goes_on_at_an_idle_cpu() {
    explore("preempted beside an idle CPU", 2, |machine| {
        machine.main(|at| {
            let stop = Arc::new(AtomicUsize::new(0));
            let seen = stop.clone();
            let here = ThreadOptions::named("better").priority(20).on(CpuSet::of([at.cpu()]));
            let better = spawn(at, here, move |at| {
                // Never gives its CPU up.
                while seen.load(Relaxed) == 0 {
                    Event::new().set(at);
                }
            });
            stop.store(1, Relaxed);
            better.join(at).expect("no device is used");
        });
    });
}

#[test]
fn a_better_thread_runs_at_once() {
    explore("preemption", 1, |machine| {
        machine.main(|at| {
            let (log, bell) = (Arc::new(Log::default()), Arc::new(Event::new()));
            let (logged, heard) = (log.clone(), bell.clone());
            let better = spawn(at, ThreadOptions::named("better").priority(20), move |at| {
                logged.add(at, "starts");
                heard.wait(at).expect("no device is used");
                logged.add(at, "hears");
            });
            log.add(at, "rings");
            bell.set(at);
            log.add(at, "has rung");
            assert_eq!(log.take(at), ["starts", "rings", "hears", "has rung"]);
            better.join(at).expect("no device is used");
        });
    });
}

#[test]
fn a_remote_dpc_runs_once_on_its_target() {
    explore("remote DPC", 2, |machine| {
        machine.main(|at| {
            let runs = Arc::new(SpinLock::new(Vec::new()));
            let seen = runs.clone();
            let routine = move |_: [usize; 2], at: &mut At<'_, Dispatch>| {
                let cpu = at.cpu();
                seen.acquire(at).push(cpu);
            };
            let target = 1 - at.cpu();
            let dpc = Dpc::with(routine, Importance::MediumHigh, Some(target));
            assert!(dpc.insert(at));
            dpc.flush(at);
            assert_eq!(*runs.acquire(at), [target]);
            assert!(!dpc.is_queued());
        });
    });
}

#[test]
fn flush_waits_for_dpcs_of_every_cpu() {
    explore("barrier", 2, |machine| {
        machine.main(|at| {
            let runs = Arc::new(AtomicUsize::new(0));
            let dpcs: Vec<_> = [0, 1, 0]
                .into_iter()
                .map(|cpu| {
                    let runs = runs.clone();
                    let routine = move |_: [usize; 2], _: &mut At<'_, Dispatch>| {
                        runs.fetch_add(1, Relaxed);
                    };
                    Dpc::with(routine, Importance::Low, Some(cpu))
                })
                .collect();
            for dpc in &dpcs {
                assert!(dpc.insert(at));
            }
            flush_queued_dpcs(at);
            assert_eq!(runs.load(Relaxed), 3);
        });
    });
}

/// Conformance 40 and 43.
#[test]
fn a_queued_dpc_is_not_queued_again_and_keeps_its_first_arguments() {
    explore("DPC queued five times", 1, |machine| {
        machine.main(|at| {
            let runs = Arc::new(SpinLock::new(Vec::new()));
            let seen = runs.clone();
            let dpc = Dpc::new(move |arguments: [usize; 2], at: &mut At<'_, Dispatch>| {
                seen.acquire(at).push(arguments);
            });
            let gate = SpinLock::new(());
            let results = gate.with(at, |(), at| [1, 2, 3, 4, 5].map(|n| dpc.insert_with(at, [n, 10 * n])));
            assert_eq!(results, [true, false, false, false, false]);
            assert_eq!(*runs.acquire(at), [[1, 10]]);
        });
    });
}

/// Conformance 42.
#[test]
fn a_dpc_waits_at_dispatch_and_runs_before_the_lowering_returns() {
    explore("DPC at DISPATCH", 1, |machine| {
        machine.main(|at| {
            let runs = Arc::new(AtomicUsize::new(0));
            let counted = runs.clone();
            let dpc = Dpc::new(move |_: [usize; 2], _: &mut At<'_, Dispatch>| {
                counted.fetch_add(1, Relaxed);
            });
            let (gate, high) = (SpinLock::new(()), ke::InterruptLock::<(), ke::Dirql>::new(()));
            gate.with(at, |(), at| {
                assert!(dpc.insert(at));
                high.synchronize(at, |(), _| ());
                assert_eq!(runs.load(Relaxed), 0);
            });
            assert_eq!(runs.load(Relaxed), 1);
        });
    });
}

/// Conformance 44.
#[test]
fn remove_tells_idle_queued_and_running_apart() {
    explore("DPC removed", 1, |machine| {
        machine.main(|at| {
            let (runs, removed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(9)));
            let own = Arc::new(std::sync::OnceLock::<Dpc<Routine>>::new());
            let routine = Routine { runs: runs.clone(), removed: removed.clone(), own: own.clone() };
            let dpc = Dpc::new(routine);
            assert!(own.set(dpc.clone()).is_ok());
            assert!(!dpc.remove(at));
            let gate = SpinLock::new(());
            gate.with(at, |(), at| {
                assert!(dpc.insert(at));
                assert!(dpc.remove(at));
                assert!(!dpc.remove(at));
            });
            flush_queued_dpcs(at);
            assert_eq!(runs.load(Relaxed), 0);
            assert!(dpc.insert(at));
            flush_queued_dpcs(at);
            assert_eq!((runs.load(Relaxed), removed.load(Relaxed)), (1, 0));
        });
    });
}

/// Tries to remove itself while it runs.
struct Routine {
    runs: Arc<AtomicUsize>,
    removed: Arc<AtomicUsize>,
    own: Arc<std::sync::OnceLock<Dpc<Routine>>>,
}

impl ke::DpcRoutine for Routine {
    fn run(&self, _: [usize; 2], at: &mut At<'_, Dispatch>) {
        self.runs.fetch_add(1, Relaxed);
        let own = self.own.get().expect("set before the first insert");
        self.removed.store(own.remove(at).into(), Relaxed);
    }
}

/// Conformance 46.
#[test]
fn importance_decides_the_order() {
    explore("DPC importance", 1, |machine| {
        machine.main(|at| {
            let log = Arc::new(Log::default());
            let dpc = |name, importance| {
                let log = log.clone();
                let routine = move |_: [usize; 2], at: &mut At<'_, Dispatch>| log.add(at, name);
                Dpc::with(routine, importance, None)
            };
            let queued = [dpc("A", Importance::Medium), dpc("B", Importance::Medium), dpc("C", Importance::High)];
            let gate = SpinLock::new(());
            gate.with(at, |(), at| queued.iter().for_each(|dpc| assert!(dpc.insert(at))));
            assert_eq!(log.take(at), ["C", "A", "B"]);
        });
    });
}

#[test]
fn a_work_item_queued_from_a_dpc_runs_at_passive() {
    for cpus in [1, 2] {
        explore("work item from a DPC", cpus, |machine| {
            machine.main(|at| {
                let irqls = Arc::new(SpinLock::new(Vec::new()));
                let seen = irqls.clone();
                let item = Arc::new(WorkItem::new(move |at: &mut At<'_, Passive>| {
                    let irql = at.irql();
                    seen.acquire(at).push(irql);
                }));
                let queued = item.clone();
                let dpc = Dpc::new(move |_: [usize; 2], at: &mut At<'_, Dispatch>| {
                    assert!(queued.enqueue(at));
                });
                assert!(dpc.insert(at));
                flush_queued_dpcs(at);
                item.flush(at);
                assert_eq!(*irqls.acquire(at), [0]);
            });
        });
    }
}

#[test]
fn a_timer_expires_at_its_time_and_not_after_it_was_cancelled() {
    explore("timer", 2, |machine| {
        machine.main(|at| {
            let rung = Arc::new(Event::new());
            let bell = rung.clone();
            let timer = Timer::new(move |at: &mut At<'_, Dispatch>| bell.set(at));
            let start = at.now();
            assert!(!timer.start(at, 5_000_000));
            rung.wait(at).expect("no device is used");
            assert!(at.now() >= start + 5_000_000);
            let never = Timer::new(|_: &mut At<'_, Dispatch>| ());
            assert!(!never.start(at, u64::MAX / 2));
            assert!(never.start(at, u64::MAX / 2));
            assert!(never.cancel(at));
            assert!(!never.cancel(at));
        });
    });
}

#[test]
fn a_wait_ends_by_its_time_or_by_its_event() {
    explore("wait with a time-out", 2, |machine| {
        machine.main(|at| {
            let event = Arc::new(Event::new());
            assert_eq!(event.wait_timeout(at, 1_000), Err(ke::WaitError::TimedOut));
            let set = event.clone();
            let helper = spawn(at, ThreadOptions::named("setter"), move |at| set.set(at));
            let timed_out = event.wait_timeout(at, 1_000).is_err();
            helper.join(at).expect("no device is used");
            assert!(event.is_set(at));
            // Late or not, whoever looks again finds it set.
            assert!(event.wait_timeout(at, 0).is_ok() || timed_out);
        });
    });
}

#[test]
fn equals_share_their_cpu_by_time_slices() {
    explore("time slices", 1, |machine| {
        machine.main(|at| {
            let stop = Arc::new(AtomicUsize::new(0));
            let seen = stop.clone();
            let poller = spawn(at, ThreadOptions::named("poller"), move |at| {
                // Never blocks: ends only if the main thread gets its turn.
                while seen.load(Relaxed) == 0 {
                    Event::new().set(at);
                }
            });
            Event::new().wait_timeout(at, 1_000).expect_err("nobody sets it");
            stop.store(1, Relaxed);
            poller.join(at).expect("no device is used");
        });
    });
}
