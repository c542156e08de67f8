//! How a boot ended. The monitor leaves QEMU through `isa-debug-exit`, which turns a value `v` into the process status
//! `(v << 1) | 1`: one status a kind, so a script can tell a panic in an ISR from a command that failed.

use std::fmt;

/// The end of one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every command succeeded.
    Success,
    /// A command of the monitor failed.
    CommandFailed,
    /// A panic in a thread.
    Panic,
    /// A CPU exception.
    Fault,
    /// A stack ran into its guard page.
    StackOverflow,
    /// A panic in an `evt_isr`.
    PanicInIsr,
    /// A panic in an `evt_dpc`.
    PanicInDpc,
    /// Any other bug check.
    BugCheck,
    /// We ended QEMU because its time was up.
    TimedOut,
    /// QEMU ended without a status of ours: it could not start, was quit from its monitor, or was killed.
    Qemu(Option<i32>),
}

use Ending::*;

/// The endings that the kernel itself reports, each with QEMU's process status.
const REPORTED: [(i32, Ending); 8] = [
    (33, Success),
    (35, CommandFailed),
    (65, Panic),
    (67, Fault),
    (69, StackOverflow),
    (71, PanicInIsr),
    (73, PanicInDpc),
    (75, BugCheck),
];

impl Ending {
    /// The ending that QEMU's process status `code` (`None`: ended by a signal) stands for.
    pub fn from_code(code: Option<i32>) -> Self {
        REPORTED.iter().find(|(status, _)| Some(*status) == code).map_or(Qemu(code), |(_, ending)| *ending)
    }

    /// The status `cargo xtask run` itself ends with: 0, QEMU's own number for a reported ending, 124 for a time-out,
    /// 125 when there is no status of ours. 1 and 2 stay free for xtask's own errors and for a wrong command line.
    pub fn exit_code(self) -> u8 {
        match self {
            Success | Qemu(Some(0)) => 0,
            CommandFailed => 35,
            Panic => 65,
            Fault => 67,
            StackOverflow => 69,
            PanicInIsr => 71,
            PanicInDpc => 73,
            BugCheck => 75,
            TimedOut => 124,
            Qemu(_) => 125,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Success => f.write_str("every command succeeded"),
            CommandFailed => f.write_str("a command failed: its own message is in the output above"),
            Panic => f.write_str("bug check: a thread panicked"),
            Fault => f.write_str("bug check: the CPU raised an exception that nothing handles"),
            StackOverflow => f.write_str("bug check: a stack overflowed into its guard page"),
            PanicInIsr => f.write_str("bug check: an ISR panicked"),
            PanicInDpc => f.write_str("bug check: a DPC panicked"),
            BugCheck => f.write_str("bug check: the kernel stopped itself"),
            TimedOut => f.write_str("the time was up before the commands were done, so QEMU was ended"),
            Qemu(Some(0)) => f.write_str("QEMU was quit"),
            Qemu(Some(code)) => write!(f, "QEMU ended with status {code}, which is none of the kernel's"),
            Qemu(None) => f.write_str("QEMU was killed by a signal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reported_ending_has_a_status_and_a_sentence_of_its_own() {
        let mut codes: Vec<u8> = REPORTED.iter().map(|(_, ending)| ending.exit_code()).collect();
        codes.extend([TimedOut.exit_code(), Qemu(None).exit_code()]);
        let mut sentences: Vec<String> = REPORTED.iter().map(|(_, ending)| ending.to_string()).collect();
        for list in [codes.iter().map(u8::to_string).collect::<Vec<_>>(), std::mem::take(&mut sentences)] {
            let mut unique = list.clone();
            unique.sort();
            unique.dedup();
            assert_eq!(unique.len(), list.len(), "{list:?}");
        }
    }

    #[test]
    fn a_reported_failure_keeps_qemus_number() {
        for (status, ending) in REPORTED {
            assert_eq!(Ending::from_code(Some(status)), ending);
            assert_eq!(i32::from(ending.exit_code()), if ending == Success { 0 } else { status });
        }
        assert_eq!(Ending::from_code(Some(1)), Qemu(Some(1)));
        assert_ne!(Ending::from_code(Some(1)).exit_code(), 0);
    }
}
