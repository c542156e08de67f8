//! Devices that leave their bus while the machine runs: because somebody wants to pull them out (eject), or without a word.
//!
//! Whoever hears of it, the ISR of ACPI's events for one, may hold what a removal waits for. So it leaves word with
//! [`BusChanges`], and a work item does what is to be done, one thing after another: it removes the devices as the
//! plug-and-play manager does, and lets firmware take the power off (`_EJ0`).
//!
//! **Invariant:** firmware is asked to let a device go only after its driver has.

use crate::{
    hardware::Hardware,
    node::AnyNode,
    pnp::{Entry, Tree},
};
use alloc::{
    collections::VecDeque,
    format,
    string::{String, ToString},
    sync::{Arc, Weak},
    vec::Vec,
};
use core::fmt;
use io::{AcpiError, Location, Notification, PciDevice};
use ke::{At, Passive, SpinLock, WaitLock, WorkItem, WorkRoutine};

/// Where it is told that devices come to leave. Any thread may keep one; nothing here waits for the removal.
#[derive(Debug, Clone)]
pub struct BusChanges(WorkItem<Serve>);

enum Change {
    /// The device at this path of the ACPI namespace shall leave.
    Eject(String),
    /// Some device may be gone.
    Look,
}

/// ACPI's values of `Notify` that are about the bus, not about the device's own affairs.
mod told {
    pub const BUS_CHECK: u64 = 0;
    pub const DEVICE_CHECK: u64 = 1;
    pub const EJECT_REQUEST: u64 = 3;
}

impl BusChanges {
    pub(crate) fn new() -> Self {
        BusChanges(WorkItem::new(Serve { state: SpinLock::new(State::default()), turn: WaitLock::new(()) }))
    }

    /// IoRequestDeviceEject, for the PCI device that has `path` in the ACPI namespace: its functions are removed, then
    /// firmware lets it go. If it does not answer any more it is gone already, and is removed by surprise. PASSIVE.
    pub fn request_eject(&self, at: &mut At<'_, Passive>, path: &str) {
        self.leave_word(at, Change::Eject(path.into()));
    }

    /// IoInvalidateDeviceRelations: every PCI function that does not answer any more is removed by surprise. PASSIVE.
    pub fn look(&self, at: &mut At<'_, Passive>) {
        self.leave_word(at, Change::Look);
    }

    /// What a method has told about a device, if it is about its bus. A value that the method computed, so that nobody
    /// knows it here, is taken for a request to eject: a check of a device that is there and works changes nothing, and is
    /// not made by firmware of its own accord. Devices that come are not served. PASSIVE.
    pub fn notified(&self, at: &mut At<'_, Passive>, notification: &Notification) {
        match notification.value {
            None | Some(told::EJECT_REQUEST) => self.request_eject(at, &notification.device),
            Some(told::BUS_CHECK | told::DEVICE_CHECK) => self.look(at),
            Some(_) => {}
        }
    }

    fn leave_word(&self, at: &mut At<'_, Passive>, change: Change) {
        self.0.routine().state.with(at, |state, _| state.waiting.push_back(change));
        self.0.enqueue(at);
    }

    /// From here on the devices of `tree` leave when they have to.
    pub(crate) fn open(&self, at: &mut At<'_, Passive>, tree: &Arc<Tree>) {
        let has_word = self.0.routine().state.with(at, |state, _| {
            state.tree = Arc::downgrade(tree);
            !state.waiting.is_empty()
        });
        // It was told while the devices were being started.
        if has_word {
            self.0.enqueue(at);
        }
    }

    /// From here on nobody leaves any more, and the last one has left.
    pub(crate) fn close(&self, at: &mut At<'_, Passive>) {
        self.0.routine().state.with(at, |state, _| state.tree = Weak::new());
        self.0.flush(at);
    }

    pub(crate) fn flush(&self, at: &mut At<'_, Passive>) {
        self.0.flush(at);
    }

    pub(crate) fn departures(&self, at: &mut At<'_, Passive>) -> Vec<Departure> {
        self.0.routine().state.acquire(at).departures.clone()
    }
}

/// What the work item does.
struct Serve {
    state: SpinLock<State>,
    /// Held by the run that serves: a work item may overlap itself.
    turn: WaitLock<()>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Change>,
    tree: Weak<Tree>,
    departures: Vec<Departure>,
}

