//! The border between the machine and what runs on it.
//!
//! The core holds a [`Port`], which passes every `Hal` call on to the [`Machine`] and marks that it is inside: what the
//! explorer allocates there is not the driver's doing.
//!
//! **Invariant:** `Machine::inside` is set exactly while code of this crate runs on a fiber of the machine.

use crate::machine::Machine;
use ke::hal::{Hal, Point};
use std::panic::Location;

/// A machine as the core sees it.
pub(crate) struct Port(pub(crate) *const Machine);

impl Port {
    fn machine(&self) -> &Machine {
        // SAFETY: the machine owns its port and does not move.
        unsafe { &*self.0 }
    }

    fn enter(&self) -> Inside<'_> {
        let machine = self.machine();
        Inside { machine, before: machine.inside.replace(true) }
    }
}

/// Marks the machine's own code until dropped.
struct Inside<'m> {
    machine: &'m Machine,
    before: bool,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.machine.inside.set(self.before);
    }
}

macro_rules! pass_on {
    (() $($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)*) => {
        // SAFETY: each method is the machine's.
        unsafe impl Hal for Port {
            $(fn $name(&self, $($arg: $type),*) -> $ret {
                let inside = self.enter();
                Hal::$name(inside.machine, $($arg),*)
            })*

            fn spin(&self, word: usize) {
                let inside = self.enter();
                Hal::spin(inside.machine, word);
            }
            fn spin_wake(&self, word: usize) {
                let inside = self.enter();
                Hal::spin_wake(inside.machine, word);
            }
            fn point(&self, what: Point, object: usize, location: &'static Location<'static>) {
                let inside = self.enter();
                Hal::point(inside.machine, what, object, location);
            }
            fn dead(&self) -> bool {
                self.machine().dead.get()
            }
        }
    };
}
ke::hal_methods!((pass_on));
