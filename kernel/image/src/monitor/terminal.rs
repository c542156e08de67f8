//! The monitor's console: by interrupt, through the serial port's driver, while that is started; else the kernel's own, which
//! polls the same chip.
//!
//! Text has been given to the chip when printing it returns, so nothing is under way when the one takes over from the other.
//! What was typed goes through one queue, which whoever reads from the chip fills.
//!
//! **Invariant:** the driver sends only while the kernel's console is lent, so the two never send at once.

use super::port::Port;
use alloc::{collections::VecDeque, format, sync::Arc};
use core::fmt;
use framework::{DeviceState, Pnp};
use hal_x86_64::console;
use ke::{At, Event, Passive, SpinLock, WaitLock};

/// The console's serial port, while its driver works for the monitor.
static PORT: SpinLock<Option<Port>> = SpinLock::new(None);
/// Held by who has the driver send.
static TURN: WaitLock<()> = WaitLock::new(());
/// Typed and not yet asked for.
static TYPED: SpinLock<VecDeque<u8>> = SpinLock::new(VecDeque::new());

/// Bytes taken from the driver at a time.
const PIECE: usize = 64;
/// How long the CPU may sleep before the chip is looked at again: no person notices.
const POLL: u64 = 10_000_000;
/// Nanoseconds that printing may take: far more than a full queue at 9600 baud.
const PATIENCE: u64 = 20_000_000_000;

/// Lets the driver of the console's port work for the monitor, if it is started.
pub fn take(at: &mut At<'_, Passive>, pnp: &Pnp) {
    let rows = pnp.acpi_devices(at);
    let ours = rows.iter().find(|row| {
        row.state == DeviceState::Started && row.acpi.ports.first().is_some_and(|ports| ports.first() == console::COM1)
    });
    let port = ours.and_then(|row| {
        let name = row.name.as_ref()?;
        Port::open(pnp, name)
    });
    *PORT.acquire(at) = port;
}

/// From here on the kernel's own console reads and prints: before the driver is stopped.
pub fn give_back(at: &mut At<'_, Passive>) {
    let Some(port) = PORT.acquire(at).take() else { return };
    // If it is not started any more it has nothing for us.
    let _ = port.device.with(at, |serial, at| {
        serial.hold_received(at);
        let mut piece = [0; PIECE];
        loop {
            match serial.try_read(at, &mut piece) {
                0 => return,
                n => TYPED.acquire(at).extend(&piece[..n]),
            }
        }
    });
}

/// Prints for whoever sits at the console. Returns when all of it has been given to the chip. PASSIVE.
pub fn print(at: &mut At<'_, Passive>, text: fmt::Arguments<'_>) {
    let port = PORT.acquire(at).clone();
    if !port.is_some_and(|port| print_through(&port, text, at)) {
        at.print(text);
    }
}

/// `false`: the driver is not started, or cannot send.
fn print_through(port: &Port, text: fmt::Arguments<'_>, at: &mut At<'_, Passive>) -> bool {
    let text = format!("{text}");
    let bytes = text.replace('\n', "\r\n");
    let _turn = TURN.acquire(at);
    let _lent = console::lend(Arc::from(text));
    port.file.with_timeout(PATIENCE).write(at, bytes.as_bytes()).is_ok()
}

/// The next byte that is typed; waits for it. PASSIVE.
pub fn next_byte(at: &mut At<'_, Passive>) -> u8 {
    let pause = Event::new();
    loop {
        if let Some(byte) = TYPED.acquire(at).pop_front() {
            return byte;
        }
        let port = PORT.acquire(at).clone();
        let mut piece = [0; PIECE];
        match port.map(|port| port.file.read(at, &mut piece)) {
            Some(Ok(n)) => TYPED.acquire(at).extend(&piece[..n]),
            // There is no driver, or it is being stopped.
            _ => match console::read_byte() {
                Some(byte) => return byte,
                // Nobody sets it: the CPU sleeps meanwhile, or does other work.
                None => _ = pause.wait_timeout(at, POLL),
            },
        }
    }
}
