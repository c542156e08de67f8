//! The checks that every schedule must pass beside the test's own.

use crate::{
    fault::FaultKind,
    machine::{CpuWait, Machine},
    strand::{Frame, Strand, thread_and_place},
};
use ke::percpu::{CLOCK_VECTOR, DISPATCH_VECTOR};
use std::sync::atomic::Ordering::Relaxed;

/// The level word and CR8 of a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) word: u64,
    task_priority: u8,
}

/// What a device asserted when its ISR started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asserted {
    slot: usize,
    status: u64,
    /// How often it had sent a message or driven its line.
    signals: u64,
}

impl Machine {
    pub(crate) fn begin_callback(&self, what: &'static str, object: usize) {
        let fiber = self.cpu().fiber.get();
        let levels = self.levels();
        let vector = match self.strands.borrow()[fiber].frames.last() {
            Some(Frame::Interrupt(vector)) => Some(*vector),
            _ => None,
        };
        let asserted = vector.map_or(Vec::new(), |vector| self.asserted(vector));
        let strand = &mut self.strands.borrow_mut()[fiber];
        strand.frames.push(Frame::Callback { what, object, levels, asserted, last: strand.last });
    }

    /// A callback ends: with the levels it began with, and if it claimed an interrupt, with nothing left of it.
    pub(crate) fn end_callback(&self, claimed: bool) {
        let fiber = self.cpu().fiber.get();
        let frame = self.strands.borrow_mut()[fiber].frames.pop();
        let Some(Frame::Callback { what, object, levels, asserted, last }) = frame else { return };
        self.strands.borrow_mut()[fiber].last = last;
        let now = self.levels();
        if now != levels && !self.is_verified(object) {
            let text = format!("the {what} began at {levels} and ends at {now}: a guard was forgotten");
            return self.fail_here(FaultKind::IrqlImbalance, text);
        }
        let Some(first) = asserted.iter().find(|before| claimed && before.status != 0) else { return };
        // On a shared line it is enough that one of them was served, or has something new to say.
        let left = |before: &Asserted| {
            let after = self.asserted_by(before.slot);
            (before.signals == after.signals).then_some(before.status & after.status)
        };
        let as_before = |before: &Asserted| left(before).is_some_and(|left| left != 0 || before.status == 0);
        if !asserted.iter().all(as_before) {
            return;
        }
        let name = self.bus.borrow().slots()[first.slot].name.clone();
        let text = format!("the ISR claimed an interrupt of {name}, which still asserts {:#x}", first.status);
        self.fail_here(FaultKind::StillAsserted, text);
    }

    /// What each device asserts that may have raised `vector` on the running CPU.
    fn asserted(&self, vector: u8) -> Vec<Asserted> {
        let source = self.cpu().sources.borrow()[usize::from(vector)];
        let slots = source.map_or_else(|| self.slots_on_line(vector), |slot| vec![slot.into()]);
        slots.into_iter().map(|slot| self.asserted_by(slot)).collect()
    }

    fn asserted_by(&self, slot: usize) -> Asserted {
        let bus = self.bus.borrow();
        Asserted { slot, status: bus.interrupt_status(slot), signals: bus.slots()[slot].signals }
    }

    pub(crate) fn levels(&self) -> Levels {
        Levels { word: self.percpu().level_word().load(Relaxed), task_priority: self.cpu().task_priority.get() }
    }

    /// An interrupt leaves the levels as it found them, even if its thread went on as another CPU meanwhile.
    pub(crate) fn check_levels(&self, vector: u8, before: Levels) {
        let after = self.levels();
        if before != after {
            let text =
                format!("interrupt {vector:#04x} came at {before} and returned at {after}: a guard was forgotten");
            self.fail_here(FaultKind::IrqlImbalance, text);
        }
    }

    /// A thread switches at DISPATCH and nowhere else.
    pub(crate) fn check_switch(&self) {
        let levels = self.levels();
        if levels != (Levels { word: ke::irql::DISPATCH.into(), task_priority: 0 }) {
            let who = self.who(self.cpu().fiber.get());
            self.fail_here(FaultKind::IrqlImbalance, format!("{who} switches away at {levels}: a guard was forgotten"));
        }
    }

    /// The interrupt of a device or line reaches a CPU: somebody is connected there. One that came before the last disconnect and is
    /// taken after it is no fault; the core drops it.
    pub(crate) fn check_connected(&self, name: &str, cpu: usize, vector: u8) {
        if self.system().cpus()[cpu].is_free(vector) {
            let text = format!("vector {vector:#04x} comes from {name} to CPU {cpu}, and nothing is connected to it");
            self.fail_here(FaultKind::UnexpectedInterrupt, text);
        }
    }

    /// Every CPU waits, and no ISR sleeps in the middle: what a device still asserts nobody will ever handle.
    pub(crate) fn check_quiescent(&self) {
        let halted = self.cpus.iter().all(|cpu| cpu.wait.get() == CpuWait::Halted);
        let is_isr = |frame: &Frame| matches!(frame, Frame::Callback { what: "ISR", .. });
        let isr_sleeps = self.strands.borrow().iter().any(|strand| strand.frames.iter().any(is_isr));
        let found = (halted && !isr_sleeps).then(|| self.still_asserted()).flatten();
        if let Some(text) = found {
            self.fail_here(FaultKind::StillAsserted, text);
        }
    }

    fn still_asserted(&self) -> Option<String> {
        let bus = self.bus.borrow();
        let in_flight = self.in_flight.borrow();
        let on_its_way = |slot: usize| in_flight.iter().any(|message| message.slot == slot);
        let lines = self.lines.borrow();
        let is_open = |slot: usize| bus.lines_of(slot).any(|gsi| lines.is_open(gsi));
        let can_interrupt = |slot: usize| bus.can_interrupt(slot) || is_open(slot);
        let asserted = |slot: &usize| can_interrupt(*slot) && bus.interrupt_status(*slot) != 0 && !on_its_way(*slot);
        let slot = (0..bus.slots().len()).find(asserted)?;
        let (name, status) = (&bus.slots()[slot].name, bus.interrupt_status(slot));
        Some(format!(
            "{name} still asserts {status:#x} and every CPU is idle: it is lost, or an ISR claimed it without acknowledging"
        ))
    }

    /// The end of a run that went well so far.
    pub(crate) fn check_leaks(&self) {
        let (blocks, bytes) = self.memory.borrow().in_use();
        if blocks > 0 {
            self.fail(FaultKind::Leak, format!("{blocks} DMA blocks ({bytes} bytes) are left at the end"));
        }
        // The core's own threads, which stay, have never been seen at a point outside of it.
        let stays = |strand: &&Strand| !strand.ended && !strand.thread.is_null() && strand.last.is_some();
        let thread = self.strands.borrow().iter().find(stays).map(thread_and_place);
        if let Some(text) = thread {
            self.fail(FaultKind::Leak, format!("{text} and is left at the end"));
        }
        for cpu in self.system().cpus() {
            let connected = |vector: &u8| !matches!(*vector, DISPATCH_VECTOR | CLOCK_VECTOR) && !cpu.is_free(*vector);
            if let Some(vector) = (0..=u8::MAX).find(connected) {
                let text = format!("vector {vector:#04x} of CPU {} is still connected at the end", cpu.number());
                self.fail(FaultKind::Leak, text);
            }
        }
    }
}

impl std::fmt::Display for Levels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "level {} with CR8 {}", self.word, self.task_priority)
    }
}
