//! How DPCs, work items and timers are delivered: what is queued again before it starts runs once, what is queued while it
//! runs runs again, on another CPU perhaps at the same time; and what a flush has waited for.

use crate::support::{MACHINES, coarse, disturbed, fine, spawn};
use ke::{
    At, Dispatch, Dpc, DpcRoutine, Event, Importance, Level, Passive, SpinLock, Timer, TimerConfig, TimerRoutine,
    WorkItem, WorkRoutine, flush_queued_dpcs, thread::ThreadOptions,
};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, Ordering::SeqCst},
};

/// Nanoseconds.
const A_WHILE: u64 = 1_000_000;

/// Counts runs, and how many there are at a time. No lock: it has to see what a lock would prevent.
#[derive(Default)]
struct Runs {
    total: AtomicU32,
    now: AtomicU32,
}

impl Runs {
    /// `during` is a run; `most` is how many there were at a time, in any schedule.
    fn count(&self, most: &AtomicU32, during: impl FnOnce()) {
        self.total.fetch_add(1, SeqCst);
        most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
        during();
        self.now.fetch_sub(1, SeqCst);
    }
}

#[test]
fn a_dpc_runs_once_for_each_insertion_that_took_and_overlaps_itself() {
    for cpus in MACHINES {
        let most = Arc::new(AtomicU32::new(0));
        let seen = most.clone();
        coarse("DPC overlaps itself", cpus, move |machine| {
            let most = seen.clone();
            machine.main(move |at| {
                let runs = Arc::new(Runs::default());
                let (theirs, gate) = (runs.clone(), SpinLock::new(()));
                let dpc = Dpc::new(move |_: [usize; 2], at: &mut At<'_, Dispatch>| {
                    theirs.count(&most, || gate.with(at, |(), _| ()));
                });
                let taken = Arc::new(AtomicU32::new(0));
                let (other, others_taken) = (dpc.clone(), taken.clone());
                let other = spawn(at, ThreadOptions::named("other"), move |at| {
                    others_taken.fetch_add(other.insert(at).into(), SeqCst);
                });
                taken.fetch_add(dpc.insert(at).into(), SeqCst);
                other.join(at).expect("no device goes away here");
                flush_queued_dpcs(at);
                assert_eq!(runs.total.load(SeqCst), taken.load(SeqCst));
            });
        });
        assert_eq!(most.load(SeqCst), cpus.min(2) as u32, "DPCs at a time on {cpus} CPUs");
    }
}

#[test]
fn a_work_item_that_is_queued_again_before_it_starts_runs_once() {
    for cpus in MACHINES {
        disturbed("five work items, one run", cpus, move |at| {
            let runs = Arc::new(AtomicU32::new(0));
            let theirs = runs.clone();
            let item = WorkItem::new(move |_: &mut At<'_, Passive>| _ = theirs.fetch_add(1, SeqCst));
            let taken: u32 = (0..5).map(|_| u32::from(item.enqueue(at))).sum();
            item.flush(at);
            assert_eq!(runs.load(SeqCst), taken);
        });
    }
}

/// It sleeps, so even one CPU has time for another run.
#[test]
fn a_work_item_overlaps_itself() {
    for cpus in MACHINES {
        let most = Arc::new(AtomicU32::new(0));
        let seen = most.clone();
        coarse("work item overlaps itself", cpus, move |machine| {
            let most = seen.clone();
            machine.main(move |at| {
                let (runs, begun) = (Arc::new(Runs::default()), Arc::new(Event::new()));
                let (theirs, signal) = (runs.clone(), begun.clone());
                let item = WorkItem::new(move |at: &mut At<'_, Passive>| {
                    theirs.count(&most, || {
                        signal.set(at);
                        assert!(Event::new().wait_timeout(at, A_WHILE).is_err(), "nobody sets it");
                    });
                });
                assert!(item.enqueue(at));
                begun.wait(at).expect("no device goes away here");
                assert!(item.enqueue(at), "it is no longer queued when it has started");
                item.flush(at);
                assert_eq!((runs.total.load(SeqCst), runs.now.load(SeqCst)), (2, 0));
            });
        });
        assert_eq!(most.load(SeqCst), 2);
    }
}

/// How often what queues itself runs.
const ROUNDS: u32 = 4;

/// Queues the one that it is part of.
type Requeue<L> = Box<dyn for<'c> Fn(&mut At<'c, L>) -> bool + Send + Sync>;

/// What a DPC, work item or timer does that queues itself.
struct Again<L: Level> {
    runs: Arc<AtomicU32>,
    own: Arc<OnceLock<Requeue<L>>>,
}

impl<L: Level> Again<L> {
    fn new() -> Self {
        Again { runs: Arc::default(), own: Arc::default() }
    }

    fn run_again(&self, at: &mut At<'_, L>) {
        if self.runs.fetch_add(1, SeqCst) + 1 < ROUNDS {
            let requeue = self.own.get().expect("set before the first run");
            assert!(requeue(at), "it is no longer queued when it runs");
        }
    }
}

impl DpcRoutine for Again<Dispatch> {
    fn run(&self, _: [usize; 2], at: &mut At<'_, Dispatch>) {
        self.run_again(at);
    }
}

impl TimerRoutine for Again<Dispatch> {
    fn expired(&self, at: &mut At<'_, Dispatch>) {
        self.run_again(at);
    }
}

impl WorkRoutine for Again<Passive> {
    fn run(&self, at: &mut At<'_, Passive>) {
        self.run_again(at);
    }
}

