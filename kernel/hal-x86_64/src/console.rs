//! The console: the first 16550 (COM1), polled.

use crate::lock::MaskedLock;
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

const COM1: u16 = 0x3f8;
const RECEIVED: u8 = 1 << 0;
const CAN_SEND: u8 = 1 << 5;

static UART: MaskedLock<Uart> = MaskedLock::new(Uart {
    data: Port::new(COM1),
    interrupt_enable: Port::new(COM1 + 1),
    fifo_control: Port::new(COM1 + 2),
    line_control: Port::new(COM1 + 3),
    modem_control: Port::new(COM1 + 4),
    line_status: Port::new(COM1 + 5),
});

/// 115200 baud, 8 data bits, no parity, no interrupts.
pub fn init() {
    let mut uart = UART.lock();
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

/// Writes text. Any IRQL; waits for the line.
pub fn print(text: fmt::Arguments<'_>) {
    // The only error is one of a `Display` of the text, and there is nobody else to tell.
    let _ = UART.lock().write_fmt(text);
}

/// The next byte that came in, if any. Any IRQL; does not wait.
pub fn read_byte() -> Option<u8> {
    let mut uart = UART.lock();
    // SAFETY: reading the status has no effect, and the data register is read only when it holds a byte.
    unsafe { (uart.line_status.read() & RECEIVED != 0).then(|| uart.data.read()) }
}

/// Opens the console's lock for the report of a bug check.
///
/// # Safety
/// Nobody who holds it runs again.
pub unsafe fn force_open() {
    // SAFETY: by the contract.
    unsafe { UART.force_open() };
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
