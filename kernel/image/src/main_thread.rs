//! The machine's first thread.

use hal_x86_64::{
    boot::BootInfo,
    debug_exit::{self, ExitCode},
};
use ke::{At, Passive};

/// Runs at PASSIVE once all CPUs are up.
pub fn main(at: &mut At<'_, Passive>, boot: &'static BootInfo) {
    at.print(format_args!("dirql: {} CPUs, command line \"{}\"\n", at.cpu_count(), boot.cmdline()));
    debug_exit::exit(ExitCode::Ok);
}
