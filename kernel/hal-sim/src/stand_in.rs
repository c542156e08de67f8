//! A cell for planted faults: what shared data without a lock would be, if safe Rust allowed it.

use crate::machine;
use ke::hal::{Hal, Point};
use std::{
    panic::Location,
    sync::{Mutex, PoisonError},
};

/// Data that several callbacks reach without a lock. Each access is a point of exploration, so a read and the write that
/// follows it can be torn apart as on a real machine; none is undefined behaviour.
///
/// For tests that show a race being found. A driver cannot have one: it does not depend on this crate.
#[derive(Debug, Default)]
pub struct StandInCell<T>(Mutex<T>);

impl<T: Copy> StandInCell<T> {
    /// A cell that holds `value`.
    pub const fn new(value: T) -> Self {
        StandInCell(Mutex::new(value))
    }

    /// Reads the value.
    #[track_caller]
    pub fn get(&self) -> T {
        self.point(Location::caller());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the value.
    #[track_caller]
    pub fn set(&self, value: T) {
        self.point(Location::caller());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    fn point(&self, location: &'static Location<'static>) {
        let address = std::ptr::from_ref(self).addr();
        // Outside of a machine there is nobody to race with.
        let _ = machine::with_current(|machine| machine.port().point(Point::Atomic, address, location));
    }
}
