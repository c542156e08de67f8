//! Which PCI function a device of the ACPI namespace is: its `_ADR`, below bridges, below a host bridge.

use crate::{
    acpi_bus,
    acpi_handler::Machine,
    aml::{Aml, Node},
    aml_name,
};
use acpi::{Handler, PciAddress};
use alloc::{format, vec::Vec};
use io::Location;
use ke::{At, Passive};

/// Where a bridge's configuration space says which bus is behind it.
const SECONDARY_BUS: u16 = 0x19;

/// The function that the device at `path` is; `None` if it is none, or a bridge above it is not there. PASSIVE.
pub fn location(at: &mut At<'_, Passive>, aml: &Aml, path: &str) -> Option<Location> {
    let mut below: Vec<&Node> = Vec::new();
    let mut node = aml.device(path)?;
    // Up to the host bridge, which has an id; functions have addresses instead.
    while !node.has("_HID") {
        below.push(node);
        node = aml.device(aml_name::parent(&node.path)?)?;
    }
    let root = acpi_bus::root(at, aml, node)?.ok()?;
    let mut function = None;
    let mut bus = root.bus;
    for node in below.into_iter().rev() {
        if let Some(Location { segment, bus: above, device, function }) = function {
            bus = Machine.read_pci_u8(PciAddress::new(segment, above, device, function), SECONDARY_BUS);
            // A bridge that is gone reads all ones; one that leads nowhere, or back, was not walked.
            if bus == u8::MAX || bus <= above {
                return None;
            }
        }
        let address = aml.integer(at, &format!("{}._ADR", node.path)).ok()?;
        let device = u8::try_from(address >> 16).ok().filter(|&device| device < 32)?;
        let number = u8::try_from(address & 0xffff).ok().filter(|&number| number < 8)?;
        function = Some(Location::new(root.segment, bus, device, number));
    }
    function
}
