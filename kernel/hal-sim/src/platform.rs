//! What firmware says about the simulated machine.

use crate::{
    bus::{ECAM_BASE, ECAM_BUSES},
    lines::IoApic,
    machine,
    model::IsaDevice,
};
use io::{AcpiDevice, EcamRegion, Line, LineRouting, Location, Pin, Platform, Polarity, PortRange, Trigger};
use ke::{At, Passive};
use std::{ops::Range, sync::Arc};

/// What firmware says: where `io::Bus::enumerate` finds the devices, which lines their pins lead to, who turns lines into
/// vectors, and what is at fixed ports. Called by code that runs on the machine.
pub fn platform() -> Platform {
    let region =
        EcamRegion { physical: ECAM_BASE, segment: 0, first_bus: *ECAM_BUSES.start(), last_bus: *ECAM_BUSES.end() };
    // SAFETY: addresses on the simulated machine are numbers that it decodes; nothing but its bus answers there.
    let platform = unsafe { Platform::new(vec![region], Vec::new()) };
    let devices =
        machine::with_current(|machine| machine.within(|machine| machine.bus.borrow().isa_devices().to_vec()));
    let devices = devices.unwrap_or_default().into_iter().map(|device| Arc::new(describe(device))).collect();
    platform.with_lines(Arc::new(Wires)).with_line_controller(Arc::new(IoApic)).with_acpi(devices, None)
}

fn describe(IsaDevice { hid, ports, lines }: IsaDevice) -> AcpiDevice {
    let ports = ports.into_iter().map(port_range).collect();
    AcpiDevice { name: format!("\\_SB.{hid}"), hid: hid.to_owned(), ports, lines, ..AcpiDevice::default() }
}

fn port_range(ports: Range<u16>) -> PortRange {
    // SAFETY: ports of the simulated machine are numbers too, at which device models alone answer.
    unsafe { PortRange::new(ports.start, ports.end - ports.start) }
}

/// The pins as [`crate::Setup::wire`] has led them.
struct Wires;

impl LineRouting for Wires {
    fn route(&self, _: &mut At<'_, Passive>, location: Location, _: &[Location], _: Pin) -> Option<Line> {
        let slot = usize::from(location.device).checked_sub(1)?;
        let wired = |machine: &machine::Machine| machine.within(|machine| machine.bus.borrow().lines_of(slot).next());
        let gsi = machine::with_current(wired)??;
        Some(Line { gsi, trigger: Trigger::Level, polarity: Polarity::ActiveLow })
    }
}
