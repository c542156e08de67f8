//! The I/O APICs: where interrupt lines become vectors.
//!
//! The registers are the `x2apic` crate's business, which does them well, with one care: it writes the half of an
//! entry with the mask first, so an entry is written masked and unmasked afterwards.

use crate::{lock::MaskedLock, memory};
use alloc::vec::Vec;
use core::fmt;
use spin::Once;
use x2apic::ioapic::{IoApic, IrqFlags, IrqMode, RedirectionTableEntry};

/// One I/O APIC as the MADT describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoApicInfo {
    /// Where its registers are.
    pub physical: u64,
    /// The number of its first line among all lines of the machine (the global system interrupt base).
    pub first_line: u32,
}

struct Controller {
    first_line: u32,
    lines: u32,
    registers: MaskedLock<IoApic>,
}

static CONTROLLERS: Once<Vec<Controller>> = Once::new();

/// Where a line's interrupt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The vector.
    pub vector: u8,
    /// The APIC id of the CPU.
    pub apic_id: u32,
    /// Level-triggered, else edge-triggered.
    pub level: bool,
    /// Active when low, else when high.
    pub active_low: bool,
}

/// Why a line cannot be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineError {
    /// No I/O APIC has the line.
    NoSuchLine(u32),
    /// The CPU's APIC id does not fit the 8 bits of a redirection entry.
    Unreachable(u32),
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::NoSuchLine(line) => write!(f, "no I/O APIC has interrupt line {line}"),
            LineError::Unreachable(id) => write!(f, "an I/O APIC cannot reach the CPU with APIC id {id}: more than 8 bits"),
        }
    }
}

/// Takes over the I/O APICs and masks every line. Once, at boot.
pub fn init(infos: &[IoApicInfo]) {
    CONTROLLERS.call_once(|| {
        infos
            .iter()
            .map(|info| {
                let registers = memory::map_mmio(info.physical, 0x20).expect("boot has memory for an I/O APIC's page");
                // SAFETY: mapped uncached for good, and only this module uses I/O APICs.
                let mut registers = unsafe { IoApic::new(registers.addr() as u64) };
                // SAFETY: as above; a masked entry delivers nothing.
                let lines = unsafe {
                    let last = registers.max_table_entry();
                    (0..=last).for_each(|line| registers.set_table_entry(line, masked()));
                    u32::from(last) + 1
                };
                Controller { first_line: info.first_line, lines, registers: MaskedLock::new(registers) }
            })
            .collect()
    });
}

/// The number of lines, for tables.
pub fn line_count() -> u32 {
    controllers().iter().map(|controller| controller.lines).sum()
}

/// Sends `line` to a CPU. The line stays masked.
pub fn route(line: u32, route: Route) -> Result<(), LineError> {
    let destination = u8::try_from(route.apic_id).map_err(|_| LineError::Unreachable(route.apic_id))?;
    let (controller, entry) = find(line)?;
    let mut redirection = masked();
    redirection.set_vector(route.vector);
    redirection.set_dest(destination);
    let mut flags = IrqFlags::MASKED;
    flags.set(IrqFlags::LEVEL_TRIGGERED, route.level);
    flags.set(IrqFlags::LOW_ACTIVE, route.active_low);
    redirection.set_flags(flags);
    // SAFETY: the entry is masked, so it delivers nothing yet.
    unsafe { controller.registers.lock().set_table_entry(entry, redirection) };
    Ok(())
}

/// Masks or unmasks `line`. Any IRQL.
pub fn set_masked(line: u32, masked: bool) -> Result<(), LineError> {
    let (controller, entry) = find(line)?;
    let mut registers = controller.registers.lock();
    // SAFETY: the entry was set up by `route`, or is the masked one of `init` with a vector that is spurious.
    unsafe { if masked { registers.disable_irq(entry) } else { registers.enable_irq(entry) } };
    Ok(())
}

fn masked() -> RedirectionTableEntry {
    let mut entry = RedirectionTableEntry::default();
    entry.set_mode(IrqMode::Fixed);
    entry.set_vector(crate::idt::SPURIOUS_VECTOR);
    entry.set_flags(IrqFlags::MASKED);
    entry
}

fn find(line: u32) -> Result<(&'static Controller, u8), LineError> {
    controllers()
        .iter()
        .find_map(|c| (line.checked_sub(c.first_line)? < c.lines).then(|| (c, (line - c.first_line) as u8)))
        .ok_or(LineError::NoSuchLine(line))
}

fn controllers() -> &'static [Controller] {
    CONTROLLERS.get().map_or(&[], Vec::as_slice)
}
