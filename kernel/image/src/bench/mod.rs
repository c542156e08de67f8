//! The kernel's half of `cargo xtask bench`: what is measured, on the shipped drivers and through their public API.
//!
//! The figures are not taken here. This opens windows ([`window`]), and xtask counts what runs in them.

mod dpcs;
mod objects;
mod rows;
mod window;
mod workbench;

pub use workbench::Workbench;

/// Eight times the same in a row, without a loop's instructions between.
macro_rules! eight_times {
    ($code:expr) => {
        $code;
        $code;
        $code;
        $code;
        $code;
        $code;
        $code;
        $code;
    };
}
use eight_times;

use alloc::string::String;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use framework::Pnp;
use hal_x86_64::time;
use ke::{At, Passive};

/// The time stamp counter when the drivers had their devices.
static BOOTED: AtomicU64 = AtomicU64::new(0);

/// Notes that boot has come as far as the drivers' callbacks.
pub fn note_boot() {
    BOOTED.store(time::tsc(), Relaxed);
}

/// The command `bench`. Without xtask at the other end of the console it waits for somebody to type.
pub fn run(pnp: &Pnp, at: &mut At<'_, Passive>) -> Result<(), String> {
    at.print(format_args!("BENCH boot {}\n", BOOTED.load(Relaxed)));
    // A tick would be counted with what it falls into. What the verifier costs has rows of its own.
    ke::watchdog::stop(at);
    ke::verifier::stop(at);
    rows::interrupts(pnp, at)?;
    rows::lines(pnp, at)?;
    rows::locks(at);
    objects::interrupts(at)?;
    objects::chains(at)?;
    objects::connects(at)?;
    dpcs::queue(at);
    workbench::objects(pnp, at)?;
    workbench::requests(pnp, at)?;
    workbench::wait_locks(at)?;
    rows::verified(pnp, at)
}