#[test]
fn a_dpc_that_queues_itself_runs_again_and_again() {
    for cpus in MACHINES {
        disturbed("DPC queues itself", cpus, |at| {
            let again = Again::<Dispatch>::new();
            let (runs, own) = (again.runs.clone(), again.own.clone());
            let dpc = Dpc::new(again);
            let handle = dpc.clone();
            assert!(own.set(Box::new(move |at| handle.insert(at))).is_ok(), "nobody else sets it");
            assert!(dpc.insert(at));
            // A flush waits for what was queued before it, not for what that queues.
            for _ in 0..ROUNDS {
                flush_queued_dpcs(at);
            }
            assert_eq!((runs.load(SeqCst), dpc.is_queued()), (ROUNDS, false));
        });
    }
}

/// Unlike a DPC's, a work item's flush waits until it is idle.
#[test]
fn a_work_item_that_queues_itself_is_flushed_when_it_does_so_no_more() {
    for cpus in MACHINES {
        disturbed("work item queues itself", cpus, |at| {
            let again = Again::<Passive>::new();
            let (runs, own) = (again.runs.clone(), again.own.clone());
            let item = WorkItem::new(again);
            let handle = item.clone();
            assert!(own.set(Box::new(move |at| handle.enqueue(at))).is_ok(), "nobody else sets it");
            assert!(item.enqueue(at));
            item.flush(at);
            assert_eq!(runs.load(SeqCst), ROUNDS);
        });
    }
}

#[test]
fn a_timer_that_starts_itself_expires_again_and_again() {
    for cpus in MACHINES {
        coarse("timer starts itself", cpus, |machine| {
            machine.main(|at| {
                let again = Again::<Dispatch>::new();
                let (runs, own) = (again.runs.clone(), again.own.clone());
                let timer = Arc::new(Timer::new(again));
                let handle = timer.clone();
                assert!(own.set(Box::new(move |at| !handle.start(at, A_WHILE))).is_ok(), "nobody else sets it");
                assert!(!timer.start(at, A_WHILE));
                while runs.load(SeqCst) < ROUNDS {
                    assert!(Event::new().wait_timeout(at, A_WHILE).is_err(), "nobody sets it");
                }
                flush_queued_dpcs(at);
                assert!(!timer.cancel(at), "it has not started itself again");
                assert_eq!(runs.load(SeqCst), ROUNDS);
            });
        });
    }
}

#[test]
fn a_flush_waits_for_the_dpcs_of_all_cpus() {
    for cpus in MACHINES {
        disturbed("flush", cpus, move |at| {
            let ran = Arc::new(SpinLock::new(Vec::new()));
            for cpu in 0..cpus as u32 {
                for importance in [Importance::Low, Importance::Medium, Importance::High] {
                    let ran = ran.clone();
                    let routine = move |_: [usize; 2], at: &mut At<'_, Dispatch>| {
                        let here = at.cpu();
                        ran.acquire(at).push(here);
                    };
                    assert!(Dpc::with(routine, importance, Some(cpu)).insert(at));
                }
            }
            flush_queued_dpcs(at);
            let mut ran = ran.acquire(at);
            ran.sort_unstable();
            let expected: Vec<u32> = (0..3 * cpus as u32).map(|n| n / 3).collect();
            assert_eq!(*ran, expected);
        });
    }
}

/// Whichever comes first: a timer that was cancelled in time does not expire, one that has expired is told.
#[test]
fn a_timer_expires_or_is_cancelled() {
    for cpus in MACHINES {
        let expired_before = Arc::new(AtomicU32::new(0));
        let seen = expired_before.clone();
        coarse("timer or cancel", cpus, move |machine| {
            let expired_before = seen.clone();
            machine.main(move |at| {
                let runs = Arc::new(AtomicU32::new(0));
                let theirs = runs.clone();
                let timer = Timer::new(move |_: &mut At<'_, Dispatch>| _ = theirs.fetch_add(1, SeqCst));
                assert!(!timer.start(at, A_WHILE));
                let restarted = timer.start(at, A_WHILE);
                let cancelled = timer.cancel(at);
                flush_queued_dpcs(at);
                let expired = runs.load(SeqCst);
                assert_eq!(expired, u32::from(!restarted) + u32::from(!cancelled));
                expired_before.fetch_add(expired, SeqCst);
            });
        });
        assert!(expired_before.load(SeqCst) > 0, "in no schedule did the timer expire first");
    }
}

/// Also in the middle of an expiry: a start and a cancel find it armed, and after the cancel it does not expire.
#[test]
fn c81_a_periodic_timer_is_armed_until_it_is_cancelled() {
    for cpus in MACHINES {
        fine("periodic timer", cpus, |machine| {
            machine.main(|at| {
                let runs = Arc::new(AtomicU32::new(0));
                let theirs = runs.clone();
                let routine = move |_: &mut At<'_, Dispatch>| _ = theirs.fetch_add(1, SeqCst);
                let config = TimerConfig { period: Some(A_WHILE), tolerable_delay: 0 };
                let timer = Arc::new(Timer::with(routine, config));
                let pause = |at: &mut At<'_, Passive>, time| {
                    assert!(Event::new().wait_timeout(at, time).is_err(), "nobody sets it");
                };
                assert!(!timer.start(at, A_WHILE));
                let again = timer.clone();
                let other = spawn(at, ThreadOptions::named("other"), move |at| {
                    assert!(Event::new().wait_timeout(at, A_WHILE).is_err(), "nobody sets it");
                    assert!(again.start(at, A_WHILE), "it is armed all the time");
                });
                pause(at, A_WHILE);
                other.join(at).expect("no device goes away here");
                assert!(timer.cancel(at), "it is armed all the time");
                assert!(!timer.cancel(at), "it was armed once");
                timer.flush(at);
                let before = runs.load(SeqCst);
                pause(at, 3 * A_WHILE);
                assert_eq!(runs.load(SeqCst), before, "it was cancelled");
            });
        });
    }
}
