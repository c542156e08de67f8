//! One model on a bench, for its own tests: no bus decodes, no explorer decides.

use super::{BusAccess, Model};
use crate::{bus::Function, memory::Memory};

pub(super) struct Bench<M> {
    pub(super) model: M,
    /// `None`: at fixed ports.
    pub(super) function: Option<Function>,
    pub(super) memory: Memory,
    /// How many messages it has sent.
    pub(super) messages: usize,
    /// How it has driven its lines.
    pub(super) lines: Vec<(usize, bool)>,
    pub(super) fault: Option<String>,
}

impl<M: Model> Bench<M> {
    pub(super) fn new(model: M, function: Option<Function>) -> Self {
        Bench { model, function, memory: Memory::new(), messages: 0, lines: Vec::new(), fault: None }
    }

    pub(super) fn access<R>(&mut self, f: impl FnOnce(&mut M, &mut BusAccess<'_>) -> R) -> R {
        let mut access = BusAccess {
            memory: &mut self.memory,
            now: 0,
            function: self.function.as_mut(),
            sent: Vec::new(),
            lines: Vec::new(),
            fault: None,
            leave: false,
        };
        let result = f(&mut self.model, &mut access);
        self.messages += access.sent.len();
        self.lines.append(&mut access.lines);
        self.fault = access.fault;
        result
    }

    /// Reads `width` bytes of the first BAR or range of ports.
    pub(super) fn read(&mut self, offset: u64, width: usize) -> u64 {
        self.access(|model, bus| model.read(0, offset, width, bus))
    }

    pub(super) fn write(&mut self, offset: u64, width: usize, value: u64) {
        self.access(|model, bus| model.write(0, offset, width, value, bus));
    }

    /// Takes the first step there is, and says which.
    pub(super) fn step(&mut self) -> Option<&'static str> {
        let mut steps = Vec::new();
        self.model.steps(&mut steps);
        let step = *steps.first()?;
        self.access(|model, bus| model.step(step.id, bus));
        Some(step.what)
    }
}
