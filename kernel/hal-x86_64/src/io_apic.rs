//! The I/O APICs: where interrupt lines become vectors.
//!
//! The registers are the `x2apic` crate's business, which does them well, with one care: it writes the half of an
//! entry with the mask first, so an entry is written masked and unmasked afterwards.

use crate::{cpu, lock::MaskedLock, memory};
use alloc::vec::Vec;
use io::{Grant, Line, LineController, LineError, LineState, Polarity, Trigger};
use ke::{At, Dirql, Passive};
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

/// The I/O APICs, for `io`.
pub struct IoApics;

impl LineController for IoApics {
    fn program(&self, _: &mut At<'_, Passive>, line: Line, grant: Grant) -> Result<(), LineError> {
        let unreachable = LineError::Unreachable { gsi: line.gsi, cpu: grant.cpu };
        let apic_id = cpu::all().get(grant.cpu as usize).ok_or(unreachable)?.apic_id;
        let destination = u8::try_from(apic_id).map_err(|_| unreachable)?;
        let (controller, entry) = find(line.gsi)?;
        let mut redirection = masked();
        redirection.set_vector(grant.vector);
        redirection.set_dest(destination);
        let mut flags = IrqFlags::MASKED;
        flags.set(IrqFlags::LEVEL_TRIGGERED, line.trigger == Trigger::Level);
        flags.set(IrqFlags::LOW_ACTIVE, line.polarity == Polarity::ActiveLow);
        redirection.set_flags(flags);
        let mut registers = controller.registers.lock();
        // SAFETY: both entries are masked, so they deliver nothing yet. The first is edge-triggered, which forgets an
        // interrupt whose end was never signalled: it would hold the line off for good.
        unsafe {
            registers.set_table_entry(entry, masked());
            registers.set_table_entry(entry, redirection);
        }
        Ok(())
    }

    fn set_masked(&self, _: &mut At<'_, Dirql>, gsi: u32, masked: bool) -> bool {
        let Ok((controller, entry)) = find(gsi) else { return false };
        let mut registers = controller.registers.lock();
        // SAFETY: the entry was set up by `program`, or is the masked one of `init` with a vector that is spurious.
        let read = unsafe {
            if masked { registers.disable_irq(entry) } else { registers.enable_irq(entry) };
            registers.table_entry(entry)
        };
        read.flags().contains(IrqFlags::MASKED) == masked
    }

    fn state(&self, gsi: u32) -> Result<LineState, LineError> {
        let (controller, entry) = find(gsi)?;
        // SAFETY: reading changes nothing.
        let read = unsafe { controller.registers.lock().table_entry(entry) };
        let has = |flag| read.flags().contains(flag);
        Ok(LineState {
            vector: read.vector(),
            trigger: if has(IrqFlags::LEVEL_TRIGGERED) { Trigger::Level } else { Trigger::Edge },
            masked: has(IrqFlags::MASKED),
            in_service: has(IrqFlags::REMOTE_IRR),
        })
    }
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
