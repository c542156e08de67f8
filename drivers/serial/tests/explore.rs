//! The driver on a model of the chip, under every schedule within the bound: bytes come, go and interrupt whenever they like.

use framework::{DeviceRef, Driver, File, Pnp, prelude::*};
use hal_sim::{Device, Explorer, Setup, model::Uart, run_once};
use ke::thread::{self, ThreadOptions};
use serial::{Counters, Serial};
use std::time::Duration;

/// Longer than any byte takes.
const A_WHILE: u64 = 1_000_000;

/// Runs `f` on a started port; somebody begins to send `text` then.
fn on_port(
    machine: &mut Setup,
    uart: Uart,
    text: &[u8],
    f: impl FnOnce(&Pnp, DeviceRef<Serial>, &Device<Uart>, &mut At<'_, Passive>) + Send + 'static,
) {
    let (uart, text) = (machine.isa_device(uart), text.to_vec());
    machine.main(move |at| {
        let pnp = Pnp::start(at, &hal_sim::platform(), &[Driver::of::<Serial>()]);
        let port = pnp.device("serial#0").expect("it is there");
        // Not before: switching its queues on empties them.
        uart.with(|uart| uart.send_later(&text));
        f(&pnp, port, &uart, at);
        pnp.shut_down(at);
    });
}

fn explore(name: &str, cpus: usize, setup: impl Fn(&mut Setup) + 'static) {
    Explorer::new(&format!("serial {name} on {cpus}")).cpus(cpus).limit(Duration::from_millis(500)).run(setup);
}

fn open(pnp: &Pnp) -> File {
    pnp.open("serial#0").expect("it is there")
}

/// Reads as many bytes as `text` has, and compares.
fn expect(file: &File, at: &mut At<'_, Passive>, text: &[u8]) {
    let (mut received, mut part) = (Vec::new(), [0; 8]);
    while received.len() < text.len() {
        let n = file.read(at, &mut part).expect("it is not stopped meanwhile");
        received.extend_from_slice(&part[..n]);
    }
    assert_eq!(received, text);
}

/// Waits until the chip has sent all of `text`.
fn expect_sent(uart: &Device<Uart>, at: &mut At<'_, Passive>, text: &[u8]) {
    while uart.with(|uart| uart.sent().len()) < text.len() {
        assert!(Event::new().wait_timeout(at, A_WHILE).is_err(), "nobody sets it");
    }
    uart.with(|uart| assert_eq!(uart.sent(), text));
}

#[test]
fn what_arrives_is_read_in_order() {
    for cpus in [1, 2] {
        explore("reads", cpus, |machine| {
            on_port(machine, Uart::new(), b"abc", |pnp, _, _, at| expect(&open(pnp), at, b"abc"));
        });
    }
}

#[test]
fn what_is_written_is_in_the_chip_when_the_call_returns() {
    // More than the chip takes at once.
    const TEXT: &[u8] = b"the chip has room for sixteen bytes";
    for cpus in [1, 2] {
        explore("writes", cpus, |machine| {
            on_port(machine, Uart::new(), b"", |pnp, port, uart, at| {
                assert_eq!(open(pnp).write(at, TEXT), Ok(TEXT.len()));
                let given = port.with(at, |serial, at| serial.counters(at).sent);
                assert_eq!(given, Ok(TEXT.len() as u64));
                expect_sent(uart, at, TEXT);
            });
        });
    }
}

#[test]
fn what_is_written_is_sent_while_bytes_arrive() {
    for cpus in [1, 2] {
        explore("writes and reads", cpus, |machine| {
            on_port(machine, Uart::new().wavers(), b"ab", |pnp, _, uart, at| {
                let writer = open(pnp);
                let write = move |at: &mut At<'_, Passive>| assert_eq!(writer.write(at, b"xyz"), Ok(3));
                let writer = thread::spawn(at, ThreadOptions::named("writer"), write).expect("there is memory");
                expect(&open(pnp), at, b"ab");
                writer.join(at).expect("no device is used here");
                expect_sent(uart, at, b"xyz");
            });
        });
    }
}

/// More than the chip holds: it has to ask for more, time and again.
#[test]
fn a_long_text_is_sent_completely() {
    run_once(2, |machine| {
        on_port(machine, Uart::new(), b"", |pnp, _, uart, at| {
            let text: Vec<u8> = (0..100).collect();
            assert_eq!(open(pnp).write(at, &text), Ok(100));
            expect_sent(uart, at, &text);
        });
    });
}

/// Arrives in bursts that fill the chip while nobody reads.
#[test]
fn bursts_are_kept_until_somebody_reads() {
    run_once(1, |machine| {
        let text: Vec<u8> = (0..80).collect();
        on_port(machine, Uart::new(), &text.clone(), move |pnp, port, _, at| {
            expect(&open(pnp), at, &text);
            let counters = port.with(at, |serial, at| serial.counters(at)).expect("it is started");
            let Counters { received, dropped, overruns, .. } = counters;
            assert_eq!((received, dropped, overruns), (80, 0, 0));
        });
    });
}

#[test]
fn a_stop_sends_what_was_written_and_wakes_who_reads() {
    for cpus in [1, 2] {
        explore("stop", cpus, |machine| {
            on_port(machine, Uart::new(), b"", |pnp, _, uart, at| {
                let reader = open(pnp);
                let read = move |at: &mut At<'_, Passive>| {
                    let read = reader.read(at, &mut [0; 4]);
                    assert!(matches!(read, Err(Status::Gone | Status::NoQueue { .. })), "{read:?}");
                };
                let reader = thread::spawn(at, ThreadOptions::named("reader"), read).expect("there is memory");
                let written = open(pnp).submit_write(at, b"bye");
                pnp.stop_device(at, "serial#0").expect("it is started");
                let end = written.take(at).expect("it has ended with the device").result;
                assert!(matches!(end, Ok(3) | Err(Status::Gone)), "{end:?}");
                reader.join(at).expect("no device is used here");
                expect_sent(uart, at, b"bye");
            });
        });
    }
}

#[test]
fn bytes_that_come_while_it_is_stopped_are_there_after_the_restart() {
    explore("restart", 1, |machine| {
        on_port(machine, Uart::new(), b"", |pnp, _, uart, at| {
            pnp.stop_device(at, "serial#0").expect("it is started");
            uart.with(|uart| uart.send_later(b"hi"));
            pnp.start_device(at, "serial#0").expect("it is stopped");
            expect(&open(pnp), at, b"hi");
        });
    });
}

#[test]
fn a_reader_waits_for_bytes_through_sleep_and_one_that_waits_too_long_gives_up() {
    explore("sleep", 1, |machine| {
        on_port(machine, Uart::new(), b"", |pnp, _, uart, at| {
            let file = open(pnp);
            assert_eq!(file.with_timeout(A_WHILE).read(at, &mut [0; 4]), Err(Status::TimedOut));
            let waiting = file.submit_read(at, 4);
            pnp.power_down_device(at, "serial#0", PowerState::D3).expect("it is started");
            pnp.power_up_device(at, "serial#0").expect("it sleeps");
            uart.with(|uart| uart.send_later(b"z"));
            waiting.wait(at).expect("no device is used by reference");
            assert_eq!(waiting.take(at).map(|end| end.data), Some(b"z".to_vec()));
        });
    });
}
