//! What this machine's QEMU can really do, by trying it.
//!
//! A `/dev/kvm` may open and then hang at the guest's first interrupt, or be emulated itself and slower than QEMU's own
//! translator. So KVM counts only after a whole boot under it that is no slower than the same boot under TCG. The
//! answer holds until the host restarts and is remembered in the target directory.

use crate::{
    boot::{self, Console},
    machine::{Accel, Apic, Machine},
    setup::Qemu,
    status::Ending,
    symbols::Symbols,
};
use anyhow::{Result, bail};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How long a trial boot under TCG may take until the monitor has run one command. It needs well under a second.
const TRIAL_LIMIT: Duration = Duration::from_secs(30);

/// What a trial under KVM gets at least, so that a short hiccup does not decide.
const KVM_GRACE: Duration = Duration::from_secs(1);

/// KVM where a kernel has booted under it in good time, else TCG.
pub fn choose(qemu: &Qemu, kernel: &Path, symbols: &Symbols) -> Result<Accel> {
    if fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(Accel::Tcg);
    }
    let memory = Memory::of_this_host(qemu, kernel);
    if let Some(works) = memory.recall() {
        return Ok(if works { Accel::Kvm } else { Accel::Tcg });
    }
    eprintln!("Trying whether KVM is of use here");
    let trial = |accel, limit| {
        let machine = Machine { accel, exec: Some("help".into()), ..Machine::new(kernel) };
        boot::boot(&qemu.program, &machine, symbols, Console::Quiet, Some(limit))
    };
    let start = Instant::now();
    trial(Accel::Tcg, TRIAL_LIMIT)?;
    let outcome = trial(Accel::Kvm, start.elapsed().max(KVM_GRACE))?;
    let works = outcome.ending == Ending::Success;
    if !works {
        eprintln!("KVM is here, but slower than TCG or not working: using TCG");
    }
    memory.remember(works);
    Ok(if works { Accel::Kvm } else { Accel::Tcg })
}

/// Whether `accel` offers guests an x2APIC: QEMU's TCG learnt it late, and only warns when asked for what it lacks.
pub fn has_x2apic(qemu: &Qemu, accel: Accel) -> bool {
    let name = if accel == Accel::Kvm { "kvm" } else { "tcg" };
    let child = Command::new(&qemu.program)
        .args(["-M", "q35", "-accel", name, "-cpu", "qemu64,+x2apic,enforce"])
        .args(["-nodefaults", "-display", "none", "-S", "-monitor", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    // A QEMU that refused the CPU is gone already and reads nothing: its status tells.
    child.stdin.take().map(|mut input| input.write_all(b"quit\n").ok());
    child.wait().is_ok_and(|status| status.success())
}

/// Refuses a boot in x2APIC mode where there is none.
pub fn check_apic(qemu: &Qemu, machine: &Machine) -> Result<()> {
    if machine.apic == Apic::X2apic && !has_x2apic(qemu, machine.accel) {
        bail!(
            "QEMU {} has no x2APIC under {}: take a newer QEMU (Debian's backports have one), `--apic xapic` or \
             `--apic auto`",
            qemu.version,
            machine.accel
        );
    }
    Ok(())
}

/// Where the answer about KVM is kept: a file named after the QEMU and this start of the host.
struct Memory(Option<PathBuf>);

impl Memory {
    fn of_this_host(qemu: &Qemu, kernel: &Path) -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let beside = kernel.parent();
        Memory(boot_id.zip(beside).map(|(id, beside)| beside.join(format!("kvm-{}-{}", qemu.version, id.trim()))))
    }

    fn recall(&self) -> Option<bool> {
        Some(fs::read_to_string(self.0.as_ref()?).ok()? == "works")
    }

    fn remember(&self, works: bool) {
        if let Some(file) = &self.0 {
            // Without the file the next run tries again.
            fs::write(file, if works { "works" } else { "no" }).ok();
        }
    }
}
