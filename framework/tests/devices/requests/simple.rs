//! Requests that meet no trouble.

use super::clerk::{COUNT, Clerk, NAME, explore, join, spawn};
use crate::bells::Bells;
use framework::prelude::*;

#[test]
fn a_write_is_done_at_once_and_a_read_when_the_bell_rings() {
    for cpus in [1, 2] {
        explore("write and read", cpus, Bells::default, |_, file, at| {
            assert_eq!(file.write(at, b"hello"), Ok(5));
            let mut answer = [0; 8];
            assert_eq!(file.read(at, &mut answer), Ok(4));
            assert_eq!(&answer[..4], b"rung");
            let mut count = [0; 4];
            assert_eq!(file.control(at, COUNT, &[], &mut count), Ok(4));
            assert_eq!(u32::from_le_bytes(count), 2);
        });
    }
}

#[test]
fn readers_take_turns() {
    for cpus in [1, 2, 3] {
        explore("readers take turns", cpus, Bells::default, |pnp, file, at| {
            let theirs = file.clone();
            let other = spawn(at, move |at| assert_eq!(theirs.read(at, &mut [0; 4]), Ok(4)));
            assert_eq!(file.read(at, &mut [0; 4]), Ok(4));
            join(other, at);
            let clerk = pnp.device::<Clerk>(NAME).expect("it is there");
            let info = |clerk: &Clerk, at: &mut At<'_, Passive>| {
                assert!(clerk.requests.drain_and_wait(at));
                clerk.requests.info(at)
            };
            let info = clerk.with(at, info).expect("it is started");
            assert_eq!((info.returned, info.given, info.waiting), (2, 0, 0));
        });
    }
}

#[test]
fn what_does_not_fit_or_is_not_served_says_so() {
    explore("errors", 1, Bells::default, |pnp, file, at| {
        let too_small = file.control(at, COUNT, &[], &mut [0; 3]);
        assert_eq!(too_small, Err(Status::BufferTooSmall { need: 4, have: 3 }));
        assert_eq!(file.control(at, 99, &[], &mut []), Err(Status::InvalidRequest));
        assert_eq!(pnp.open("clerk#1").map(drop), Err(Status::NoSuchDevice));
    });
}

/// More than anybody serves in a row: a work item goes on with them.
#[test]
fn a_long_queue_is_served_to_its_end() {
    explore("long queue", 2, Bells::default, |pnp, file, at| {
        let clerk = pnp.device::<Clerk>(NAME).expect("it is there");
        clerk.with(at, |clerk, at| clerk.requests.stop(at)).expect("it is started");
        let writes: Vec<_> = (0..200).map(|_| file.submit_write(at, b"x")).collect();
        clerk.with(at, |clerk, at| clerk.requests.start(at)).expect("it is started");
        for write in writes {
            write.wait(at).expect("it uses no device by reference");
            assert_eq!(write.take(at).map(|end| end.result), Some(Ok(1)));
        }
    });
}
