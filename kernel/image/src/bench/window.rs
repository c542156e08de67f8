//! How the kernel and `cargo xtask bench` agree on what is traced.
//!
//! The kernel says `TRACE <window>` on the console and waits for a byte; meanwhile xtask lets QEMU log every
//! instruction. It runs the code between [`mark`]s, whose address xtask knows, says `DONE <window>` and waits again
//! until the log is off. So what is measured carries no instrumentation: the drivers are the ones that ship.

use hal_x86_64::console;
use ke::{At, Level, Passive};

/// The begin and the end of what a window measures: xtask looks for this function in the log.
#[inline(never)]
pub fn mark() {
    core::hint::black_box(());
}

/// Runs `code` once to warm up, then once under xtask's eyes.
pub fn traced(window: &str, at: &mut At<'_, Passive>, mut code: impl FnMut(&mut At<'_, Passive>)) {
    code(at);
    open(window, at);
    code(at);
    close(window, at);
}

/// From here on xtask sees every instruction.
pub fn open<L: Level>(window: &str, at: &mut At<'_, L>) {
    at.print(format_args!("TRACE {window}\n"));
    wait_for_byte();
}

/// Until here.
pub fn close<L: Level>(window: &str, at: &mut At<'_, L>) {
    at.print(format_args!("DONE {window}\n"));
    wait_for_byte();
}

fn wait_for_byte() {
    while console::read_byte().is_none() {
        core::hint::spin_loop();
    }
}
