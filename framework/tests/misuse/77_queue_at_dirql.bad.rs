//! Queue callbacks run at DISPATCH or at PASSIVE.
mod common;
use common::*;

pub struct X;

impl EvtIo for X {
    type Device = Dev;
    type Level = Dirql;
}
