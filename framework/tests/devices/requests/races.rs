//! Cancellation, time-outs, sleep and removal, at every moment of a request's life.

use super::clerk::{Clerk, KEEPS, NAME, explore, explorer, join, scenario, spawn};
use crate::bells::Bells;
use framework::{Completion, File, prelude::*};
use hal_sim::Granularity;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

/// The different ways in which something ended, over all schedules.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<HashSet<String>>>);

impl Ends {
    fn note(&self, end: &Result<usize>) {
        self.0.lock().expect("nobody panics with it").insert(format!("{end:?}"));
    }

    /// These, and no others.
    #[track_caller]
    fn are(&self, ends: &[Result<usize>]) {
        let expected: HashSet<String> = ends.iter().map(|end| format!("{end:?}")).collect();
        assert_eq!(*self.0.lock().expect("nobody panics with it"), expected);
    }
}

/// Waits for a read that was submitted; what became of it.
fn end_of(pending: &framework::Pending, at: &mut At<'_, Passive>) -> Result<usize> {
    pending.wait(at).expect("it uses no device by reference");
    let Completion { result, data } = pending.take(at).expect("it is completed");
    assert_eq!(data, if result.is_ok() { &b"rung"[..] } else { b"" });
    assert_eq!(pending.take(at), None, "once");
    result
}

#[test]
fn cancel_against_complete() {
    for cpus in [1, 2, 3] {
        let ends = Ends::default();
        let seen = ends.clone();
        explore("cancel against complete", cpus, Bells::default, move |_, file, at| {
            let pending = Arc::new(file.submit_read(at, 4));
            let theirs = pending.clone();
            let other = spawn(at, move |at| _ = theirs.cancel(at));
            seen.note(&end_of(&pending, at));
            join(other, at);
        });
        ends.are(&[Ok(4), Err(Status::Cancelled)]);
    }
}

#[test]
fn cancel_while_queued_and_in_flight() {
    for cpus in [1, 2] {
        let (first_ends, second_ends) = (Ends::default(), Ends::default());
        let (first_seen, second_seen) = (first_ends.clone(), second_ends.clone());
        explore("cancel two", cpus, Bells::default, move |_, file, at| {
            let first = Arc::new(file.submit_read(at, 4));
            let second = file.submit_read(at, 4);
            let theirs = first.clone();
            let other = spawn(at, move |at| _ = theirs.cancel(at));
            second.cancel(at);
            first_seen.note(&end_of(&first, at));
            second_seen.note(&end_of(&second, at));
            join(other, at);
        });
        first_ends.are(&[Ok(4), Err(Status::Cancelled)]);
        second_ends.are(&[Ok(4), Err(Status::Cancelled)]);
    }
}

/// The second request is forwarded by whoever completes the first, while it is cancelled: it does not stay where it came to.
#[test]
fn cancel_against_forward() {
    use super::clerk::PUT_AWAY;
    for cpus in [1, 2] {
        explore("cancel against forward", cpus, Bells::default, |_, file, at| {
            let read = file.submit_read(at, 4);
            let put_away = Arc::new(file.submit_control(at, PUT_AWAY, &[], 0));
            let theirs = put_away.clone();
            let other = spawn(at, move |at| assert!(theirs.cancel(at)));
            assert_eq!(end_of(&read, at), Ok(4));
            put_away.wait(at).expect("it uses no device by reference");
            assert_eq!(put_away.take(at).map(|end| end.result), Some(Err(Status::Cancelled)));
            join(other, at);
        });
    }
}

#[test]
fn a_read_that_takes_too_long_times_out() {
    explore("time-out", 1, Bells::default, |_, file, at| {
        // Nobody reads but the bell rings for readers alone: the second one waits for the first.
        let first = file.submit_read(at, 4);
        let end = file.with_timeout(1_000).read(at, &mut [0; 4]);
        assert!(matches!(end, Ok(4) | Err(Status::TimedOut)), "{end:?}");
        assert_eq!(end_of(&first, at), Ok(4));
        assert_eq!(file.read(at, &mut [0; 4]), Ok(4));
    });
}

