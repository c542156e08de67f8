//! Code that holds an interrupt lock cannot wait.
mod common;
use common::*;

pub fn f(dev: &Dev, at: &mut At<'_, Passive>) {
    dev.irq.synchronize(at, |_, at| dev.regs.ack.write(at, 1));
}
