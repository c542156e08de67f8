//! The simulated machine: the core, the framework and a driver, unchanged, on virtual CPUs in one process of the host,
//! with every interleaving of its interrupts, CPUs, devices and timers explored up to a bound.
//!
//! A scenario plugs device models into a bus and says what its main thread does. [`Explorer::run`] runs it under every
//! schedule that leaves the default at most so many times; a failure prints what happened line by line and a string that
//! brings it back: `DIRQL_REPLAY='name:17.1-42.2' cargo test`.
//!
//! ```
//! use hal_sim::Explorer;
//! use ke::{Event, thread};
//! use std::sync::Arc;
//!
//! // An event that another thread sets wakes the main thread, whatever runs when.
//! let stats = Explorer::new("event").cpus(2).run(|machine| {
//!     machine.main(|at| {
//!         let ready = Arc::new(Event::new());
//!         let setter = ready.clone();
//!         let helper = thread::spawn(at, "helper", move |at| setter.set(at)).expect("the host has memory");
//!         ready.wait(at).expect("no device goes away here");
//!         helper.join(at);
//!     });
//! });
//! assert!(stats.complete);
//! ```
//!
//! **What is exhaustive.** For a driver in safe Rust that uses framework types alone, code between two framework calls
//! touches only what its locks give it, so it commutes with every interrupt: exploring at those calls covers every
//! sequentially consistent behaviour within the bound. The core itself is explored at every `Hal` call
//! ([`Granularity::Fine`]). Weak memory is not modelled.
//!
//! **What fails a schedule.** The scenario's own assertions, and oracles that are always on: see [`FaultKind`].
//!
//! **How it works.** `chooser` answers every question that could go either way; `machine` runs one schedule, `schedule`
//! decides at its stops, `hal` is the machine as the core sees it, `fiber` switches stacks, `apic`, `bus` and `memory`
//! are the hardware, [`model`] the devices, `oracle` the checks, `explore` the search.

#![warn(missing_docs)]

mod apic;
mod bus;
mod chooser;
mod explore;
mod fault;
mod fiber;
mod hal;
mod machine;
mod memory;
pub mod model;
mod oracle;
mod schedule;
mod stand_in;
mod trace;

pub use bus::{ECAM_BASE, ECAM_BUSES, platform};
pub use explore::{Device, Explorer, Failure, Granularity, Setup, Stats, Switcher, run_once};
pub use fault::FaultKind;
pub use stand_in::StandInCell;
pub use trace::{Line, Trace};
