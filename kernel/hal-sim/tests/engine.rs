//! The engine itself: what is explored, and that the same choices give the same run.

use hal_sim::{
    Explorer, FaultKind, Granularity, Setup, StandInCell, Switcher,
    model::{BusAccess, Identity, Model, PciModel, Step},
};
use ke::{
    At, Event, Passive, WaitLock,
    thread::{self, ThreadOptions},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A device without registers that can take `left` steps, each at any time.
struct Ticker {
    left: u32,
    taken: Arc<AtomicUsize>,
}

impl PciModel for Ticker {
    fn identity(&self) -> Identity {
        Identity::new(1, 1)
    }
}

impl Model for Ticker {
    fn read(&mut self, _: usize, _: u64, _: usize, _: &mut BusAccess<'_>) -> u64 {
        0
    }
    fn write(&mut self, _: usize, _: u64, _: usize, _: u64, _: &mut BusAccess<'_>) {}
    fn steps(&self, steps: &mut Vec<Step>) {
        if self.left > 0 {
            steps.push(Step::soon(0, "ticks"));
        }
    }
    fn step(&mut self, _: u32, _: &mut BusAccess<'_>) {
        self.left -= 1;
        self.taken.fetch_add(1, Relaxed);
    }
}

/// A main thread with `points` points, beside a device with `ticks` steps. It panics if all steps come before its end.
fn toy(points: usize, ticks: u32, panics: bool) -> impl Fn(&mut Setup) + 'static {
    move |machine| {
        let taken = Arc::new(AtomicUsize::new(0));
        machine.device(Ticker { left: ticks, taken: taken.clone() });
        machine.main(move |_| {
            let cell = StandInCell::new(0);
            for n in 0..points {
                cell.set(n);
            }
            assert!(!panics || taken.load(Relaxed) < ticks as usize, "all ticks came early");
        });
    }
}

#[test]
fn the_number_of_schedules_is_exact() {
    let count = |points, ticks, bound| {
        let stats = Explorer::new("count").bound(bound).random(0).run(toy(points, ticks, false));
        assert!(stats.complete);
        stats.schedules
    };
    // One step: never before the end, or at one of the points.
    assert_eq!(count(5, 1, 1), 1 + 5);
    assert_eq!(count(5, 1, 3), 1 + 5);
    // Two steps: none, the first at one of the points, or both at a pair of points in order, the same one included.
    assert_eq!(count(4, 2, 0), 1);
    assert_eq!(count(4, 2, 1), 1 + 4);
    assert_eq!(count(4, 2, 2), 1 + 4 + 4 * 5 / 2);
    // Three: 4 points, multisets of three.
    assert_eq!(count(4, 3, 3), 1 + 4 + 10 + 20);
}

#[test]
fn a_search_out_of_time_says_so() {
    let explorer = Explorer::new("no time").bound(2).random(0).limit(std::time::Duration::ZERO);
    let stats = explorer.explore(toy(4, 2, false)).expect("nothing fails");
    assert_eq!((stats.complete, stats.schedules), (false, 1));
    assert!(stats.to_string().contains("INCOMPLETE"));
}

#[test]
fn a_failure_has_the_fewest_deviations_and_replays() {
    let failure = Explorer::new("early ticks").bound(3).expect_failure(toy(3, 2, true));
    assert_eq!((failure.kind(), failure.deviations()), (FaultKind::BugCheck, 2));
    assert!(failure.message().contains("all ticks came early"), "{failure}");
    assert!(failure.message().contains("tests/engine.rs"), "{failure}");
    assert_eq!(failure.replay().trace().to_string(), failure.trace().to_string());
    let text = failure.to_string();
    assert!(text.contains(&format!("DIRQL_REPLAY='{}' cargo test", failure.replay_string())), "{text}");
    assert_eq!(text.matches("ticks\n").count(), 2, "{text}");
}

#[test]
fn a_random_failure_is_shrunk() {
    let failure = Explorer::new("random").bound(0).random(1_000).expect_failure(toy(30, 3, true));
    assert_eq!(failure.deviations(), 3, "{failure}");
    assert!(failure.to_string().contains("seed 1"));
}

#[test]
fn the_same_choices_give_the_same_run_on_both_switchers() {
    for seed in 0..20 {
        let run = |switcher| {
            let explorer = Explorer::new("twice").cpus(2).granularity(Granularity::Fine).switcher(switcher);
            explorer.record_random(seed, toy(10, 3, false)).to_string()
        };
        let coroutines = run(Switcher::Coroutines);
        assert!(coroutines.contains("ticks"));
        assert_eq!(coroutines, run(Switcher::Coroutines));
        assert_eq!(coroutines, run(Switcher::Batons));
    }
}

/// Comes to a point of exploration while its thread unwinds.
struct StopsInDrop;

impl Drop for StopsInDrop {
    fn drop(&mut self) {
        StandInCell::new(0).set(1);
    }
}

#[test]
fn a_failing_schedule_unwinds_every_thread_and_the_process_lives() {
    let alive = Arc::new(AtomicUsize::new(0));
    let count = alive.clone();
    for switcher in [Switcher::Coroutines, Switcher::Batons] {
        let count = count.clone();
        let explorer = Explorer::new("unwinding").cpus(2).bound(1).switcher(switcher);
        let failure = explorer.expect_failure(move |machine| {
            let count = count.clone();
            machine.main(move |at| {
                let lock = Arc::new(WaitLock::new(()));
                for _ in 0..3 {
                    let (theirs, held) = (lock.clone(), Alive::new(&count));
                    let waits = move |at: &mut At<'_, Passive>| {
                        let (_held, _stops) = (held, StopsInDrop);
                        let _guard = theirs.acquire(at);
                        Event::new().wait(at).expect("nobody sets it");
                    };
                    thread::spawn(at, ThreadOptions::named("waits"), waits).expect("there is memory");
                }
                let _held = Alive::new(&count);
                let _guard = lock.acquire(at);
                Event::new().wait_timeout(at, 1_000).expect_err("nobody sets it");
                panic!("with a lock held and threads waiting");
            });
        });
        assert_eq!(failure.kind(), FaultKind::BugCheck, "{failure}");
        drop(failure);
        assert_eq!(alive.load(Relaxed), 0, "something was not dropped");
    }
}

/// Counts those of its kind that have not been dropped.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Alive(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[test]
fn many_schedules_leave_nothing_behind() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/statm").expect("Linux says how much memory a process uses");
        let pages = status.split(' ').nth(1).expect("the second field is the resident set");
        pages.parse::<usize>().expect("it is a number")
    };
    let run = || Explorer::new("memory").cpus(2).bound(3).random(0).run(toy(12, 3, false)).schedules;
    run();
    let before = resident();
    let schedules: usize = (0..20).map(|_| run()).sum();
    assert!(schedules > 5_000, "{schedules}");
    assert!(resident() < before + 1_000, "{before} pages grew to {}", resident());
}
