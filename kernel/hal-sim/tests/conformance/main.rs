//! The conformance cases, by number, on the simulated machine: each under every schedule within a bound.
//!
//! A test named `cNN_...` shows case NN.

mod dpc;
mod irql;
mod lines;
mod sharers;
mod support;
