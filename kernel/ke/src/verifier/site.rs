//! Where a lock was taken: a line of a driver, or the core itself on behalf of an ISR. One word.
//!
//! **Invariant:** the word is the address of a `Location` or, with [`ISR`] in it, of an [`Isr`]; both live for ever.

use core::{fmt, panic::Location, ptr};

/// In the word: it is an ISR.
const ISR: usize = 1;
const _: () =
    assert!(align_of::<Location<'static>>() > ISR && align_of::<Isr>() > ISR, "the addresses leave the bit free");

/// An ISR, by its name.
pub(crate) struct Isr {
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
    pub(crate) fn isr(isr: &'static Isr) -> Self {
        Site(ptr::from_ref(isr).cast::<()>().map_addr(|address| address | ISR))
    }

    #[inline(always)]
    pub(crate) fn word(self) -> *const () {
        self.0
    }

    /// # Safety
    /// `word` is from [`Self::word`].
    pub(crate) unsafe fn from_word(word: *const ()) -> Self {
        Site(word)
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.addr() & ISR == 0 {
            // SAFETY: by the invariant.
            return write!(f, "at {}", unsafe { &*self.0.cast::<Location<'static>>() });
        }
        // SAFETY: by the invariant.
        let isr = unsafe { &*self.0.map_addr(|address| address & !ISR).cast::<Isr>() };
        write!(f, "by the core for the ISR \"{}\"", (isr.name)())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_says_which_line_or_which_isr() {
        let line = line!() + 1;
        let here = Site::line(Location::caller());
        assert!(here.to_string().ends_with(&format!("site.rs:{line}:{}", 31)), "{here}");
        static ISR: Isr = Isr { name: || "edu" };
        assert_eq!(Site::isr(&ISR).to_string(), "by the core for the ISR \"edu\"");
    }
}
