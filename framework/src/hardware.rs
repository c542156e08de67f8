//! What a device is on its bus: a PCI function, or something that ACPI describes.

use crate::{PciId, Result, Status};
use alloc::{sync::Arc, vec::Vec};
use io::{AcpiDevice, FixedHardware, Line, Location, Messages, PciDevice, PinSwitch, Resource, Trigger};
use ke::{At, Mmio, Passive, Ports};

/// A device as its bus found it.
#[derive(Debug, Clone)]
pub(crate) enum Hardware {
    Pci(Arc<PciDevice>),
    Acpi(Arc<AcpiDevice>),
}

impl Hardware {
    /// Whether a driver for `ids` and `hids` serves it.
    pub fn is_one_of(&self, ids: &[PciId], hids: &[&str]) -> bool {
        match self {
            Hardware::Pci(pci) => ids.contains(&PciId(pci.ids().vendor, pci.ids().device)),
            Hardware::Acpi(acpi) => hids.iter().any(|hid| acpi.matches(hid)),
        }
    }

    /// What belongs to the device of ACPI's own registers alone.
    pub fn fixed(&self) -> Option<FixedHardware> {
        match self {
            Hardware::Pci(_) => None,
            Hardware::Acpi(acpi) => acpi.fixed,
        }
    }

    /// Where it sits on PCI. What sits elsewhere is never bus master.
    pub fn location(&self) -> Option<Location> {
        match self {
            Hardware::Pci(pci) => Some(pci.location()),
            Hardware::Acpi(_) => None,
        }
    }

    /// The messages it can send.
    pub fn messages(&self) -> Option<(&Arc<PciDevice>, Messages)> {
        match self {
            Hardware::Pci(pci) => Some((pci, pci.messages()?)),
            Hardware::Acpi(_) => None,
        }
    }

    /// Its interrupt lines, in its bus's order.
    pub fn lines(&self) -> Vec<Line> {
        match self {
            Hardware::Pci(pci) => pci.line().into_iter().collect(),
            Hardware::Acpi(acpi) => acpi.lines.clone(),
        }
    }

    /// Whether its lines are shared unless the driver says otherwise: PCI's always are, others' if they are levels.
    pub fn shares(&self, line: Line) -> bool {
        matches!(self, Hardware::Pci(_)) || line.trigger == Trigger::Level
    }

    /// What lets it assert its line, if there is such a thing.
    pub fn pin_switch(&self) -> Option<Arc<PinSwitch>> {
        match self {
            Hardware::Pci(pci) => Some(Arc::new(PinSwitch::new(pci.clone()))),
            Hardware::Acpi(_) => None,
        }
    }

    /// The raw list of what was assigned to a PCI function.
    pub fn resources(&self) -> Vec<Resource> {
        match self {
            Hardware::Pci(pci) => pci.resources(),
            Hardware::Acpi(acpi) => acpi.lines.iter().copied().map(Resource::Line).collect(),
        }
    }

    /// Lets it be reached by its driver.
    pub fn enable(&self, at: &mut At<'_, Passive>) -> Result<()> {
        match self {
            Hardware::Pci(pci) => Ok(pci.enable(at)?),
            Hardware::Acpi(_) => Ok(()),
        }
    }

    /// Lets it start transfers.
    pub fn start_transfers(&self, at: &mut At<'_, Passive>) -> Result<()> {
        match self {
            Hardware::Pci(pci) => Ok(pci.set_bus_master(at, true)?),
            Hardware::Acpi(_) => Ok(()),
        }
    }

    /// Lets it start none any more: when this is `Ok`, what was under way has arrived.
    pub fn stop_transfers(&self, at: &mut At<'_, Passive>) -> Result<()> {
        match self {
            Hardware::Pci(pci) => Ok(pci.set_bus_master(at, false)?),
            Hardware::Acpi(_) => Ok(()),
        }
    }

    /// Switches its messages off.
    pub fn stop_messages(&self, at: &mut At<'_, Passive>) -> Result<()> {
        match self {
            Hardware::Pci(pci) => Ok(pci.disable_messages(at)?),
            Hardware::Acpi(_) => Ok(()),
        }
    }

    /// The memory behind BAR `n`.
    pub fn map_bar(&self, at: &mut At<'_, Passive>, n: u8) -> Result<Mmio> {
        match self {
            Hardware::Pci(pci) => Ok(pci.map_bar(at, n)?),
            Hardware::Acpi(_) => Err(Status::NoSuchResource { what: "BAR", number: n.into() }),
        }
    }

    /// Its port range `n`.
    pub fn open_ports(&self, n: u16) -> Result<Ports> {
        let missing = Status::NoSuchResource { what: "port range", number: n };
        match self {
            Hardware::Pci(_) => Err(missing),
            Hardware::Acpi(acpi) => Ok(acpi.ports.get(usize::from(n)).ok_or(missing)?.open()),
        }
    }
}
