//! What the ACPI tables say about the machine: CPUs, interrupt controllers, configuration space, the PM timer.
//!
//! Only static tables are read; no AML is run.

use crate::{io_apic::IoApicInfo, local_apic::NmiPin, memory};
use acpi::{
    AcpiError, AcpiTables, Handler, PciAddress, PhysicalMapping,
    address::AddressSpace,
    sdt::{
        fadt::Fadt,
        madt::{Madt, MadtEntry},
        mcfg::Mcfg,
    },
};
use alloc::vec::Vec;
use core::{fmt, ptr::NonNull};
use x86_64::instructions::port::Port;

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

/// Where an ISA interrupt really arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IsaOverride {
    /// The ISA interrupt.
    pub isa: u8,
    /// The line of the I/O APICs.
    pub line: u32,
    /// Active when low.
    pub active_low: bool,
    /// Level-triggered.
    pub level: bool,
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
            ecam: Vec::new(),
            pm_timer,
            pm_timer_is_32_bit: flags.pm_timer_is_32_bit(),
        };
        platform.add_madt(&tables.find_table::<Madt>().ok_or(PlatformError::Missing("MADT"))?);
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
                    active_low: active_low(nmi.flags),
                }),
                MadtEntry::X2ApicNmi(nmi) => self.nmi_pins.push(NmiPin {
                    processor: (nmi.processor_uid != u32::MAX).then_some(nmi.processor_uid),
                    pin: nmi.nmi_line,
                    active_low: active_low(nmi.flags),
                }),
                MadtEntry::IoApic(io_apic) => self.io_apics.push(IoApicInfo {
                    physical: io_apic.io_apic_address.into(),
                    first_line: io_apic.global_system_interrupt_base,
                }),
                MadtEntry::InterruptSourceOverride(isa) => self.overrides.push(IsaOverride {
                    isa: isa.irq,
                    line: isa.global_system_interrupt,
                    active_low: active_low(isa.flags),
                    level: isa.flags >> 2 & 0b11 == 0b11,
                }),
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

/// The polarity of MPS INTI flags; "as the bus has it" is active high for ISA.
fn active_low(flags: u16) -> bool {
    flags & 0b11 == 0b11
}

/// How the `acpi` crate reaches the machine.
#[derive(Clone)]
struct Machine;

macro_rules! memory_access {
    ($($read:ident $write:ident $type:ty)*) => {$(
        fn $read(&self, address: usize) -> $type {
            // SAFETY: mapped just now, for good; the caller says that there is something to read.
            unsafe { map(address, size_of::<$type>()).cast::<$type>().read_volatile() }
        }
        fn $write(&self, address: usize, value: $type) {
            // SAFETY: as above.
            unsafe { map(address, size_of::<$type>()).cast::<$type>().write_volatile(value) };
        }
    )*};
}

macro_rules! port_access {
    ($($read:ident $write:ident $type:ty)*) => {$(
        fn $read(&self, port: u16) -> $type {
            // SAFETY: which ports are touched is the firmware's business.
            unsafe { Port::new(port).read() }
        }
        fn $write(&self, port: u16, value: $type) {
            // SAFETY: as above.
            unsafe { Port::new(port).write(value) };
        }
    )*};
}

macro_rules! no_config_space {
    ($($read:ident $write:ident $type:ty)*) => {$(
        fn $read(&self, address: PciAddress, _: u16) -> $type {
            unreachable!("only AML reads configuration space, here of {address}, and none is run")
        }
        fn $write(&self, address: PciAddress, _: u16, _: $type) {
            unreachable!("only AML writes configuration space, here of {address}, and none is run")
        }
    )*};
}

fn map(physical: usize, len: usize) -> *mut u8 {
    memory::map_mmio(physical as u64, len).expect("the window for device memory is far larger than all ACPI tables")
}

impl Handler for Machine {
    unsafe fn map_physical_region<T>(&self, physical: usize, size: usize) -> PhysicalMapping<Self, T> {
        PhysicalMapping {
            physical_start: physical,
            virtual_start: NonNull::new(map(physical, size)).expect("the window is not at 0").cast(),
            region_length: size,
            mapped_length: size,
            handler: Machine,
        }
    }
    /// Mappings are for good: the same table has the same address next time.
    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}

    memory_access! { read_u8 write_u8 u8 read_u16 write_u16 u16 read_u32 write_u32 u32 read_u64 write_u64 u64 }
    port_access! { read_io_u8 write_io_u8 u8 read_io_u16 write_io_u16 u16 read_io_u32 write_io_u32 u32 }
    no_config_space! { read_pci_u8 write_pci_u8 u8 read_pci_u16 write_pci_u16 u16 read_pci_u32 write_pci_u32 u32 }

    fn nanos_since_boot(&self) -> u64 {
        crate::time::now()
    }
    fn stall(&self, microseconds: u64) {
        crate::time::stall(microseconds * 1000);
    }
    fn sleep(&self, milliseconds: u64) {
        crate::time::stall(milliseconds * 1_000_000);
    }
}