impl WorkRoutine for Serve {
    fn run(&self, at: &mut At<'_, Passive>) {
        let _turn = self.turn.acquire(at);
        loop {
            let next = self.state.with(at, |state, _| Some((state.tree.upgrade()?, state.waiting.pop_front()?)));
            let Some((tree, change)) = next else { return };
            let mut left = match change {
                Change::Eject(path) => tree.eject(&path, at),
                Change::Look => tree.look(at),
            };
            self.state.with(at, |state, _| state.departures.append(&mut left));
        }
    }
}

/// A PCI function that has left, or should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The device's name, if a driver served it.
    pub device: Option<String>,
    /// Where it was.
    pub location: Location,
    /// How it left.
    pub how: Departed,
}

/// How a function left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Departed {
    /// Its driver let it go, then firmware did.
    Ejected,
    /// It had stopped answering, and was removed by surprise. What it may still write to is in quarantine.
    Gone,
    /// Its driver let it go, and it still answers. With what was wrong with firmware's method, if something was.
    StillThere(Option<AcpiError>),
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.device {
            Some(name) => write!(f, "{name} at {}: ", self.location)?,
            None => write!(f, "{}: ", self.location)?,
        }
        match &self.how {
            Departed::Ejected => f.write_str("ejected"),
            Departed::Gone => f.write_str("gone without a word"),
            Departed::StillThere(None) => f.write_str("removed, but firmware did not let it go"),
            Departed::StillThere(Some(error)) => write!(f, "removed, but firmware did not let it go: {error}"),
        }
    }
}

impl Tree {
    /// Removes the device at `path`, all its functions, and has firmware let it go.
    fn eject(&self, path: &str, at: &mut At<'_, Passive>) -> Vec<Departure> {
        let Some(methods) = &self.shared.methods else { return Vec::new() };
        let Some(location) = methods.location(at, path) else { return Vec::new() };
        let functions: Vec<Leaving<'_>> = self.leaving().filter(|it| it.is_in_slot_of(location)).collect();
        // A slot's functions leave together.
        let was_there = functions.iter().any(|it| it.pci.is_present(at));
        let mut known: Vec<_> = functions.iter().rev().filter(|it| it.remove(!was_there, at)).collect();
        known.reverse();
        if known.is_empty() {
            // All had left before: what answers now has come since, and nobody wants it to leave.
            return Vec::new();
        }
        if !was_there {
            return known.into_iter().map(|it| it.departed(Departed::Gone)).collect();
        }
        let refused = methods.call(at, &format!("{path}._EJ0"), &[1]).err();
        let still_there = functions.iter().any(|it| it.pci.is_present(at));
        if !still_there {
            functions.iter().for_each(|it| self.shared.quarantine.release(at, it.pci.location()));
        }
        let how = if still_there { Departed::StillThere(refused) } else { Departed::Ejected };
        known.into_iter().map(|it| it.departed(how.clone())).collect()
    }

    /// Removes the functions that do not answer any more.
    fn look(&self, at: &mut At<'_, Passive>) -> Vec<Departure> {
        let gone: Vec<_> = self.leaving().filter(|it| !it.pci.is_present(at)).collect();
        let removed = gone.iter().filter(|it| it.remove(true, at));
        removed.map(|it| it.departed(Departed::Gone)).collect()
    }

    fn leaving(&self) -> impl DoubleEndedIterator<Item = Leaving<'_>> {
        self.devices.iter().filter_map(Leaving::new)
    }
}

/// A function that may have to leave.
struct Leaving<'a> {
    pci: &'a PciDevice,
    node: Option<&'a dyn AnyNode>,
}

impl<'a> Leaving<'a> {
    fn new(entry: &'a Entry) -> Option<Self> {
        let Hardware::Pci(pci) = &entry.hardware else { return None };
        Some(Leaving { pci, node: entry.node.as_ref().and_then(|node| Some(&**node.as_ref().ok()?)) })
    }

    fn is_in_slot_of(&self, other: Location) -> bool {
        let here = self.pci.location();
        (here.segment, here.bus, here.device) == (other.segment, other.bus, other.device)
    }

    /// `false`: it had been removed before.
    fn remove(&self, surprise: bool, at: &mut At<'_, Passive>) -> bool {
        self.node.is_none_or(|node| node.remove(surprise, at).is_ok())
    }

    fn departed(&self, how: Departed) -> Departure {
        Departure { device: self.node.map(|node| node.name().to_string()), location: self.pci.location(), how }
    }
}
