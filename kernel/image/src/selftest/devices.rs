//! What the bus found: registers within their BARs, BARs where they were placed.

use super::{Outcome, crew::ensure};
use alloc::format;
use framework::Pnp;
use io::{BarKind, PciDevice};
use ke::{At, Passive};

/// BARs up to this size are mapped for the check.
const SMALL: u64 = 1 << 20;

/// For every small memory BAR: its last word can be had, the one behind it and a misaligned one cannot.
pub fn register_limits(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    for row in pnp.devices(at) {
        let location = row.location;
        for bar in row.pci.bars() {
            if bar.kind == BarKind::Io || bar.len > SMALL || bar.base.is_none() {
                continue;
            }
            let mmio = row.pci.map_bar(at, bar.index).map_err(|error| format!("{error}"))?;
            let len = mmio.len();
            ensure(len as u64 == bar.len, || format!("BAR {} of {location} has {len} bytes mapped", bar.index))?;
            for (offset, is_inside) in [(len - 4, true), (len, false), (len - 2, false), (usize::MAX - 3, false)] {
                ensure(mmio.register::<u32>(offset).is_ok() == is_inside, || {
                    format!("a register at {offset:#x} of BAR {} of {location} ({len} bytes)", bar.index)
                })?;
            }
        }
    }
    Ok(())
}

/// Passes where no device has such a BAR.
pub fn high_bar(pnp: &Pnp, at: &mut At<'_, Passive>) -> Outcome {
    pnp.devices(at).iter().try_for_each(|row| reads_back(&row.pci, at))
}

fn reads_back(pci: &PciDevice, at: &mut At<'_, Passive>) -> Outcome {
    for bar in pci.bars().iter().filter(|bar| bar.base.is_some_and(|base| base >> 32 != 0)) {
        let read = pci.read_bar(at, bar.index).map_err(|error| format!("{error}"))?;
        ensure(Some(read) == bar.base, || {
            format!("BAR {} of {} was placed at {:#x?} and reads {read:#x}", bar.index, pci.location(), bar.base)
        })?;
    }
    Ok(())
}
