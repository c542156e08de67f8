//! Registers have one owner, or they would outlive their mapping.
mod common;
use common::*;

pub fn f(dev: &Dev) {
    let regs = &dev.regs;
}
