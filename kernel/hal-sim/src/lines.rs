//! The interrupt lines: one I/O APIC, whose inputs devices share (wired-OR), as an 82093AA does it.
//!
//! A level input delivers while it is active, unmasked and not in service (remote IRR); the end of an interrupt, of which
//! the I/O APIC hears the vector alone, asks again. An edge input delivers when it becomes active; an edge that finds it
//! masked is lost. An input is active in the state that its entry names: programmed with the wrong polarity, it is active
//! while nobody asserts it.

use crate::{fault::FaultKind, machine, machine::Machine, schedule::Reach};
use io::{Grant, Line, LineController, LineError, LineState, Polarity, Trigger};
use ke::{At, Dirql, Mode, Passive, Source};

/// The number of inputs, as on a PC.
const INPUTS: usize = 24;

/// One output of a device: its slot, and its own number for it.
pub(crate) type Output = (usize, usize);

/// Who gets an interrupt: the CPU and the vector.
type Delivery = (usize, u8);

/// One input and its entry in the redirection table.
#[derive(Debug, Clone, Default)]
struct Input {
    /// The state that asserts it, of those who are wired to it.
    wired: Option<Polarity>,
    asserted_by: Vec<Output>,
    /// `None` until it is programmed.
    entry: Option<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    cpu: usize,
    vector: u8,
    trigger: Trigger,
    polarity: Polarity,
    masked: bool,
    /// Delivered, and its end was not signalled (remote IRR).
    in_service: bool,
}

impl Input {
    /// Whether the input sees what its entry calls asserted.
    fn is_active(&self) -> bool {
        let inverted = self.entry.zip(self.wired).is_some_and(|(entry, wired)| entry.polarity != wired);
        self.asserted_by.is_empty() == inverted
    }

    /// What a level input delivers now.
    fn deliverable(&mut self) -> Option<Delivery> {
        let active = self.is_active();
        let is_open = |entry: &&mut Entry| entry.trigger == Trigger::Level && !entry.masked && !entry.in_service;
        let entry = self.entry.as_mut().filter(is_open)?;
        entry.in_service = active;
        active.then_some((entry.cpu, entry.vector))
    }
}

/// The I/O APIC's state.
#[derive(Debug)]
pub(crate) struct Lines {
    inputs: Vec<Input>,
}

impl Lines {
    /// Inputs that devices are wired to, each with the state that asserts it.
    pub(crate) fn new(wired: Vec<(u32, Polarity)>) -> Self {
        let mut inputs = vec![Input::default(); INPUTS];
        for (gsi, polarity) in wired {
            let input = inputs.get_mut(gsi as usize).unwrap_or_else(|| panic!("the I/O APIC has no input {gsi}"));
            let before = input.wired.replace(polarity);
            assert!(before.is_none_or(|before| before == polarity), "who shares line {gsi} asserts it in one way");
        }
        Lines { inputs }
    }

    /// A device asserts its line, or no longer: who gets an interrupt for it.
    pub(crate) fn set(&mut self, gsi: u32, output: Output, asserted: bool) -> Option<Delivery> {
        let input = &mut self.inputs[gsi as usize];
        let before = input.is_active();
        input.asserted_by.retain(|other| *other != output);
        if asserted {
            input.asserted_by.push(output);
        }
        match input.entry {
            Some(Entry { trigger: Trigger::Edge, masked, cpu, vector, .. }) => {
                (!before && input.is_active() && !masked).then_some((cpu, vector))
            }
            _ => input.deliverable(),
        }
    }

    /// The end of an interrupt with `vector`, on whichever CPU: what level inputs deliver again.
    pub(crate) fn end_of_interrupt(&mut self, vector: u8) -> Vec<Delivery> {
        let mut again = Vec::new();
        for input in &mut self.inputs {
            if let Some(entry) = input.entry.as_mut().filter(|entry| entry.in_service && entry.vector == vector) {
                entry.in_service = false;
                again.extend(input.deliverable());
            }
        }
        again
    }

    /// Whether an interrupt of `gsi` would be taken.
    pub(crate) fn is_open(&self, gsi: u32) -> bool {
        self.entry(gsi).is_some_and(|entry| !entry.masked)
    }

    fn entry(&self, gsi: u32) -> Option<Entry> {
        self.inputs.get(gsi as usize)?.entry
    }

    fn leads_to(&self, gsi: u32, cpu: usize, vector: u8) -> bool {
        self.entry(gsi).is_some_and(|entry| (entry.cpu, entry.vector) == (cpu, vector))
    }

