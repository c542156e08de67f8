//! The console: the first 16550 (COM1), polled.
//!
//! A driver may send through the same chip. Who has it send a text borrows the console for that long, see [`lend`]: what is
//! printed meanwhile waits and comes right after, so that texts do not mix. A bug check takes the console back.

use crate::{held::Held, lock::MaskedLock};
use alloc::sync::Arc;
use core::fmt::{self, Write};
use x86_64::instructions::port::Port;

struct Uart {
    data: Port<u8>,
    interrupt_enable: Port<u8>,
    fifo_control: Port<u8>,
    line_control: Port<u8>,
    modem_control: Port<u8>,
    line_status: Port<u8>,
}

/// The first of the console's ports.
pub const COM1: u16 = 0x3f8;
const RECEIVED: u8 = 1 << 0;
const CAN_SEND: u8 = 1 << 5;

/// The longest text that waits while the console is lent.
const HELD: usize = 8192;

struct Console {
    uart: Uart,
    is_lent: bool,
    /// What whoever has borrowed the console sends; from before it begins until after it ends.
    elsewhere: Option<Arc<str>>,
    /// What was printed since.
    held: Held<HELD>,
}

static CONSOLE: MaskedLock<Console> = MaskedLock::new(Console {
    uart: Uart {
        data: Port::new(COM1),
        interrupt_enable: Port::new(COM1 + 1),
        fifo_control: Port::new(COM1 + 2),
        line_control: Port::new(COM1 + 3),
        modem_control: Port::new(COM1 + 4),
        line_status: Port::new(COM1 + 5),
    },
    is_lent: false,
    elsewhere: None,
    held: Held::new(),
});

/// 115200 baud, 8 data bits, no parity, no interrupts.
pub fn init() {
    let uart = &mut CONSOLE.lock().uart;
    // SAFETY: COM1 is nobody else's; with the divisor latch open the first two registers are the divisor.
    unsafe {
        uart.interrupt_enable.write(0);
        uart.line_control.write(0x80);
        uart.data.write(1);
        uart.interrupt_enable.write(0);
        uart.line_control.write(0x03);
        uart.fifo_control.write(0x07);
        uart.modem_control.write(0x03);
    }
}

/// Writes text. Any IRQL; waits for the line, unless the console is lent.
pub fn print(text: fmt::Arguments<'_>) {
    let console = &mut *CONSOLE.lock();
    // The only error is one of a `Display` of the text, and there is nobody else to tell.
    let _ = if console.is_lent { console.held.write_fmt(text) } else { console.uart.write_fmt(text) };
}

/// The console, borrowed. Given back when it is dropped: then what has been printed since comes.
#[must_use = "the console is given back at once if this is not kept"]
pub struct Lent(());

/// Lends the console to a driver that is to send `text` by other means. One at a time.
pub fn lend(text: Arc<str>) -> Lent {
    let console = &mut *CONSOLE.lock();
    debug_assert!(!console.is_lent, "the borrowers take turns");
    console.is_lent = true;
    console.elsewhere = Some(text);
    Lent(())
}

impl Drop for Lent {
    fn drop(&mut self) {
        let sent = {
            let console = &mut *CONSOLE.lock();
            console.take_back();
            console.elsewhere.take()
        };
        // Not under the lock: the heap's lock comes before it.
        drop(sent);
    }
}

impl Console {
    fn take_back(&mut self) {
        self.is_lent = false;
        // As in `print`.
        let _ = self.held.print_to(&mut self.uart);
    }
}

/// The next byte that came in, if any. Any IRQL; does not wait.
pub fn read_byte() -> Option<u8> {
    let uart = &mut CONSOLE.lock().uart;
    // SAFETY: reading the status has no effect, and the data register is read only when it holds a byte.
    unsafe { (uart.line_status.read() & RECEIVED != 0).then(|| uart.data.read()) }
}

/// Opens the console's lock for the report of a bug check, and takes the console back if it is lent. The text that was sent by
/// other means comes once more, because nobody knows how much of it has come.
///
/// # Safety
/// Nobody who holds the lock, or has borrowed the console, runs again.
pub unsafe fn force_open() {
    // SAFETY: by the contract.
    unsafe { CONSOLE.force_open() };
    let console = &mut *CONSOLE.lock();
    if console.is_lent {
        if let Some(text) = &console.elsewhere {
            // As in `print`.
            let _ = writeln!(console.uart, "\n[not known to have been printed:]\n{text}");
        }
        console.take_back();
    }
}

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.send(b'\r');
            }
            self.send(byte);
        }
        Ok(())
    }
}

impl Uart {
    fn send(&mut self, byte: u8) {
        // SAFETY: reading the status has no effect; writing data when there is room sends it.
        unsafe {
            while self.line_status.read() & CAN_SEND == 0 {
                core::hint::spin_loop();
            }
            self.data.write(byte);
        }
    }
}
