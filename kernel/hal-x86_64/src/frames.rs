//! Physical frames: which are free, and runs of them below an address limit.
//!
//! One bit a frame, searched from the top down, so that memory below a device's limit is the last to go.
//!
//! **Invariant:** a set bit is a frame of usable RAM that nobody has; no frame at or above `top` has its bit set.

use crate::layout::PAGE;
use core::ops::Range;

/// The free frames of the machine.
#[derive(Debug)]
pub struct Frames<'m> {
    bits: &'m mut [u64],
    top: usize,
    free: usize,
}

impl<'m> Frames<'m> {
    /// Words of bitmap for memory up to the address `end`.
    pub const fn words(end: u64) -> usize {
        end.div_ceil(PAGE * 64) as usize
    }

    /// No free frames; `bits` is [`Frames::words`] long.
    pub fn new(bits: &'m mut [u64]) -> Self {
        bits.fill(0);
        Frames { bits, top: 0, free: 0 }
    }

    /// The number of free frames.
    pub fn free_count(&self) -> usize {
        self.free
    }

    /// Makes the frames of `range` (whole frames) free.
    ///
    /// # Panics
    /// If one of them is free already: somebody gave back what was not theirs.
    pub fn release(&mut self, range: Range<u64>) {
        let (first, end) = ((range.start / PAGE) as usize, (range.end / PAGE) as usize);
        let mut frame = first;
        while frame < end {
            // As many as are in this word: a machine has millions of frames to release at boot.
            let count = (64 - frame % 64).min(end - frame);
            let mask = (u64::MAX >> (64 - count)) << (frame % 64);
            let word = &mut self.bits[frame / 64];
            assert!(*word & mask == 0, "a frame from {:#x} on was freed twice", frame as u64 * PAGE);
            *word |= mask;
            frame += count;
        }
        self.free += end - first;
        self.top = self.top.max(end);
    }

    /// Takes the frames that `range` touches out of use, free or not.
    pub fn reserve(&mut self, range: Range<u64>) {
        let end = (range.end.div_ceil(PAGE) as usize).min(self.bits.len() * 64);
        for frame in (range.start / PAGE) as usize..end {
            if self.is_free(frame) {
                self.take(frame);
            }
        }
    }

    /// The address of `count` contiguous frames that end at or below `limit`.
    pub fn allocate(&mut self, count: usize, limit: u64) -> Option<u64> {
        let highest = ((limit / PAGE) as usize).min(self.top);
        let mut frame = highest;
        let mut run = 0;
        let mut seen_free = false;
        while frame > 0 {
            if frame.is_multiple_of(64) && self.bits[frame / 64 - 1] == 0 {
                frame -= 64;
                run = 0;
                continue;
            }
            frame -= 1;
            if !self.is_free(frame) {
                run = 0;
                continue;
            }
            if !seen_free && highest == self.top {
                self.top = frame + 1;
            }
            seen_free = true;
            run += 1;
            if run == count {
                for frame in frame..frame + count {
                    self.take(frame);
                }
                return Some(frame as u64 * PAGE);
            }
        }
        None
    }

    fn is_free(&self, frame: usize) -> bool {
        self.bits[frame / 64] >> (frame % 64) & 1 != 0
    }

    fn take(&mut self, frame: usize) {
        self.bits[frame / 64] &= !(1 << (frame % 64));
        self.free -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn sixteen_mib(bits: &mut [u64]) -> Frames<'_> {
        let mut frames = Frames::new(bits);
        frames.release(MIB..16 * MIB);
        frames
    }

    fn bitmap() -> std::vec::Vec<u64> {
        std::vec![u64::MAX; Frames::words(16 * MIB)]
    }

    #[test]
    fn the_highest_frames_go_first() {
        let mut bits = bitmap();
        let mut frames = sixteen_mib(&mut bits);
        assert_eq!(frames.allocate(1, u64::MAX), Some(16 * MIB - PAGE));
        assert_eq!(frames.allocate(4, u64::MAX), Some(16 * MIB - 5 * PAGE));
        assert_eq!(frames.free_count(), 15 * 256 - 5);
    }

    #[test]
    fn a_run_ends_at_or_below_its_limit() {
        let mut bits = bitmap();
        let mut frames = sixteen_mib(&mut bits);
        assert_eq!(frames.allocate(2, 2 * MIB), Some(2 * MIB - 2 * PAGE));
        assert_eq!(frames.allocate(1, 2 * MIB - 1), Some(2 * MIB - 3 * PAGE));
        assert_eq!(frames.allocate(1, MIB), None);
        assert_eq!(frames.allocate(1, u64::MAX), Some(16 * MIB - PAGE), "a low limit must not hide the memory above");
    }

    #[test]
    fn a_run_does_not_cross_a_hole() {
        let mut bits = bitmap();
        let mut frames = sixteen_mib(&mut bits);
        frames.reserve(16 * MIB - 2 * PAGE - 1..16 * MIB - 2 * PAGE);
        assert_eq!(frames.allocate(3, u64::MAX), Some(16 * MIB - 6 * PAGE));
        assert_eq!(frames.allocate(2, u64::MAX), Some(16 * MIB - 2 * PAGE));
    }

    #[test]
    fn everything_can_be_taken_and_given_back() {
        let mut bits = bitmap();
        let mut frames = sixteen_mib(&mut bits);
        let all: std::vec::Vec<u64> = core::iter::from_fn(|| frames.allocate(1, u64::MAX)).collect();
        assert_eq!((all.len(), frames.free_count()), (15 * 256, 0));
        for frame in all {
            frames.release(frame..frame + PAGE);
        }
        assert_eq!(frames.allocate(15 * 256, u64::MAX), Some(MIB));
    }

    #[test]
    fn a_range_is_released_to_the_frame() {
        let mut bits = bitmap();
        let mut frames = Frames::new(&mut bits);
        frames.release(61 * PAGE..200 * PAGE);
        assert_eq!(frames.free_count(), 139);
        let all: std::vec::Vec<u64> = core::iter::from_fn(|| frames.allocate(1, u64::MAX)).collect();
        assert!(all.into_iter().eq((61..200).rev().map(|frame| frame * PAGE)));
    }

    #[test]
    #[should_panic(expected = "freed twice")]
    fn a_double_free_is_noticed() {
        let mut bits = bitmap();
        let mut frames = sixteen_mib(&mut bits);
        frames.release(2 * MIB..2 * MIB + PAGE);
    }
}
