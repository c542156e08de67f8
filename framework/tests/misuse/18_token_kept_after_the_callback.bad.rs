//! A token ends with its callback.
mod common;
use common::*;

pub fn f(irq: &mut IsrCx<'_, H>, keep: &mut Option<&'static mut At<'static, Dirql>>) {
    *keep = Some(&mut **irq);
}
