//! Who submits a request at DISPATCH cannot wait for it there.
mod common;
use common::*;

use framework::{File, Pending};

pub fn f(file: &File, at: &mut At<'_, Dispatch>) {
    let pending: Pending = file.submit_read(at, 4);
    let _ = pending.wait(at);
}
