//! DPC, timer and general objects: what starting, stopping and cancelling them says, what a stop of the device does to them, and
//! how they end.

use crate::bells::{self, Bells, Regs, start};
use framework::{DeviceRef, prelude::*};
use hal_sim::{Explorer, Setup, run_once};
use ke::thread::{self, JoinHandle, ThreadOptions};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

const NAME: &str = "workshop#0";
/// Nanoseconds until a timer expires.
const SOON: u64 = 1_000_000;

/// A device with one object of each kind.
struct Workshop {
    dpc: Dpc<Job>,
    item: WorkItem<Job>,
    once: Timer<Job>,
    again: Timer<Again>,
    tick: Timer<Tick>,
    slow: Timer<Slow>,
    diary: Object<Diary>,
    nobody_sets_this: Event,
    /// The passive timer's callback stops its own timer.
    stops_itself: AtomicU32,
    /// The DPC has been queued.
    queued: AtomicU32,
}

/// What outlives a run, in `device_add`'s hands.
struct Added {
    diary: Object<Diary>,
}

/// Runs of each kind of callback, and what ended, in order.
#[derive(Default)]
struct Diary {
    name: &'static str,
    runs: AtomicU32,
    inside: AtomicU32,
    ticks: Mutex<Vec<u64>>,
    answers: Mutex<Vec<bool>>,
    ended: Arc<Mutex<Vec<&'static str>>>,
}

/// A one-shot timer at DISPATCH, a DPC, a work item.
struct Job(Object<Diary>, &'static str);
/// A one-shot timer that starts itself again.
struct Again;
/// A periodic timer.
struct Tick;
/// A passive timer.
struct Slow;

impl EvtObject for Diary {
    fn evt_cleanup(&self, at: &mut At<'_, Passive>) {
        assert_eq!(at.irql(), 0);
        self.end(self.name);
    }
}

impl Diary {
    fn new(name: &'static str, ended: &Arc<Mutex<Vec<&'static str>>>) -> Self {
        Diary { name, ended: ended.clone(), ..Diary::default() }
    }

    fn end(&self, name: &'static str) {
        self.ended.lock().expect("no test panics with it").push(name);
    }

    /// A callback runs; in its middle others may come.
    fn run<L: AtMost<Dispatch>>(&self, event: &Event, at: &mut At<'_, L>) {
        self.inside.fetch_add(1, SeqCst);
        event.clear(at);
        self.runs.fetch_add(1, SeqCst);
        self.inside.fetch_sub(1, SeqCst);
    }

    fn runs(&self) -> u32 {
        self.runs.load(SeqCst)
    }

    /// Nothing runs, nor will.
    fn assert_quiet(&self) {
        assert_eq!(self.inside.load(SeqCst), 0, "a callback is still at work");
    }
}

impl DeviceAdd<Workshop> for Added {
    fn device_add(init: &mut DeviceInit<'_, Workshop>, _: &mut At<'_, Passive>) -> Result<Self> {
        let diary = init.object(Diary { name: "added", ..Diary::default() });
        Ok(Added { diary })
    }
}

impl Device for Workshop {
    const NAME: &'static str = "workshop";
    const IDS: &'static [PciId] = &[bells::ID];
    type Driver = ();
    type Added = Added;

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let regs: Regs = hw.map_bar(at, 0)?;
        let ended = hw.added().diary.ended.clone();
        let [diary, dpcs, items, timers] =
            ["general", "unused", "unused", "unused"].map(|name| Diary::new(name, &ended));
        let diary = hw.object(diary);
        let [dpcs, items, timers] = [dpcs, items, timers].map(|diary| hw.object(diary));
        hw.interrupt(Bell(ended.clone()), ()).create()?;
        let workshop = Workshop {
            dpc: hw.dpc(Job(dpcs, "DPC")),
            item: hw.work_item(Job(items, "work item")),
            once: hw.timer(Job(timers, "timer")).create(),
            again: hw.timer(Again).create(),
            tick: hw.timer(Tick).period(SOON).create(),
            slow: hw.timer(Slow).create(),
            diary,
            nobody_sets_this: Event::new(),
            stops_itself: AtomicU32::new(0),
            queued: AtomicU32::new(0),
        };
        regs.step(at, 1)?;
        Ok(workshop)
    }

    fn release_hardware(self, _: &Added, _: &mut At<'_, Passive>) {
        self.diary.end("release");
    }
}

