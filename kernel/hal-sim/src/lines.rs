//! The interrupt lines: one I/O APIC, whose inputs devices share (wired-OR), as an 82093AA does it.
//!
//! A level input delivers while it is asserted, unmasked and not in service (remote IRR); the end of interrupt asks again.
//! An edge input delivers when it becomes asserted; an edge that finds it masked is lost.

use crate::{machine, machine::Machine, schedule::Reach};
use ke::{At, Dirql, Mode, Passive, Source};

/// The number of inputs, as on a PC.
const INPUTS: usize = 24;

/// One input and its entry in the redirection table.
#[derive(Debug, Clone, Default)]
struct Input {
    /// The slots that assert it.
    asserted_by: Vec<usize>,
    /// `None` until it is programmed.
    entry: Option<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    cpu: usize,
    vector: u8,
    level: bool,
    masked: bool,
    /// Delivered, and its end was not signalled (remote IRR).
    in_service: bool,
}

impl Input {
    /// What a level input delivers now.
    fn deliverable(&mut self) -> Option<(usize, u8)> {
        let entry = self.entry.as_mut().filter(|entry| entry.level && !entry.masked && !entry.in_service)?;
        entry.in_service = !self.asserted_by.is_empty();
        entry.in_service.then_some((entry.cpu, entry.vector))
    }
}

/// The I/O APIC's state.
#[derive(Debug)]
pub(crate) struct Lines {
    inputs: Vec<Input>,
}

impl Lines {
    pub(crate) fn new() -> Self {
        Lines { inputs: vec![Input::default(); INPUTS] }
    }

    /// The device in `slot` asserts its line, or no longer: who gets an interrupt for it.
    pub(crate) fn set(&mut self, gsi: u32, slot: usize, asserted: bool) -> Option<(usize, u8)> {
        let input = &mut self.inputs[gsi as usize];
        let before = !input.asserted_by.is_empty();
        input.asserted_by.retain(|other| *other != slot);
        if !asserted {
            return None;
        }
        input.asserted_by.push(slot);
        match input.entry {
            Some(entry) if !entry.level && !entry.masked && !before => Some((entry.cpu, entry.vector)),
            _ => input.deliverable(),
        }
    }

    /// The end of an interrupt of class and number `vector`: what level inputs deliver again.
    pub(crate) fn end_of_interrupt(&mut self, cpu: usize, vector: u8) -> Option<(usize, u8)> {
        let ended = |entry: &Entry| entry.in_service && (entry.cpu, entry.vector) == (cpu, vector);
        let input = self.inputs.iter_mut().find(|input| input.entry.as_ref().is_some_and(ended))?;
        input.entry.as_mut()?.in_service = false;
        input.deliverable()
    }

    /// Whether an interrupt of `gsi` would be taken.
    pub(crate) fn is_open(&self, gsi: u32) -> bool {
        self.inputs[gsi as usize].entry.is_some_and(|entry| !entry.masked)
    }

    fn leads_to(&self, gsi: u32, cpu: usize, vector: u8) -> bool {
        self.inputs[gsi as usize].entry.is_some_and(|entry| (entry.cpu, entry.vector) == (cpu, vector))
    }

    fn set_masked(&mut self, gsi: u32, masked: bool) -> Option<(usize, u8)> {
        let input = &mut self.inputs[gsi as usize];
        input.entry.as_mut()?.masked = masked;
        input.deliverable()
    }
}

/// An input of the simulated machine's I/O APIC, programmed: what an interrupt or a [`ke::Line`] is connected to. Used by
/// code that runs on the machine.
#[derive(Debug)]
pub struct LineInput {
    gsi: u32,
    can_mask: bool,
}

impl LineInput {
    /// Programs input `gsi` (below 24) to raise `vector` on `cpu`, masked.
    pub fn program(at: &mut At<'_, Passive>, gsi: u32, mode: Mode, cpu: u32, vector: u8) -> Self {
        assert!((gsi as usize) < INPUTS && cpu < at.cpu_count(), "there is no input {gsi} or no CPU {cpu}");
        let level = mode == Mode::LevelSensitive;
        let entry = Entry { cpu: cpu as usize, vector, level, masked: true, in_service: false };
        here(|machine| machine.lines.borrow_mut().inputs[gsi as usize].entry = Some(entry));
        LineInput { gsi, can_mask: true }
    }

    /// The same, open from now on, without a mask bit: like a message of a function that cannot mask.
    pub fn without_mask(self) -> Self {
        here(|machine| machine.lines.borrow_mut().set_masked(self.gsi, false));
        LineInput { can_mask: false, ..self }
    }

