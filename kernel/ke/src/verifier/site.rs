//! Where a lock was taken: at a line of a driver, or by the core for a callback. One word.
//!
//! **Invariant:** the word is the address of a `Location` or, with [`CALLBACK`] in it, of a [`Callback`]; both live for ever.

use super::Watched;
use core::{fmt, panic::Location, ptr};

/// In the word: it is a callback.
const CALLBACK: usize = 1;
const _: () = assert!(align_of::<Location<'static>>() > CALLBACK && align_of::<Callback>() > CALLBACK);

/// A callback that the core calls.
pub(crate) struct Callback {
    pub(crate) what: Watched,
    pub(crate) name: fn() -> &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Site(*const ());

impl Site {
    #[inline(always)]
    pub(crate) fn line(location: &'static Location<'static>) -> Self {
        Site(ptr::from_ref(location).cast())
    }

    #[inline(always)]
    pub(crate) fn callback(callback: &'static Callback) -> Self {
        Site(ptr::from_ref(callback).cast::<()>().map_addr(|address| address | CALLBACK))
    }

    #[inline(always)]
    pub(crate) fn word(self) -> *const () {
        self.0
    }

    pub(crate) fn is_line(self) -> bool {
        self.0.addr() & CALLBACK == 0
    }

    /// # Safety
    /// `word` is from [`Self::word`].
    pub(crate) unsafe fn from_word(word: *const ()) -> Self {
        Site(word)
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_line() {
            // SAFETY: by the invariant.
            return write!(f, "at {}", unsafe { &*self.0.cast::<Location<'static>>() });
        }
        // SAFETY: by the invariant.
        let callback = unsafe { &*self.0.map_addr(|address| address & !CALLBACK).cast::<Callback>() };
        write!(f, "by the core for the {} \"{}\"", callback.what.name(), (callback.name)())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_says_which_line_or_which_callback() {
        let line = line!() + 1;
        let here = Site::line(Location::caller());
        assert!(here.to_string().ends_with(&format!("site.rs:{line}:{}", 31)), "{here}");
        static ISR: Callback = Callback { what: Watched::Isr, name: || "edu" };
        assert_eq!(Site::callback(&ISR).to_string(), "by the core for the ISR \"edu\"");
    }
}
