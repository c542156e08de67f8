//! The conformance cases, by number, on the simulated machine: each under every schedule within a bound.
//!
//! A test named `cNN_...` shows case NN; `docs/conformance.md` lists them and is kept up to date by [`table`].

mod closures;
mod delivery;
mod dpc;
mod forms;
mod irql;
mod lines;
mod moving;
mod passive;
mod sets;
mod sharers;
mod storms;
mod support;
mod table;
mod wait_lock;
mod watchdog;
