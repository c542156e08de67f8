//! Accesses to devices: where one goes, who answers, and what else it does.

use crate::{
    bus::Target,
    machine::Machine,
    model::{BusAccess, Model},
    schedule::Reach,
};

impl Machine {
    pub(crate) fn mmio_read(&self, address: usize, width: usize) -> u64 {
        self.read(width, || self.bus.borrow().decode(address))
    }

    pub(crate) fn mmio_write(&self, address: usize, width: usize, value: u64) {
        self.write(width, value, || self.bus.borrow().decode(address));
    }

    pub(crate) fn port_read(&self, port: u16, width: usize) -> u64 {
        self.read(width, || self.bus.borrow().decode_port(port, width))
    }

    pub(crate) fn port_write(&self, port: u16, width: usize, value: u64) {
        self.write(width, value, || self.bus.borrow().decode_port(port, width));
    }

    fn read(&self, width: usize, decode: impl FnOnce() -> Target) -> u64 {
        self.stop_fine(Reach::Shared);
        let ones = u64::MAX >> (64 - 8 * width);
        if self.dead.get() {
            return ones;
        }
        let target = decode();
        if let Some(slot) = target.slot() {
            self.flush_messages(slot);
        }
        let value = match target {
            Target::Nothing => ones,
            Target::Config { slot, offset } => self.bus.borrow().config_read(slot, offset, width),
            Target::MsiX { slot, part, offset } => self.bus.borrow().msix_read(slot, part, offset, width),
            Target::Bar { slot, bar, offset } => {
                self.with_model(slot, |model, bus| model.read(bar, offset, width, bus)) & ones
            }
            Target::Ports { slot, range, offset } => {
                self.with_model(slot, |model, bus| model.read(range, offset.into(), width, bus)) & ones
            }
        };
        self.note_access(target, || format!("{target} reads {value:#x}"));
        value
    }

    fn write(&self, width: usize, value: u64, decode: impl FnOnce() -> Target) {
        self.stop_fine(Reach::Shared);
        if self.dead.get() {
            return;
        }
        let target = decode();
        self.note_access(target, || format!("{target} is written {value:#x}"));
        match target {
            Target::Nothing => {}
            Target::Config { slot, offset } => {
                let effects = self.bus.borrow_mut().config_write(slot, offset, width, value);
                self.apply(slot, effects);
            }
            Target::MsiX { slot, part, offset } => {
                let effects = self.bus.borrow_mut().msix_write(slot, part, offset, width, value);
                self.apply(slot, effects);
            }
            Target::Bar { slot, bar, offset } => {
                self.with_model(slot, |model, bus| model.write(bar, offset, width, value, bus));
            }
            Target::Ports { slot, range, offset } => {
                self.with_model(slot, |model, bus| model.write(range, offset.into(), width, value, bus));
            }
        }
    }

    fn note_access(&self, target: Target, what: impl FnOnce() -> String) {
        if self.recorder.borrow().is_on() {
            let location = self.strands.borrow_mut()[self.cpu().fiber.get()].accessor.take();
            self.note_line(what(), location, !matches!(target, Target::Bar { .. } | Target::Ports { .. }));
        }
    }

    /// Runs `f`, which has the model in `slot`, and applies what it did to the rest of the machine.
    pub(crate) fn with_access<R>(&self, slot: usize, f: impl FnOnce(&mut BusAccess<'_>) -> R) -> R {
        let (result, effects) = {
            let (bus, memory) = (&mut *self.bus.borrow_mut(), &mut *self.memory.borrow_mut());
            bus.with_access(slot, memory, self.now.get(), f)
        };
        self.apply(slot, effects);
        result
    }

    /// Runs `f` on a model and applies what it did to the rest of the machine.
    pub(crate) fn with_model<R>(&self, slot: usize, f: impl FnOnce(&mut dyn Model, &mut BusAccess<'_>) -> R) -> R {
        let (result, effects) = {
            let (bus, memory) = (&mut *self.bus.borrow_mut(), &mut *self.memory.borrow_mut());
            bus.with_model(slot, memory, self.now.get(), f)
        };
        self.apply(slot, effects);
        result
    }
}
