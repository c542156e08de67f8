//! An interrupt that is configured must be created.
mod common;
use common::*;

#[deny(unused_must_use)]
pub fn f(hw: &mut Resources<'_, Dev>) {
    hw.interrupt(H, 0).affinity(Affinity::Spread);
}
