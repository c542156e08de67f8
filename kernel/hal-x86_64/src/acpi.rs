//! What the ACPI tables say about the machine: CPUs, interrupt controllers, configuration space, the PM timer.
//!
//! Only static tables are read here; `aml` runs what is a program.

use crate::{
    acpi_handler::Machine,
    io_apic::IoApicInfo,
    isa::{self, IsaOverride, is_active_low},
    local_apic::NmiPin,
};
use acpi::{
    AcpiError, AcpiTables, PhysicalMapping,
    address::{AddressSpace, GenericAddress},
    sdt::{
        fadt::Fadt,
        madt::{Madt, MadtEntry},
        mcfg::Mcfg,
    },
};
use alloc::vec::Vec;
use core::fmt;
use io::{FixedHardware, Line, PortRange};

/// The machine as its firmware describes it.
#[derive(Debug)]
pub struct Platform {
    /// The CPUs that can be started, in the firmware's order, each once.
    pub processors: Vec<Processor>,
    /// Where the local APICs' registers are in xAPIC mode.
    pub local_apic: u64,
    /// Local interrupt pins that carry NMIs.
    pub nmi_pins: Vec<NmiPin>,
    /// The I/O APICs.
    pub io_apics: Vec<IoApicInfo>,
    /// ISA interrupts that are not wired one to one, rising edge.
    pub overrides: Vec<IsaOverride>,
    /// ACPI's own registers; `None` on a machine without them (hardware-reduced ACPI).
    pub fixed: Option<FixedRegisters>,
    /// The PCI configuration space, region by region.
    pub ecam: Vec<Ecam>,
    /// The port of the ACPI PM timer.
    pub pm_timer: u16,
    /// The PM timer counts 32 bits, else 24.
    pub pm_timer_is_32_bit: bool,
}

/// A CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processor {
    /// ACPI's number for it.
    pub acpi_id: u32,
    /// The id of its local APIC.
    pub apic_id: u32,
}

/// What the FADT says about ACPI's own registers and interrupt.
#[derive(Debug, Clone, Copy)]
pub struct FixedRegisters {
    /// The line of the SCI.
    pub sci: Line,
    /// The blocks in the order of [`io::FixedBlock`].
    pub blocks: [PortRange; 4],
    /// What a driver has to know beside them.
    pub hardware: FixedHardware,
    /// Which port, and which value there, makes firmware hand the events over; `None` where it has nothing to hand over.
    pub enable: Option<(u16, u8)>,
}

/// A region of PCI Express configuration space: 4 KiB a function, from the first bus on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ecam {
    /// The PCI segment group.
    pub segment: u16,
    /// The first bus.
    pub bus_start: u8,
    /// The last bus.
    pub bus_end: u8,
    /// Where bus 0 of the segment is, or would be.
    pub physical: u64,
}

/// Why the tables are of no use.
#[derive(Debug)]
pub enum PlatformError {
    /// The `acpi` crate could not read them.
    Tables(AcpiError),
    /// A table that the kernel cannot do without is missing.
    Missing(&'static str),
    /// The PM timer, the clock that others are calibrated against, is missing or not at an I/O port.
    NoPmTimer,
}

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlatformError::Tables(error) => write!(f, "the ACPI tables cannot be read: {error:?}"),
            PlatformError::Missing(table) => write!(f, "the firmware has no ACPI table {table}"),
            PlatformError::NoPmTimer => f.write_str("the firmware has no ACPI PM timer at an I/O port"),
        }
    }
}

impl Platform {
    /// Reads the tables under the root pointer at `rsdp`.
    ///
    /// # Safety
    /// `rsdp` is the physical address of an ACPI root pointer.
    pub unsafe fn read(rsdp: u64) -> Result<Self, PlatformError> {
        // SAFETY: by the contract.
        let tables = unsafe { AcpiTables::from_rsdp(Machine, rsdp as usize) }.map_err(PlatformError::Tables)?;
        let fadt = tables.find_table::<Fadt>().ok_or(PlatformError::Missing("FADT"))?;
        let pm_timer = fadt
            .pm_timer_block()
            .map_err(PlatformError::Tables)?
            .filter(|block| block.address_space == AddressSpace::SystemIo)
            .and_then(|block| u16::try_from(block.address).ok())
            .ok_or(PlatformError::NoPmTimer)?;
        let flags = fadt.flags;
        let mut platform = Platform {
            processors: Vec::new(),
            local_apic: 0,
            nmi_pins: Vec::new(),
            io_apics: Vec::new(),
            overrides: Vec::new(),
            fixed: None,
            ecam: Vec::new(),
            pm_timer,
            pm_timer_is_32_bit: flags.pm_timer_is_32_bit(),
        };
        platform.add_madt(&tables.find_table::<Madt>().ok_or(PlatformError::Missing("MADT"))?);
        platform.fixed = fixed_registers(&fadt, &platform.overrides).map_err(PlatformError::Tables)?;
        // Without an MCFG there is no ECAM: a PC before PCI Express.
        if let Some(mcfg) = tables.find_table::<Mcfg>() {
            platform.ecam.extend(mcfg.entries().iter().map(|entry| Ecam {
                segment: entry.pci_segment_group,
                bus_start: entry.bus_number_start,
                bus_end: entry.bus_number_end,
                physical: entry.base_address,
            }));
        }
        Ok(platform)
    }

