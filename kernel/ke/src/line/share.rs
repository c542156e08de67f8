//! One member's say in whether its line is masked.

use super::Line;
use crate::{at::At, interrupt::Source, level::Dirql};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering::AcqRel};

/// The source of an interrupt on a line: the line, masked while any of its members wants it.
pub(crate) struct Share {
    line: Arc<Line>,
    masks: AtomicBool,
}

impl Share {
    pub(crate) fn new(line: Arc<Line>) -> Self {
        Share { line, masks: AtomicBool::new(false) }
    }
}

impl Source for Share {
    fn mask(&self, at: &mut At<'_, Dirql>) -> bool {
        if !self.masks.swap(true, AcqRel) {
            self.line.mask_more(at);
        }
        true
    }

    fn unmask(&self, at: &mut At<'_, Dirql>) {
        if self.masks.swap(false, AcqRel) {
            self.line.mask_less(at);
        }
    }
}