/// Stopping, removing and losing the device while two requests are on their way.
#[test]
fn a_device_that_goes_ends_its_requests() {
    type Leave = fn(&framework::Pnp, &mut At<'_, Passive>);
    let ways: [(&str, Leave); 3] = [
        ("stop", |pnp, at| pnp.stop_device(at, NAME).expect("it is started")),
        ("remove", |pnp, at| pnp.remove_device(at, NAME).expect("it is started")),
        ("surprise", |pnp, at| pnp.surprise_remove_device(at, NAME).expect("it is started")),
    ];
    for (name, leave) in ways {
        for cpus in [1, 2] {
            explore(name, cpus, Bells::default, move |pnp, file, at| {
                let theirs = file.clone();
                let other = spawn(at, move |at| {
                    for _ in 0..2 {
                        let end = theirs.read(at, &mut [0; 4]);
                        let gone = [Status::Gone, Status::Cancelled, Status::NoQueue { kind: RequestKind::Read }];
                        assert!(end.as_ref().map_or_else(|status| gone.contains(status), |n| *n == 4), "{end:?}");
                    }
                });
                let ours = file.submit_read(at, 4);
                leave(pnp, at);
                ours.wait(at).expect("it uses no device by reference");
                join(other, at);
            });
        }
    }
}

/// The same at every step of the core: who looks whether there is anything to give out holds nothing that a stop has to have.
#[test]
fn a_stop_at_every_step_of_a_submission() {
    explorer("stop at every step", 2).bound(1).granularity(Granularity::Fine).run(scenario(
        Bells::default,
        |pnp, file, at| {
            let theirs = file.clone();
            let other = spawn(at, move |at| {
                let end = theirs.write(at, b"ab");
                let gone = [Status::Gone, Status::NoQueue { kind: RequestKind::Write }];
                assert!(end.as_ref().map_or_else(|status| gone.contains(status), |n| *n == 2), "{end:?}");
            });
            pnp.stop_device(at, NAME).expect("it is started");
            join(other, at);
        },
    ));
}

fn sleep_and_wake(pnp: &framework::Pnp, at: &mut At<'_, Passive>) {
    pnp.power_down_device(at, NAME, PowerState::D3).expect("it is started");
    pnp.power_up_device(at, NAME).expect("it sleeps");
}

/// A read that waits for the bell is put back, or kept, while the device sleeps, and goes on when it wakes.
#[test]
fn reads_live_through_sleep() {
    for how in [0, KEEPS] {
        for cpus in [1, 2] {
            let bells = move || Bells::failing_at(how);
            explore("sleep", cpus, bells, |pnp, file, at| {
                let theirs = file.clone();
                let other = spawn(at, move |at| assert_eq!(theirs.read(at, &mut [0; 4]), Ok(4)));
                let ours = file.submit_read(at, 4);
                sleep_and_wake(pnp, at);
                assert_eq!(end_of(&ours, at), Ok(4));
                join(other, at);
            });
        }
    }
}

#[test]
fn what_comes_while_the_device_sleeps_waits_for_it() {
    explore("asleep", 1, Bells::default, |pnp, file, at| {
        pnp.power_down_device(at, NAME, PowerState::D3).expect("it is started");
        let late = file.submit_write(at, b"late");
        assert_eq!(file.with_timeout(1_000).write(at, b"later"), Err(Status::TimedOut));
        assert_eq!(late.take(at), None);
        pnp.power_up_device(at, NAME).expect("it sleeps");
        late.wait(at).expect("it uses no device by reference");
        assert_eq!(late.take(at).map(|end| end.result), Some(Ok(4)));
    });
}

#[test]
fn a_request_that_is_dropped_is_completed_as_abandoned() {
    use super::clerk::{DROP, NEXT, PUT_AWAY};
    for cpus in [1, 2] {
        // The verifier would not let it pass.
        explorer("abandoned", cpus).without_verifier().run(scenario(Bells::default, |pnp, file, at| {
            let put_away = file.submit_control(at, PUT_AWAY, &[], 8);
            assert_eq!(file.control(at, DROP, &[], &mut []), Err(Status::Abandoned));
            put_away.wait(at).expect("it uses no device by reference");
            assert_eq!(file.control(at, NEXT, &[], &mut []), Err(Status::Busy), "the queue goes on");
            let info = pnp.queues(at)[0].info;
            assert_eq!((info.given, info.waiting), (0, 0));
        }));
    }
}

#[test]
fn put_away_requests_wait_in_the_manual_queue() {
    use super::clerk::{NEXT, PUT_AWAY};
    explore("put away", 1, Bells::default, |pnp, file, at| {
        let [first, second, third] = [(); 3].map(|()| file.submit_control(at, PUT_AWAY, &[], 8));
        assert!(second.cancel(at) && !second.cancel(at));
        assert_eq!(second.take(at).map(|end| end.result), Some(Err(Status::Cancelled)));
        assert_eq!(file.control(at, NEXT, &[], &mut []), Ok(0));
        assert_eq!(first.take(at).map(|end| end.data), Some(b"found".to_vec()));
        assert_eq!(third.take(at), None);
        pnp.stop_device(at, NAME).expect("it is started");
        assert_eq!(third.take(at).map(|end| end.result), Some(Err(Status::Gone)));
        assert_eq!(file.write(at, b"x"), Err(Status::NoQueue { kind: RequestKind::Write }));
    });
}

#[test]
fn drain_purge_and_stop() {
    explore("drain, purge and stop", 1, Bells::default, |pnp, file, at| {
        let clerk = pnp.device::<Clerk>(NAME).expect("it is there");
        let on = |at: &mut At<'_, Passive>, f: fn(&Clerk, &mut At<'_, Passive>) -> bool| {
            assert!(clerk.with(at, f).expect("it is started"));
        };
        on(at, |clerk, at| clerk.requests.stop_and_wait(at));
        let [first, second] = [(); 2].map(|()| file.submit_read(at, 4));
        assert_eq!(pnp.queues(at)[0].info.waiting, 2);
        on(at, |clerk, at| {
            clerk.requests.start(at);
            clerk.requests.drain_and_wait(at)
        });
        assert_eq!([first, second].map(|read| read.take(at).map(|end| end.result)), [Some(Ok(4)), Some(Ok(4))]);
        assert_eq!(file.write(at, b"x"), Err(Status::NotAccepting));
        on(at, |clerk, at| {
            clerk.requests.start(at);
            clerk.requests.stop(at);
            true
        });
        let [first, second] = [(); 2].map(|()| file.submit_read(at, 4));
        on(at, |clerk, at| clerk.requests.purge_and_wait(at));
        let cancelled = Some(Err(Status::Cancelled));
        assert_eq!([first, second].map(|read| read.take(at).map(|end| end.result)), [cancelled.clone(), cancelled]);
        assert_eq!(file.write(at, b"x"), Err(Status::NotAccepting));
        on(at, |clerk, at| {
            clerk.requests.start(at);
            true
        });
        assert_eq!(file.write(at, b"x"), Ok(1));
    });
}