struct Bell(Arc<Mutex<Vec<&'static str>>>);

impl EvtIsr for Bell {
    type Device = Workshop;
    type State = ();
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_isr(&self, _: &Workshop, (): &mut (), _: &mut IsrCx<'_, Self>) -> Claim {
        Claim::NotMine
    }

    fn evt_cleanup(&self, _: &mut At<'_, Passive>) {
        self.0.lock().expect("no test panics with it").push("interrupt");
    }
}

impl EvtDpcFunc for Job {
    type Device = Workshop;

    fn evt_dpc_func(&self, dev: &Workshop, at: &mut At<'_, Dispatch>) {
        self.0.run(&dev.nobody_sets_this, at);
    }

    fn evt_cleanup(&self, _: &mut At<'_, Passive>) {
        self.0.end(self.1);
    }
}

impl EvtWorkItemFunc for Job {
    type Device = Workshop;

    fn evt_work_item_func(&self, dev: &Workshop, at: &mut At<'_, Passive>) {
        self.0.run(&dev.nobody_sets_this, at);
    }

    fn evt_cleanup(&self, _: &mut At<'_, Passive>) {
        self.0.end(self.1);
    }
}

impl EvtTimerFunc for Job {
    type Device = Workshop;
    type Level = Dispatch;

    fn evt_timer_func(&self, dev: &Workshop, at: &mut At<'_, Dispatch>) {
        self.0.run(&dev.nobody_sets_this, at);
    }

    fn evt_cleanup(&self, _: &mut At<'_, Passive>) {
        self.0.end(self.1);
    }
}

impl EvtTimerFunc for Again {
    type Device = Workshop;
    type Level = Dispatch;

    fn evt_timer_func(&self, dev: &Workshop, at: &mut At<'_, Dispatch>) {
        dev.diary.run(&dev.nobody_sets_this, at);
        assert!(!dev.again.start(at, SOON), "nobody else starts it");
    }
}

impl EvtTimerFunc for Tick {
    type Device = Workshop;
    type Level = Dispatch;

    fn evt_timer_func(&self, dev: &Workshop, at: &mut At<'_, Dispatch>) {
        dev.diary.run(&dev.nobody_sets_this, at);
        let now = at.now();
        dev.diary.ticks.lock().expect("no test panics with it").push(now);
    }
}

impl EvtTimerFunc for Slow {
    type Device = Workshop;
    type Level = Passive;

    fn evt_timer_func(&self, dev: &Workshop, at: &mut At<'_, Passive>) {
        assert_eq!(at.irql(), 0);
        if dev.stops_itself.load(SeqCst) > 0 {
            let answer = dev.slow.stop_and_wait(at);
            dev.diary.answers.lock().expect("no test panics with it").push(answer);
        }
        dev.diary.run(&dev.nobody_sets_this, at);
    }
}

impl Workshop {
    fn sleep(&self, at: &mut At<'_, Passive>, time: u64) {
        assert_eq!(self.nobody_sets_this.wait_timeout(at, time), Err(WaitError::TimedOut));
    }
}

fn workshop(machine: &mut Setup, f: impl FnOnce(&DeviceRef<Workshop>, &mut At<'_, Passive>) + Send + 'static) {
    machine.device(Bells::default());
    machine.main(move |at| {
        let pnp = start::<Workshop>(at);
        f(&pnp.device(NAME).expect("it started"), at);
        pnp.shut_down(at);
    });
}

fn on<R>(
    device: &DeviceRef<Workshop>,
    at: &mut At<'_, Passive>,
    f: impl FnOnce(&Workshop, &mut At<'_, Passive>) -> R,
) -> R {
    device.with(at, f).expect("it is started")
}

/// `f` on the device, in another thread.
fn beside(
    device: &DeviceRef<Workshop>,
    at: &mut At<'_, Passive>,
    options: ThreadOptions,
    f: fn(&Workshop, &mut At<'_, Passive>),
) -> JoinHandle {
    let device = device.clone();
    let run = move |at: &mut At<'_, Passive>| on(&device, at, f);
    thread::spawn(at, options, run).expect("the host has memory")
}

fn explorer(what: &str, cpus: usize) -> Explorer {
    Explorer::new(&format!("{what} on {cpus}")).cpus(cpus).limit(Duration::from_secs(2))
}

#[test]
fn c84_a_dpc_object_runs_once_for_what_queued_it_before_it_started() {
    run_once(1, |machine| {
        workshop(machine, |device, at| {
            on(device, at, |dev, at| {
                assert!(dev.dpc.enqueue(at));
                assert_eq!(dev.dpc.handler().0.runs(), 1, "at PASSIVE it runs before this returns");
                SpinLock::new(()).with(at, |(), at| {
                    assert!(dev.dpc.enqueue(at) && !dev.dpc.enqueue(at));
                    assert!(dev.dpc.cancel(at) && !dev.dpc.cancel(at));
                });
                assert_eq!(dev.dpc.handler().0.runs(), 1, "it was cancelled");
            });
        });
    });
}

#[test]
fn c84_a_cancel_that_waits_leaves_no_dpc_at_work() {
    let answers = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    for cpus in [1, 2] {
        let seen = answers.clone();
        explorer("cancel and wait", cpus).run(move |machine| {
            let seen = seen.clone();
            workshop(machine, move |device, at| {
                let other = beside(device, at, ThreadOptions::named("other"), |dev, at| {
                    SpinLock::new(()).with(at, |(), at| {
                        assert!(dev.dpc.enqueue(at));
                        dev.queued.store(1, SeqCst);
                        // Here others may come.
                        dev.nobody_sets_this.clear(at);
                    });
                });
                on(device, at, |dev, at| {
                    let was_queued = dev.queued.load(SeqCst) > 0;
                    let cancelled = dev.dpc.cancel_and_wait(at);
                    if was_queued || cancelled {
                        dev.dpc.handler().0.assert_quiet();
                        assert_eq!(dev.dpc.handler().0.runs(), u32::from(!cancelled));
                        seen[usize::from(cancelled)].fetch_add(1, SeqCst);
                    }
                });
                other.join(at).expect("no device is used here");
            });
        });
    }
    assert!(answers.iter().all(|answer| answer.load(SeqCst) > 0), "both answers are given: {answers:?}");
}

#[test]
fn c81_a_periodic_timer_does_not_drift_and_ends_when_it_is_stopped() {
    run_once(1, |machine| {
        workshop(machine, |device, at| {
            on(device, at, |dev, at| {
                let first = at.now() + SOON / 2;
                assert!(!dev.tick.start(at, SOON / 2));
                dev.sleep(at, 4 * SOON);
                assert!(dev.tick.stop(at), "it is armed all the time");
                assert!(!dev.tick.stop(at));
                let ticks = dev.diary.ticks.lock().expect("no test panics with it").clone();
                assert!(ticks.len() >= 4, "{ticks:?}");
                for (n, tick) in (0..).zip(&ticks) {
                    let late = tick - (first + n * SOON);
                    assert!(late < SOON / 2, "tick {n} of {ticks:?}, {late} ns late");
                }
                let runs = dev.diary.runs();
                dev.sleep(at, 4 * SOON);
                assert_eq!(dev.diary.runs(), runs, "it was stopped");
            });
        });
    });
}

#[test]
fn c81_a_periodic_timer_that_is_started_anew_is_armed_once() {
    for cpus in [1, 2] {
        explorer("periodic timer started anew", cpus).run(|machine| {
            workshop(machine, |device, at| {
                on(device, at, |dev, at| assert!(!dev.tick.start(at, SOON)));
                let other = beside(device, at, ThreadOptions::named("other"), |dev, at| {
                    assert!(dev.tick.start(at, SOON), "it is armed all the time")
                });
                on(device, at, |dev, at| dev.sleep(at, SOON + SOON / 2));
                other.join(at).expect("no device is used here");
                on(device, at, |dev, at| {
                    assert!(dev.tick.stop(at), "it is armed until it is stopped");
                    assert!(!dev.tick.stop(at), "it was armed once");
                    ke::flush_queued_dpcs(at);
                    let runs = dev.diary.runs();
                    dev.sleep(at, 3 * SOON);
                    assert_eq!(dev.diary.runs(), runs);
                });
            });
        });
    }
}

/// Whichever comes first; a stop that was in time is the only reason not to run.
#[test]
fn c80_a_timer_runs_or_is_stopped() {
    let stopped = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    for cpus in [1, 2] {
        let seen = stopped.clone();
        explorer("timer or stop", cpus).run(move |machine| {
            let seen = seen.clone();
            workshop(machine, move |device, at| {
                on(device, at, |dev, at| {
                    assert!(!dev.once.start(at, SOON));
                    let stopped = dev.once.stop(at);
                    ke::flush_queued_dpcs(at);
                    assert_eq!(dev.once.handler().0.runs(), u32::from(!stopped));
                    seen[usize::from(stopped)].fetch_add(1, SeqCst);
                });
            });
        });
    }
    assert!(stopped.iter().all(|answer| answer.load(SeqCst) > 0), "both answers are given: {stopped:?}");
}

/// The callback starts it again: what comes while somebody waits for the stop is refused.
#[test]
fn c82_a_stop_that_waits_wins_against_a_callback_that_starts_it_again() {
    for cpus in [1, 2] {
        let explorer = explorer("stop and wait against restarts", cpus).limit(Duration::from_secs(3));
        explorer.run(move |machine| {
            workshop(machine, move |device, at| {
                on(device, at, |dev, at| assert!(!dev.again.start(at, SOON)));
                let last_cpu = ThreadOptions::named("stopper").on(CpuSet::of([cpus as u32 - 1]));
                // On another CPU than the timer where there is one, at the moment of its second expiry.
                let stopper = beside(device, at, last_cpu, |dev, at| {
                    dev.sleep(at, 2 * SOON);
                    assert!(dev.again.stop_and_wait(at), "it is armed, or its callback has just tried to arm it");
                    dev.diary.assert_quiet();
                    assert!(!dev.again.stop(at));
                });
                stopper.join(at).expect("no device is used here");
                on(device, at, |dev, at| {
                    let runs = dev.diary.runs();
                    dev.sleep(at, 3 * SOON);
                    assert_eq!(dev.diary.runs(), runs, "it was stopped");
                    assert!(!dev.again.start(at, SOON), "and can be started");
                    assert!(dev.again.stop_and_wait(at));
                });
            });
        });
    }
}

#[test]
fn c83_a_passive_timer_runs_at_passive_and_is_waited_for() {
    for cpus in [1, 2] {
        explorer("passive timer", cpus).run(|machine| {
            workshop(machine, |device, at| {
                on(device, at, |dev, at| {
                    assert!(!dev.slow.start(at, SOON));
                    dev.sleep(at, SOON);
                    let stopped = dev.slow.stop_and_wait(at);
                    dev.diary.assert_quiet();
                    assert_eq!(dev.diary.runs(), u32::from(!stopped));
                });
            });
        });
    }
}

#[test]
fn c83_a_passive_timer_that_stops_itself_does_not_wait_for_itself() {
    for cpus in [1, 2] {
        explorer("passive timer stops itself", cpus).run(|machine| {
            workshop(machine, |device, at| {
                on(device, at, |dev, at| {
                    dev.stops_itself.store(1, SeqCst);
                    dev.slow.start(at, SOON);
                    dev.sleep(at, 2 * SOON);
                    let stopped = dev.slow.stop_and_wait(at);
                    let answers = dev.diary.answers.lock().expect("no test panics with it").clone();
                    assert_eq!(answers, if stopped { vec![] } else { vec![false] });
                });
            });
        });
    }
}

/// With everything armed and queued, from two threads, at every point.
#[test]
fn a_stop_of_the_device_leaves_no_object_at_work() {
    for cpus in [1, 2] {
        explorer("stop with all objects at work", cpus).run(|machine| {
            machine.device(Bells::default());
            machine.main(|at| {
                let pnp = Arc::new(start::<Workshop>(at));
                let device: DeviceRef<Workshop> = pnp.device(NAME).expect("it started");
                let diary = on(&device, at, |dev, _| dev.diary.ended.clone());
                let stop = {
                    let pnp = pnp.clone();
                    move |at: &mut At<'_, Passive>| pnp.stop_device(at, NAME).expect("it is started")
                };
                let stopper = thread::spawn(at, ThreadOptions::named("stopper"), stop).expect("the host has memory");
                let use_all = |dev: &Workshop, at: &mut At<'_, Passive>| {
                    for timer_due in [SOON, 0] {
                        dev.once.start(at, timer_due);
                        dev.tick.start(at, timer_due);
                        dev.slow.start(at, timer_due);
                    }
                    dev.again.start(at, 0);
                    dev.dpc.enqueue(at);
                    dev.item.enqueue(at);
                };
                // `Err`: it was stopped before that.
                let _ = device.with(at, use_all);
                stopper.join(at).expect("no device is used here");
                let ended = diary.lock().expect("no test panics with it").len();
                ke::flush_queued_dpcs(at);
                assert_eq!(ended, ENDED.len(), "all have ended when the stop returns");
                pnp.shut_down(at);
            });
        });
    }
}

/// What ends when the device stops, in order.
const ENDED: [&str; 9] = ["release", "timer", "work item", "DPC", "interrupt", "unused", "unused", "unused", "general"];

#[test]
fn c22_objects_end_last_first_after_release_hardware_and_those_of_device_add_at_the_removal() {
    run_once(1, |machine| {
        machine.device(Bells::default());
        machine.main(|at| {
            let pnp = start::<Workshop>(at);
            let device: DeviceRef<Workshop> = pnp.device(NAME).expect("it started");
            let ended = on(&device, at, |dev, _| dev.diary.ended.clone());
            let taken = || std::mem::take(&mut *ended.lock().expect("no test panics with it"));
            let general = |at: &mut At<'_, Passive>| {
                let rows = pnp.objects(at).into_iter();
                rows.filter(|row| row.kind == "Object" && row.of.ends_with("Diary")).map(|row| row.count).sum::<usize>()
            };
            assert_eq!(general(at), 5);
            pnp.stop_device(at, NAME).expect("it is started");
            assert_eq!(general(at), 1, "the one of device_add");
            assert_eq!(taken(), ENDED);
            pnp.start_device(at, NAME).expect("it is stopped");
            assert_eq!(taken(), [""; 0], "what device_add made lives over a restart");
            pnp.remove_device(at, NAME).expect("it is there");
            assert_eq!(taken(), [&ENDED[..], &["added"]].concat());
            pnp.shut_down(at);
            assert_eq!(taken(), [""; 0], "once");
        });
    });
}

#[test]
fn c22_what_a_prepare_that_fails_has_made_ends_too() {
    run_once(1, |machine| {
        let bells = machine.device(Bells::default());
        machine.main(move |at| {
            let pnp = start::<Workshop>(at);
            let device: DeviceRef<Workshop> = pnp.device(NAME).expect("it started");
            let ended = on(&device, at, |dev, _| dev.diary.ended.clone());
            pnp.stop_device(at, NAME).expect("it is started");
            ended.lock().expect("no test panics with it").clear();
            bells.with(|bells| bells.fail_at = 1);
            assert!(pnp.start_device(at, NAME).is_err());
            assert_eq!(*ended.lock().expect("no test panics with it"), ENDED[1..]);
            pnp.shut_down(at);
        });
    });
}