    fn set_masked(&self, masked: bool) {
        here(|machine| {
            machine.stop_fine(Reach::Shared);
            machine.note(|_| format!("line {} is {}", self.gsi, if masked { "masked" } else { "unmasked" }));
            let delivered = machine.lines.borrow_mut().set_masked(self.gsi, masked);
            machine.deliver_line(self.gsi, delivered);
        });
    }
}

impl Source for LineInput {
    fn mask(&self, _: &mut At<'_, Dirql>) -> bool {
        if self.can_mask {
            self.set_masked(true);
        }
        self.can_mask
    }

    fn unmask(&self, _: &mut At<'_, Dirql>) {
        if self.can_mask {
            self.set_masked(false);
        }
    }
}

fn here<R>(f: impl FnOnce(&Machine) -> R) -> R {
    machine::with_current(|machine| machine.within(f)).expect("a line is used by code that runs on a machine")
}

impl Machine {
    /// The device in `slot` drives its line.
    pub(crate) fn drive_line(&self, slot: usize, asserted: bool) {
        let drives = self.bus.borrow_mut().drive(slot, asserted);
        self.set_line(slot, drives);
    }

    /// Something that gates the line of the device in `slot` has changed.
    pub(crate) fn update_line(&self, slot: usize) {
        let drives = self.bus.borrow().drives(slot);
        self.set_line(slot, drives);
    }

    fn set_line(&self, slot: usize, asserted: bool) {
        let Some(gsi) = self.bus.borrow().line_of(slot) else { return };
        let delivered = self.lines.borrow_mut().set(gsi, slot, asserted);
        self.deliver_line(gsi, delivered);
    }

    /// The end of an interrupt, as the I/O APIC hears of it.
    pub(crate) fn end_line(&self, vector: u8) {
        let delivered = self.lines.borrow_mut().end_of_interrupt(self.running.get(), vector);
        if let Some((cpu, vector)) = delivered {
            self.request(cpu, vector, None);
        }
    }

    /// The slots whose devices may have raised `vector` on the running CPU through a line.
    pub(crate) fn slots_on_line(&self, vector: u8) -> Vec<usize> {
        let lines = self.lines.borrow();
        let bus = self.bus.borrow();
        let leads_here = |slot: &usize| {
            let leads = |gsi| lines.leads_to(gsi, self.running.get(), vector);
            bus.line_of(*slot).is_some_and(leads)
        };
        (0..bus.slots().len()).filter(leads_here).collect()
    }

    fn deliver_line(&self, gsi: u32, delivered: Option<(usize, u8)>) {
        if let Some((cpu, vector)) = delivered {
            self.note_outside(&format!("line {gsi}"), &format!("vector {vector:#04x} on CPU {cpu}"));
            self.check_connected(&format!("line {gsi}"), cpu, vector);
            self.request(cpu, vector, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<(usize, u8)> = Some((0, 0x51));

    fn programmed(level: bool) -> Lines {
        let mut lines = Lines::new();
        lines.inputs[5].entry = Some(Entry { cpu: 0, vector: 0x51, level, masked: true, in_service: false });
        lines
    }

    #[test]
    fn a_level_comes_again_after_its_end_while_anybody_asserts_it() {
        let mut lines = programmed(true);
        assert_eq!(lines.set(5, 1, true), None);
        assert_eq!(lines.set_masked(5, false), HERE);
        assert_eq!(lines.set(5, 2, true), None);
        assert_eq!(lines.set(5, 1, false), None);
        assert_eq!(lines.end_of_interrupt(0, 0x51), HERE);
        assert_eq!(lines.set_masked(5, true), None);
        assert_eq!(lines.end_of_interrupt(0, 0x51), None);
        assert_eq!(lines.set_masked(5, false), HERE);
        lines.set(5, 2, false);
        assert_eq!(lines.end_of_interrupt(0, 0x51), None);
    }

    #[test]
    fn an_edge_comes_once_and_neither_masked_nor_under_another() {
        let mut lines = programmed(false);
        assert_eq!(lines.set(5, 1, true), None);
        assert_eq!(lines.set_masked(5, false), None);
        lines.set(5, 1, false);
        assert_eq!(lines.set(5, 1, true), HERE);
        assert_eq!(lines.set(5, 2, true), None);
        assert_eq!(lines.end_of_interrupt(0, 0x51), None);
    }
}
