//! There are three levels and no others.
mod common;
use common::*;

pub enum Mine {}
