//! The machine that a boot asks QEMU for, as QEMU's command line.
//!
//! The kernel's own command line is `apic=... exec=...`: the commands come last, so they may contain spaces.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

/// Which mode the kernel puts the local APICs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Apic {
    /// x2APIC where the CPU has it.
    Auto,
    /// The memory-mapped mode.
    Xapic,
    /// The mode by model-specific registers.
    X2apic,
}

impl fmt::Display for Apic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Apic::Auto => "auto",
            Apic::Xapic => "xapic",
            Apic::X2apic => "x2apic",
        })
    }
}

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// QEMU's translator: works everywhere.
    Tcg,
    /// The host's virtualization.
    Kvm,
    /// Whatever the arguments after `--` say.
    Stated,
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Accel::Tcg => "TCG",
            Accel::Kvm => "KVM",
            Accel::Stated => "as stated",
        })
    }
}

/// One machine with one kernel in it.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The kernel's ELF.
    pub kernel: PathBuf,
    pub accel: Accel,
    /// Number of CPUs.
    pub smp: u32,
    /// RAM, in QEMU's notation.
    pub memory: String,
    pub apic: Apic,
    /// More of the kernel's settings, each with a space before it.
    pub settings: String,
    /// The monitor's commands, separated by `;`. `None`: its prompt.
    pub exec: Option<String>,
    /// Count instructions and let nothing else move the clock: the same run every time.
    pub icount: bool,
    /// More of QEMU's own arguments.
    pub extra: Vec<String>,
}

impl Machine {
    /// A machine like `cargo xtask run` boots by default.
    pub fn new(kernel: &Path) -> Self {
        Machine {
            kernel: kernel.to_owned(),
            accel: Accel::Tcg,
            smp: 2,
            memory: "512M".into(),
            apic: Apic::Auto,
            settings: String::new(),
            exec: None,
            icount: false,
            extra: Vec::new(),
        }
    }

    /// The kernel's command line.
    pub fn kernel_command_line(&self) -> String {
        match &self.exec {
            Some(commands) => format!("apic={}{} exec={commands}", self.apic, self.settings),
            None => format!("apic={}{}", self.apic, self.settings),
        }
    }

    /// QEMU's arguments.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["-M".into(), "q35".into(), "-cpu".into(), "max".into()];
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        match self.accel {
            Accel::Tcg => add(&["-accel", "tcg"]),
            Accel::Kvm => add(&["-accel", "kvm"]),
            Accel::Stated => {}
        }
        add(&["-smp", &self.smp.to_string(), "-m", &self.memory]);
        add(&["-append", &self.kernel_command_line()]);
        add(&["-serial", if self.exec.is_some() { "stdio" } else { "mon:stdio" }]);
        add(&["-display", "none", "-no-reboot"]);
        add(&["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-device", "edu"]);
        if self.icount {
            add(&["-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "clock=vm"]);
        }
        arguments.push("-kernel".into());
        arguments.push(self.kernel.clone().into());
        arguments.extend(self.extra.iter().map(OsString::from));
        arguments
    }
}

/// Whether QEMU arguments choose an accelerator themselves.
pub fn states_accel(extra: &[String]) -> bool {
    extra.iter().any(|word| matches!(word.as_str(), "-accel" | "--accel" | "-enable-kvm" | "--enable-kvm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(machine: &Machine) -> String {
        machine.arguments().iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_commands_come_last_and_keep_their_spaces() {
        let mut machine = Machine::new(Path::new("kernel"));
        assert_eq!(machine.kernel_command_line(), "apic=auto");
        machine.settings = " lines=edu#1".into();
        assert_eq!(machine.kernel_command_line(), "apic=auto lines=edu#1");
        machine.apic = Apic::Xapic;
        machine.exec = Some("devices; edu factorial 12".into());
        assert_eq!(machine.kernel_command_line(), "apic=xapic lines=edu#1 exec=devices; edu factorial 12");
        machine.settings.clear();
        assert_eq!(machine.kernel_command_line(), "apic=xapic exec=devices; edu factorial 12");
        let words = machine.arguments();
        let append = words.iter().position(|word| word == "-append").expect("there is a kernel command line");
        assert_eq!(words[append + 1], "apic=xapic exec=devices; edu factorial 12", "one argument, unquoted");
    }

    #[test]
    fn a_machine_has_an_edu_a_way_out_and_what_was_asked_for() {
        let mut machine = Machine::new(Path::new("kernel"));
        machine.smp = 4;
        machine.memory = "6G".into();
        machine.extra = vec!["-device".into(), "edu".into()];
        let line = line(&machine);
        assert!(line.starts_with("-M q35 -cpu max -accel tcg -smp 4 -m 6G "), "{line}");
        assert!(line.ends_with("-kernel kernel -device edu"), "{line}");
        assert!(line.contains("-device isa-debug-exit,iobase=0xf4,iosize=4 -device edu"), "{line}");
        assert!(!line.contains("icount"), "{line}");
    }

    #[test]
    fn counting_instructions_fixes_every_source_of_chance() {
        let machine = Machine { icount: true, smp: 1, ..Machine::new(Path::new("kernel")) };
        assert!(line(&machine).contains("-icount shift=0,sleep=off -seed 1 -rtc clock=vm"));
    }

    #[test]
    fn a_stated_accelerator_is_left_alone() {
        assert!(states_accel(&["-accel".into(), "tcg,thread=single".into()]));
        assert!(!states_accel(&["-device".into(), "edu".into()]));
        let machine = Machine { accel: Accel::Stated, ..Machine::new(Path::new("kernel")) };
        assert!(!line(&machine).contains("-accel"));
    }
}
