//! The devices that ACPI describes, as `io` wants them: hardware ids, ports, memory, lines.

use crate::{
    acpi::Platform,
    aml::{Aml, Node},
    aml_name,
    io_apic::IoApics,
    isa,
    pci_lines::{PciLines, ROOTS, Root},
    resource, start,
};
use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use io::{AcpiDevice, AcpiError, AcpiMethods, AcpiValue, FIXED_HARDWARE_ID, PortRange};
use ke::{At, Passive};

/// Devices that are the kernel's own or not for drivers: interrupt and DMA controllers, motherboard resources, host
/// bridges, interrupt links.
const KERNELS_OWN: [&str; 6] = ["PNP0000", "PNP0003", "PNP0200", "PNP0C01", "PNP0C02", "PNP0C0F"];

/// What ACPI knows of the machine.
pub struct AcpiBus {
    devices: Vec<Arc<AcpiDevice>>,
    aml: Option<Arc<Aml>>,
    lines: Option<Arc<PciLines>>,
    problems: Vec<AcpiError>,
}

impl AcpiBus {
    /// Loads the AML and lists the devices. Once, on the main thread. PASSIVE.
    pub fn start(at: &mut At<'_, Passive>) -> Self {
        let mut bus = AcpiBus { devices: Vec::new(), aml: None, lines: None, problems: Vec::new() };
        let platform = start::platform().expect("the first thread starts after the ACPI tables were read");
        match Aml::load(at, &mut bus.problems) {
            Ok(aml) => bus.add_devices(at, platform, aml),
            // Messages need no AML: the machine works without lines.
            Err(error) => bus.problems.push(error),
        }
        bus
    }

    /// Gives `platform` the lines, the devices, and the methods.
    pub fn add_to(&self, platform: io::Platform) -> io::Platform {
        let methods = self.aml.clone().map(|aml| aml as Arc<dyn AcpiMethods>);
        let platform = platform.with_line_controller(Arc::new(IoApics)).with_acpi(self.devices.clone(), methods);
        match &self.lines {
            Some(lines) => platform.with_lines(lines.clone()),
            None => platform,
        }
    }

    /// The devices that are there.
    pub fn devices(&self) -> &[Arc<AcpiDevice>] {
        &self.devices
    }

    /// The routing of PCI pins, on a machine with usable AML.
    pub fn lines(&self) -> Option<&PciLines> {
        self.lines.as_deref()
    }

    /// What AML could not say. PASSIVE.
    pub fn problems(&self, at: &mut At<'_, Passive>) -> Vec<AcpiError> {
        let of_lines = self.lines.as_ref().map(|lines| lines.problems(at));
        self.problems.iter().cloned().chain(of_lines.unwrap_or_default()).collect()
    }

    fn add_devices(&mut self, at: &mut At<'_, Passive>, platform: &'static Platform, aml: Arc<Aml>) {
        let mut roots = Vec::new();
        for node in aml.devices().iter().filter(|node| node.is_enabled()) {
            match root(at, &aml, node) {
                Some(Ok(root)) => roots.push(root),
                Some(Err(error)) => self.problems.push(error),
                None => match device(at, platform, &aml, node) {
                    Ok(device) => self.devices.extend(device.map(Arc::new)),
                    Err(error) => self.problems.push(error),
                },
            }
        }
        self.devices.extend(fixed(platform).map(Arc::new));
        self.lines = Some(Arc::new(PciLines::new(aml.clone(), platform, roots)));
        self.aml = Some(aml);
    }
}

/// The device at `node`, if it is one for drivers.
fn device(
    at: &mut At<'_, Passive>,
    platform: &Platform,
    aml: &Aml,
    node: &Node,
) -> Result<Option<AcpiDevice>, AcpiError> {
    let mut all_ids = |name: &str| {
        if !node.has(name) {
            return Ok(Vec::new());
        }
        aml.call(at, &format!("{}.{name}", node.path), Vec::new()).map(ids)
    };
    let Some(hid) = all_ids("_HID")?.into_iter().next().filter(|hid| !KERNELS_OWN.contains(&hid.as_str())) else {
        return Ok(None);
    };
    let cids = all_ids("_CID")?;
    let mut device = AcpiDevice { name: node.path.clone(), hid, cids, ..AcpiDevice::default() };
    if node.has("_CRS") {
        let path = format!("{}._CRS", node.path);
        let found = resource::decode(&aml.buffer(at, &path)?);
        let found = found.map_err(|error| AcpiError::Failed { path, why: error.to_string() })?;
        // SAFETY: `_CRS` says that they are the device's, which is none of the kernel's own.
        let range = |(first, len)| unsafe { PortRange::new(first, len) };
        device.ports = found.ports.into_iter().map(range).collect();
        device.memory = found.memory;
        device.lines = found.interrupts.into_iter().map(|i| isa::line(i, &platform.overrides)).collect();
    }
    Ok(Some(device))
}

/// The ids that a `_HID` or `_CID` says.
fn ids(value: AcpiValue) -> Vec<String> {
    match value {
        AcpiValue::Integer(id) => [aml_name::eisa_id(id as u32)].into(),
        AcpiValue::String(id) => [id].into(),
        AcpiValue::Package(all) => all.into_iter().flat_map(ids).collect(),
        AcpiValue::Buffer(_) | AcpiValue::Nothing => Vec::new(),
    }
}

/// The host bridge that `node` is, if it is one. PASSIVE.
pub(crate) fn root(at: &mut At<'_, Passive>, aml: &Aml, node: &Node) -> Option<Result<Root, AcpiError>> {
    let mut is_root = |name: &str| {
        let said = node.has(name).then(|| aml.call(at, &format!("{}.{name}", node.path), Vec::new()));
        said.and_then(Result::ok).is_some_and(|value| ids(value).iter().any(|id| ROOTS.contains(&id.as_str())))
    };
    (is_root("_HID") || is_root("_CID")).then(|| {
        let mut number = |name: &str| {
            if node.has(name) { aml.integer(at, &format!("{}.{name}", node.path)) } else { Ok(0) }
        };
        Ok(Root { segment: number("_SEG")? as u16, bus: number("_BBN")? as u8, path: node.path.clone() })
    })
}

/// ACPI's own registers and the SCI, as a device.
fn fixed(platform: &Platform) -> Option<AcpiDevice> {
    let fixed = platform.fixed?;
    Some(AcpiDevice {
        name: "ACPI".into(),
        hid: FIXED_HARDWARE_ID.into(),
        ports: fixed.blocks.into(),
        lines: [fixed.sci].into(),
        fixed: Some(fixed.hardware),
        ..AcpiDevice::default()
    })
}
