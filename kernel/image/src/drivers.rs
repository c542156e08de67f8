//! The drivers that are built into the image.

use crate::{
    bench::Workbench,
    conformance::Probe,
    stress::{Pair, Restless},
    sweep::Msix,
};
use alloc::{format, string::String, vec::Vec};
use framework::{Device, Driver};

/// All of them. The first that serves a device gets it.
const DRIVERS: &[Driver] = &[
    Driver::of::<edu::Edu>(),
    Driver::of::<faulty::Faulty>(),
    Driver::of::<Probe>(),
    Driver::of::<Pair>(),
    Driver::of::<Restless>(),
    Driver::of::<Msix>(),
    Driver::of::<Workbench>(),
    Driver::of::<serial::Serial>(),
    Driver::of::<i8042::I8042>(),
    Driver::of::<acpi_button::AcpiButton>(),
    Driver::of::<ivshmem::Ivshmem>(),
    Driver::of::<tick::Tick>(),
    // For the devices of `edu`: `drivers=twins` lets it have them.
    Driver::of::<twins::Twin>(),
];

/// Those that have their devices for tests only.
const FOR_TESTS: &[&str] = &[FAULTY, Probe::NAME, Pair::NAME, Restless::NAME, Msix::NAME, Workbench::NAME];

/// Those that `drivers=a,b` on the command line names, in its order; without it all but those for tests.
pub fn chosen(names: Option<&str>) -> Result<Vec<Driver>, String> {
    let Some(names) = names else {
        return Ok(DRIVERS.iter().filter(|driver| !FOR_TESTS.contains(&driver.name())).copied().collect());
    };
    names.split(',').filter(|name| !name.is_empty()).map(named).collect()
}

/// The driver that `crash isr` and `crash dpc` need.
pub const FAULTY: &str = "faulty";

fn named(name: &str) -> Result<Driver, String> {
    DRIVERS.iter().find(|driver| driver.name() == name).copied().ok_or_else(|| {
        let all: Vec<&str> = DRIVERS.iter().map(Driver::name).collect();
        format!("drivers={name}: there is no such driver in this image; it has {}", all.join(", "))
    })
}
