//! How the `acpi` crate reaches the machine: memory, ports, PCI configuration space, time.
//!
//! What is touched is firmware's business: its tables and its AML say so. Accesses to what the machine does not have read
//! all ones and write nothing, as on a bus.

use crate::{memory, notify, start, time};
use acpi::{Handle, Handler, PciAddress, PhysicalMapping, aml::{AmlError, object::Object}};
use core::{
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};
use x86_64::instructions::port::Port;

/// The machine.
#[derive(Clone)]
pub struct Machine;

const FUNCTION_LEN: u64 = 1 << 12;
const BUS_LEN: usize = 1 << 20;

/// Where offset `offset` of a function's configuration space is; `None` outside all ECAM regions.
fn config(address: PciAddress, offset: u16) -> Option<*mut u8> {
    let ecam = start::platform()?.ecam.iter().find(|ecam| {
        ecam.segment == address.segment() && (ecam.bus_start..=ecam.bus_end).contains(&address.bus())
    })?;
    let bus = ecam.physical + (u64::from(address.bus()) << 20);
    let function = u64::from(address.device()) << 3 | u64::from(address.function());
    let offset = function * FUNCTION_LEN + u64::from(offset) % FUNCTION_LEN;
    Some(memory::map_mmio(bus, BUS_LEN)?.wrapping_add(offset as usize))
}

macro_rules! memory_access {
    ($($read:ident $write:ident $type:ty)*) => {$(
        fn $read(&self, address: usize) -> $type {
            memory::map_mmio(address as u64, size_of::<$type>()).map_or(<$type>::MAX, |address| {
                let address = address.cast::<$type>();
                // SAFETY: mapped just now, for good. Devices are aligned; what AML keeps in memory need not be.
                unsafe { if address.is_aligned() { address.read_volatile() } else { address.read_unaligned() } }
            })
        }
        fn $write(&self, address: usize, value: $type) {
            if let Some(address) = memory::map_mmio(address as u64, size_of::<$type>()) {
                let address = address.cast::<$type>();
                // SAFETY: as above; what firmware's AML writes is firmware's.
                unsafe {
                    if address.is_aligned() { address.write_volatile(value) } else { address.write_unaligned(value) }
                };
            }
        }
    )*};
}

macro_rules! port_access {
    ($($read:ident $write:ident $type:ty)*) => {$(
        fn $read(&self, port: u16) -> $type {
            // SAFETY: which ports are touched is firmware's business.
            unsafe { Port::new(port).read() }
        }
        fn $write(&self, port: u16, value: $type) {
            // SAFETY: as above.
            unsafe { Port::new(port).write(value) };
        }
    )*};
}

macro_rules! config_access {
    ($($read:ident $write:ident $type:ty)*) => {$(
        fn $read(&self, address: PciAddress, offset: u16) -> $type {
            config(address, offset & !(size_of::<$type>() as u16 - 1)).map_or(<$type>::MAX, |register| {
                // SAFETY: in the ECAM, mapped for good, aligned.
                unsafe { register.cast::<$type>().read_volatile() }
            })
        }
        fn $write(&self, address: PciAddress, offset: u16, value: $type) {
            if let Some(register) = config(address, offset & !(size_of::<$type>() as u16 - 1)) {
                // SAFETY: as above.
                unsafe { register.cast::<$type>().write_volatile(value) };
            }
        }
    )*};
}

impl Handler for Machine {
    unsafe fn map_physical_region<T>(&self, physical: usize, size: usize) -> PhysicalMapping<Self, T> {
        let mapped = memory::map_mmio(physical as u64, size);
        let mapped = mapped.expect("the window for device memory is far larger than all ACPI tables");
        PhysicalMapping {
            physical_start: physical,
            virtual_start: NonNull::new(mapped).expect("the window is not at 0").cast(),
            region_length: size,
            mapped_length: size,
            handler: Machine,
        }
    }
    /// Mappings are for good: the same table has the same address next time.
    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}

    memory_access! { read_u8 write_u8 u8 read_u16 write_u16 u16 read_u32 write_u32 u32 read_u64 write_u64 u64 }
    port_access! { read_io_u8 write_io_u8 u8 read_io_u16 write_io_u16 u16 read_io_u32 write_io_u32 u32 }
    config_access! { read_pci_u8 write_pci_u8 u8 read_pci_u16 write_pci_u16 u16 read_pci_u32 write_pci_u32 u32 }

    fn nanos_since_boot(&self) -> u64 {
        time::now()
    }
    fn stall(&self, microseconds: u64) {
        time::stall(microseconds * 1000);
    }
    /// Busily: there is no token here to wait with. The thread is at PASSIVE, so others get their turns.
    fn sleep(&self, milliseconds: u64) {
        time::stall(milliseconds * 1_000_000);
    }

    /// A handle of its own for each: the crate tells the global lock by it.
    fn create_mutex(&self) -> Handle {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Handle(NEXT.fetch_add(1, Relaxed))
    }
    /// Never has to wait: AML mutexes are re-entrant, and evaluations exclude each other by the lock around the
    /// interpreter, so whoever asks is the only one that could hold it.
    fn acquire(&self, _: Handle, _: u16) -> Result<(), AmlError> {
        Ok(())
    }
    fn release(&self, _: Handle) {}

    /// What AML stores in `Debug`: the numbers of the sites that `notify` put in the place of `Notify`.
    fn handle_debug(&self, object: &Object) {
        if let Object::Integer(number) = object
            && let Some(site) = notify::site(*number)
        {
            NOTIFIED[site / 64].fetch_or(1 << (site % 64), Relaxed);
        }
    }
}

/// The sites that ran, a bit each.
static NOTIFIED: [AtomicU64; notify::MOST_SITES / 64] = [const { AtomicU64::new(0) }; notify::MOST_SITES / 64];

/// The sites that ran since the last time.
pub fn take_notified() -> impl Iterator<Item = usize> {
    NOTIFIED.iter().enumerate().flat_map(|(n, word)| {
        let bits = word.swap(0, Relaxed);
        (0..64).filter(move |bit| bits & 1 << bit != 0).map(move |bit| n * 64 + bit)
    })
}
