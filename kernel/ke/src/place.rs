//! Where in a program something was done, for those who report it later.
//!
//! **Invariant:** the pointer is null or a `Location` of the program, which lives for ever.

use core::{
    fmt,
    panic::Location,
    ptr,
    sync::atomic::{AtomicPtr, Ordering::Relaxed},
};

/// A line of a program, noted by one and read by another, at any IRQL and without a lock.
///
/// ```
/// use ke::PlaceCell;
/// use core::panic::Location;
/// let parked = PlaceCell::new();
/// assert!(parked.get().is_none());
/// parked.set(Location::caller());
/// assert!(parked.to_string().starts_with("at "));
/// ```
pub struct PlaceCell(AtomicPtr<Location<'static>>);

impl PlaceCell {
    /// Nothing is noted.
    pub const fn new() -> Self {
        PlaceCell(AtomicPtr::new(ptr::null_mut()))
    }

    /// Notes `place`.
    #[inline]
    pub fn set(&self, place: &'static Location<'static>) {
        self.0.store(ptr::from_ref(place).cast_mut(), Relaxed);
    }

    /// What was noted last.
    pub fn get(&self) -> Option<&'static Location<'static>> {
        // SAFETY: by the invariant.
        unsafe { self.0.load(Relaxed).as_ref() }
    }
}

impl Default for PlaceCell {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for PlaceCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Some(place) => write!(f, "at {place}"),
            None => f.write_str("nowhere"),
        }
    }
}

impl fmt::Debug for PlaceCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PlaceCell").field(&self.get()).finish()
    }
}