/// Two who wait for different things of one queue: what the one is woken for in vain, the other does not miss.
#[test]
fn each_who_waits_for_a_queue_is_woken() {
    use super::clerk::PUT_AWAY;
    for cpus in [1, 2] {
        explore("two wait", cpus, Bells::default, |pnp, file, at| {
            let clerk = pnp.device::<Clerk>(NAME).expect("it is there");
            let put_away = [(); 2].map(|()| file.submit_control(at, PUT_AWAY, &[], 0));
            let waits: [fn(&Clerk, &mut At<'_, Passive>) -> bool; 2] =
                [|clerk, at| clerk.drawer.stop_and_wait(at), |clerk, at| clerk.drawer.drain_and_wait(at)];
            let [stops, drains] = waits.map(|wait| {
                let theirs = clerk.clone();
                spawn(at, move |at| assert!(theirs.with(at, wait).expect("it is started")))
            });
            let serve_one = |at: &mut At<'_, Passive>| {
                let served = clerk.with(at, |clerk, at| {
                    let Some(AnyRequest::Control(request)) = clerk.drawer.retrieve(at) else { panic!("one waits") };
                    request.complete(at, b"")
                });
                let _done = served.expect("it is started");
            };
            serve_one(at);
            // The other request still waits: the one is done waiting, the other is not.
            join(stops, at);
            serve_one(at);
            join(drains, at);
            assert!(put_away.iter().all(|request| request.take(at).is_some()));
        });
    }
}

/// Three who cancel or wait, on a sequential queue: each request ends once, whatever runs when.
#[test]
fn many_submitters() {
    let submit = |file: &File, at: &mut At<'_, Passive>| {
        let read = file.submit_read(at, 4);
        read.cancel(at);
        assert!(matches!(end_of(&read, at), Ok(4) | Err(Status::Cancelled)));
        assert_eq!(file.write(at, b"ab"), Ok(2));
    };
    explorer("many submitters", 3).run(scenario(Bells::default, move |_, file, at| {
        let others = [(); 2].map(|()| {
            let theirs = file.clone();
            spawn(at, move |at| submit(&theirs, at))
        });
        submit(file, at);
        others.into_iter().for_each(|other| join(other, at));
    }));
}