    /// Writes an entry, masked. What is in service stays so until its end, or until the entry becomes an edge's.
    fn program(&mut self, Line { gsi, trigger, polarity }: Line, cpu: usize, vector: u8) {
        let input = &mut self.inputs[gsi as usize];
        let in_service = trigger == Trigger::Level && input.entry.is_some_and(|entry| entry.in_service);
        input.entry = Some(Entry { cpu, vector, trigger, polarity, masked: true, in_service });
    }

    fn set_masked(&mut self, gsi: u32, masked: bool) -> Option<Delivery> {
        let input = &mut self.inputs[gsi as usize];
        input.entry.as_mut()?.masked = masked;
        input.deliverable()
    }
}

/// The I/O APIC as the core's bus code reaches it ([`crate::platform()`]).
#[derive(Debug)]
pub(crate) struct IoApic;

impl LineController for IoApic {
    fn program(&self, _: &mut At<'_, Passive>, line: Line, grant: Grant) -> Result<(), LineError> {
        if line.gsi as usize >= INPUTS {
            return Err(LineError::NoSuchLine(line.gsi));
        }
        here(|machine| {
            machine.stop_fine(Reach::Shared);
            if machine.lines.borrow().is_open(line.gsi) {
                let text = format!("line {} is programmed while it is not masked", line.gsi);
                machine.fail_here(FaultKind::Hal, text);
            }
            machine.note(|_| format!("line {} leads to vector {:#04x} of CPU {}", line.gsi, grant.vector, grant.cpu));
            machine.lines.borrow_mut().program(line, grant.cpu as usize, grant.vector);
        });
        Ok(())
    }

    fn set_masked(&self, _: &mut At<'_, Dirql>, gsi: u32, masked: bool) -> bool {
        here(|machine| {
            let exists = machine.lines.borrow().entry(gsi).is_some();
            if exists {
                machine.set_masked(gsi, masked);
            }
            exists
        })
    }

    fn state(&self, gsi: u32) -> Result<LineState, LineError> {
        let entry = here(|machine| machine.lines.borrow().entry(gsi)).ok_or(LineError::NoSuchLine(gsi))?;
        let Entry { vector, trigger, masked, in_service, .. } = entry;
        Ok(LineState { vector, trigger, masked, in_service })
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
        let trigger = if mode == Mode::LevelSensitive { Trigger::Level } else { Trigger::Edge };
        here(|machine| {
            let lines = &mut *machine.lines.borrow_mut();
            let polarity = lines.inputs[gsi as usize].wired.unwrap_or(Polarity::ActiveHigh);
            lines.program(Line { gsi, trigger, polarity }, cpu as usize, vector);
        });
        LineInput { gsi, can_mask: true }
    }

    /// The same, open from now on, without a mask bit: like a message of a function that cannot mask.
    pub fn without_mask(self) -> Self {
        here(|machine| machine.lines.borrow_mut().set_masked(self.gsi, false));
        LineInput { can_mask: false, ..self }
    }
}

impl Source for LineInput {
    fn mask(&self, _: &mut At<'_, Dirql>) -> bool {
        if self.can_mask {
            here(|machine| machine.set_masked(self.gsi, true));
        }
        self.can_mask
    }

    fn unmask(&self, _: &mut At<'_, Dirql>) {
        if self.can_mask {
            here(|machine| machine.set_masked(self.gsi, false));
        }
    }
}

fn here<R>(f: impl FnOnce(&Machine) -> R) -> R {
    machine::with_current(|machine| machine.within(f)).expect("a line is used by code that runs on a machine")
}

impl Machine {
    fn set_masked(&self, gsi: u32, masked: bool) {
        self.stop_fine(Reach::Shared);
        self.note(|_| format!("line {gsi} is {}", if masked { "masked" } else { "unmasked" }));
        let delivered = self.lines.borrow_mut().set_masked(gsi, masked);
        self.deliver_line(gsi, delivered);
    }

    /// The device in `slot` drives output `wire`.
    pub(crate) fn drive_line(&self, slot: usize, wire: usize, asserted: bool) {
        self.bus.borrow_mut().drive(slot, wire, asserted);
        self.update_line(slot, wire);
    }

    /// Something that gates the lines of the device in `slot` has changed.
    pub(crate) fn update_lines(&self, slot: usize) {
        let wires = self.bus.borrow().lines_of(slot).count();
        (0..wires).for_each(|wire| self.update_line(slot, wire));
    }

