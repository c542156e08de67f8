//! There are three levels and no others.
mod common;
use common::*;

pub enum Mine {} impl Level for Mine { const IRQL: u8 = 0; const NAME: &'static str = ""; }
