//! The driver on a model of the chip, under every schedule within the bound: bytes come, go and interrupt whenever they like.

use framework::{DeviceRef, Driver, Pnp, prelude::*};
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

/// Reads as many bytes as `text` has, and compares.
fn expect(serial: &Serial, at: &mut At<'_, Passive>, text: &[u8]) {
    let (mut received, mut part) = (Vec::new(), [0; 8]);
    while received.len() < text.len() {
        let n = serial.read(at, &mut part).expect("it is not stopped meanwhile");
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
            on_port(machine, Uart::new(), b"abc", |_, port, _, at| {
                port.with(at, |serial, at| expect(serial, at, b"abc")).expect("it is started");
            });
        });
    }
}

#[test]
fn what_is_written_through_is_in_the_chip_when_the_call_returns() {
    // More than the chip takes at once.
    const TEXT: &[u8] = b"the chip has room for sixteen bytes";
    for cpus in [1, 2] {
        explore("writes through", cpus, |machine| {
            on_port(machine, Uart::new(), b"", |_, port, uart, at| {
                let given = port.with(at, |serial, at| {
                    assert_eq!(serial.write_through(at, TEXT), Ok(()));
                    serial.counters(at).sent
                });
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
            on_port(machine, Uart::new().wavers(), b"ab", |_, port, uart, at| {
                let writer = port.clone();
                let write = move |at: &mut At<'_, Passive>| {
                    let written = writer.with(at, |serial, at| serial.write(at, b"xyz"));
                    assert_eq!(written, Ok(Ok(())));
                };
                let writer = thread::spawn(at, ThreadOptions::named("writer"), write).expect("there is memory");
                port.with(at, |serial, at| expect(serial, at, b"ab")).expect("it is started");
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
        on_port(machine, Uart::new(), b"", |_, port, uart, at| {
            let text: Vec<u8> = (0..100).collect();
            port.with(at, |serial, at| serial.write(at, &text)).expect("it is started").expect("nor stopped");
            expect_sent(uart, at, &text);
        });
    });
}

/// Arrives in bursts that fill the chip while nobody reads.
#[test]
fn bursts_are_kept_until_somebody_reads() {
    run_once(1, |machine| {
        let text: Vec<u8> = (0..80).collect();
        on_port(machine, Uart::new(), &text.clone(), move |_, port, _, at| {
            let read = |serial: &Serial, at: &mut At<'_, Passive>| {
                expect(serial, at, &text);
                let Counters { received, dropped, overruns, .. } = serial.counters(at);
                assert_eq!((received, dropped, overruns), (80, 0, 0));
            };
            port.with(at, read).expect("it is started");
        });
    });
}

#[test]
fn a_stop_sends_what_was_written_and_wakes_who_reads() {
    for cpus in [1, 2] {
        explore("stop", cpus, |machine| {
            on_port(machine, Uart::new(), b"", |pnp, port, uart, at| {
                let reader = port.clone();
                let read = move |at: &mut At<'_, Passive>| {
                    let read = reader.with(at, |serial, at| serial.read(at, &mut [0; 4]));
                    assert!(matches!(read, Ok(Err(_)) | Err(Status::Gone)), "{read:?}");
                };
                let reader = thread::spawn(at, ThreadOptions::named("reader"), read).expect("there is memory");
                port.with(at, |serial, at| serial.write(at, b"bye")).expect("it is started").expect("nor stopped");
                pnp.stop_device(at, "serial#0").expect("it is started");
                reader.join(at).expect("no device is used here");
                expect_sent(uart, at, b"bye");
            });
        });
    }
}

#[test]
fn bytes_that_come_while_it_is_stopped_are_there_after_the_restart() {
    explore("restart", 1, |machine| {
        on_port(machine, Uart::new(), b"", |pnp, port, uart, at| {
            pnp.stop_device(at, "serial#0").expect("it is started");
            uart.with(|uart| uart.send_later(b"hi"));
            pnp.start_device(at, "serial#0").expect("it is stopped");
            port.with(at, |serial, at| expect(serial, at, b"hi")).expect("it is started");
        });
    });
}