    fn update_line(&self, slot: usize, wire: usize) {
        let (gsi, drives) = (self.bus.borrow().lines_of(slot).nth(wire), self.bus.borrow().drives(slot, wire));
        let Some(gsi) = gsi else { return };
        let delivered = self.lines.borrow_mut().set(gsi, (slot, wire), drives);
        self.deliver_line(gsi, delivered);
    }

    /// The end of an interrupt, as the I/O APIC hears of it.
    pub(crate) fn end_line(&self, vector: u8) {
        let again = self.lines.borrow_mut().end_of_interrupt(vector);
        again.into_iter().for_each(|(cpu, vector)| self.request(cpu, vector, None));
    }

    /// The slots whose devices may have raised `vector` on the running CPU through a line.
    pub(crate) fn slots_on_line(&self, vector: u8) -> Vec<usize> {
        let (lines, bus) = (self.lines.borrow(), self.bus.borrow());
        let leads_here = |slot: &usize| bus.lines_of(*slot).any(|gsi| lines.leads_to(gsi, self.running.get(), vector));
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

    const HERE: Option<Delivery> = Some((0, 0x51));

    fn programmed(trigger: Trigger, polarity: Polarity) -> Lines {
        let mut lines = Lines::new(vec![(5, Polarity::ActiveLow), (6, Polarity::ActiveLow)]);
        lines.program(Line { gsi: 5, trigger, polarity }, 0, 0x51);
        lines
    }

    #[test]
    fn a_level_comes_again_after_its_end_while_anybody_asserts_it() {
        let mut lines = programmed(Trigger::Level, Polarity::ActiveLow);
        assert_eq!(lines.set(5, (1, 0), true), None);
        assert_eq!(lines.set_masked(5, false), HERE);
        assert_eq!(lines.set(5, (2, 0), true), None);
        assert_eq!(lines.set(5, (1, 0), false), None);
        assert_eq!(lines.end_of_interrupt(0x51), [(0, 0x51)]);
        assert_eq!(lines.set_masked(5, true), None);
        assert_eq!(lines.end_of_interrupt(0x51), []);
        assert_eq!(lines.set_masked(5, false), HERE);
        lines.set(5, (2, 0), false);
        assert_eq!(lines.end_of_interrupt(0x51), []);
    }

    #[test]
    fn an_edge_comes_once_and_neither_masked_nor_under_another() {
        let mut lines = programmed(Trigger::Edge, Polarity::ActiveLow);
        assert_eq!(lines.set(5, (1, 0), true), None);
        assert_eq!(lines.set_masked(5, false), None);
        lines.set(5, (1, 0), false);
        assert_eq!(lines.set(5, (1, 0), true), HERE);
        assert_eq!(lines.set(5, (2, 0), true), None);
        assert_eq!(lines.end_of_interrupt(0x51), []);
    }

    #[test]
    fn with_the_wrong_polarity_it_is_active_while_nobody_asserts_it() {
        let mut lines = programmed(Trigger::Level, Polarity::ActiveHigh);
        assert_eq!(lines.set_masked(5, false), HERE);
        lines.set(5, (1, 0), true);
        assert_eq!(lines.end_of_interrupt(0x51), []);
        assert_eq!(lines.set(5, (1, 0), false), HERE);
    }

    #[test]
    fn an_end_is_heard_by_its_vector_and_not_by_its_cpu() {
        let mut lines = programmed(Trigger::Level, Polarity::ActiveLow);
        lines.program(Line { gsi: 6, trigger: Trigger::Level, polarity: Polarity::ActiveLow }, 1, 0x51);
        lines.set(5, (1, 0), true);
        lines.set(6, (2, 0), true);
        assert_eq!((lines.set_masked(5, false), lines.set_masked(6, false)), (HERE, Some((1, 0x51))));
        assert_eq!(lines.end_of_interrupt(0x51), [(0, 0x51), (1, 0x51)]);
    }

    #[test]
    fn what_is_in_service_stays_so_when_its_entry_is_written() {
        let mut lines = programmed(Trigger::Level, Polarity::ActiveLow);
        lines.set(5, (1, 0), true);
        assert_eq!(lines.set_masked(5, false), HERE);
        lines.program(Line { gsi: 5, trigger: Trigger::Level, polarity: Polarity::ActiveLow }, 0, 0x61);
        assert_eq!(lines.set_masked(5, false), None, "the end of 0x51 will not be heard");
        assert_eq!(lines.end_of_interrupt(0x61), [(0, 0x61)]);
    }
}
