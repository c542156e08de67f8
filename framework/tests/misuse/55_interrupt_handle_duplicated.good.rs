//! An interrupt has one handle.
mod common;
use common::*;

pub fn f(dev: Dev) -> Interrupt<H> {
    dev.irq
}