    fn add_madt(&mut self, madt: &PhysicalMapping<Machine, Madt>) {
        let madt = madt.get();
        self.local_apic = u64::from(madt.local_apic_address);
        for entry in madt.entries() {
            match entry {
                MadtEntry::LocalApic(cpu) => self.add_processor(cpu.processor_id.into(), cpu.apic_id.into(), cpu.flags),
                MadtEntry::LocalX2Apic(cpu) => self.add_processor(cpu.processor_uid, cpu.x2apic_id, cpu.flags),
                MadtEntry::LocalApicAddressOverride(address) => self.local_apic = address.local_apic_address,
                MadtEntry::LocalApicNmi(nmi) => self.nmi_pins.push(NmiPin {
                    processor: (nmi.processor_id != u8::MAX).then_some(nmi.processor_id.into()),
                    pin: nmi.nmi_line,
                    active_low: is_active_low(nmi.flags),
                }),
                MadtEntry::X2ApicNmi(nmi) => self.nmi_pins.push(NmiPin {
                    processor: (nmi.processor_uid != u32::MAX).then_some(nmi.processor_uid),
                    pin: nmi.nmi_line,
                    active_low: is_active_low(nmi.flags),
                }),
                MadtEntry::IoApic(io_apic) => self.io_apics.push(IoApicInfo {
                    physical: io_apic.io_apic_address.into(),
                    first_line: io_apic.global_system_interrupt_base,
                }),
                MadtEntry::InterruptSourceOverride(isa) => {
                    self.overrides.push(IsaOverride::new(isa.irq, isa.global_system_interrupt, isa.flags));
                }
                _ => {}
            }
        }
    }

    /// A CPU that is enabled now; firmware may list one twice, by each kind of entry.
    fn add_processor(&mut self, acpi_id: u32, apic_id: u32, flags: u32) {
        if flags & 1 != 0 && !self.processors.iter().any(|known| known.apic_id == apic_id) {
            self.processors.push(Processor { acpi_id, apic_id });
        }
    }

    /// The NMI pins of the CPU with `apic_id`.
    pub fn nmi_pins(&self, apic_id: u32) -> impl Iterator<Item = NmiPin> + '_ {
        let acpi_id = self.processors.iter().find(|cpu| cpu.apic_id == apic_id).map(|cpu| cpu.acpi_id);
        self.nmi_pins.iter().copied().filter(move |pin| pin.processor.is_none() || pin.processor == acpi_id)
    }
}

fn fixed_registers(fadt: &Fadt, overrides: &[IsaOverride]) -> Result<Option<FixedRegisters>, AcpiError> {
    let flags = fadt.flags;
    if flags.system_is_hw_reduced_acpi() {
        return Ok(None);
    }
    let pm1_len = fadt.pm1_event_length;
    let blocks = [
        ports(Some(fadt.pm1a_event_block()?), pm1_len),
        ports(fadt.pm1b_event_block()?, pm1_len),
        ports(fadt.gpe0_block()?, fadt.gpe0_block_length),
        ports(fadt.gpe1_block()?, fadt.gpe1_block_length),
    ];
    let hardware = FixedHardware {
        gpe1_base: fadt.gpe1_base,
        power_button: !flags.power_button_is_control_method(),
        sleep_button: !flags.sleep_button_is_control_method(),
    };
    let enable = u16::try_from(fadt.smi_cmd_port).ok().map(|port| (port, fadt.acpi_enable));
    let enable = enable.filter(|&(port, value)| port != 0 && value != 0);
    Ok(Some(FixedRegisters { sci: isa::sci(fadt.sci_interrupt, overrides), blocks, hardware, enable }))
}

/// A block of `len` ports; none where there is no block, or it is in memory.
fn ports(block: Option<GenericAddress>, len: u8) -> PortRange {
    let first = block.filter(|block| block.address_space == AddressSpace::SystemIo);
    match first.and_then(|block| u16::try_from(block.address).ok()) {
        // SAFETY: the FADT says that ACPI's registers are there.
        Some(first) => unsafe { PortRange::new(first, len.into()) },
        None => PortRange::default(),
    }
}
