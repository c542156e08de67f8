//! The simulated machine: the core, the framework and a driver, unchanged, on virtual CPUs in one process of the host,
//! with every interleaving of its interrupts, CPUs, devices and timers explored up to a bound.
//!
//! A scenario plugs device models into a bus and says what its main thread does. [`Explorer::run`] runs it under every
//! schedule that leaves the default at most so many times; a failure prints what happened line by line and a string that
//! brings it back: `DIRQL_REPLAY='name:17.1-42.2' cargo test`.
//!
//! ```
//! use hal_sim::Explorer;
//! use ke::{Event, thread::{self, ThreadOptions}};
//! use std::sync::Arc;
//!
//! // An event that another thread sets wakes the main thread, whatever runs when.
//! let stats = Explorer::new("event").cpus(2).run(|machine| {
//!     machine.main(|at| {
//!         let ready = Arc::new(Event::new());
//!         let setter = ready.clone();
//!         let helper = thread::spawn(at, ThreadOptions::named("helper"), move |at| setter.set(at));
//!         ready.wait(at).expect("no device goes away here");
//!         helper.expect("the host has memory").join(at).expect("no device goes away here");
//!     });
//! });
//! assert!(stats.complete);
//! ```
//!
//! A driver's test plugs a device in, starts the driver on [`platform()`]'s bus and asks something of it. A planted fault
//! shows that the exploration would have found it:
//!
//! ```
//! use hal_sim::{Explorer, FaultKind, StandInCell};
//! use ke::thread::{self, ThreadOptions};
//! use std::sync::Arc;
//!
//! let failure = Explorer::new("lost update").cpus(2).expect_failure(|machine| {
//!     machine.device(hal_sim::model::Edu::new());
//!     machine.main(|at| {
//!         let bus = io::Bus::enumerate(at, &hal_sim::platform());
//!         assert_eq!(bus.devices().len(), 1);
//!         // What no driver can write: data that two CPUs change without a lock.
//!         let count = Arc::new(StandInCell::new(0));
//!         let theirs = count.clone();
//!         let other = thread::spawn(at, ThreadOptions::named("other"), move |_| theirs.set(theirs.get() + 1));
//!         count.set(count.get() + 1);
//!         other.expect("the host has memory").join(at).expect("no device goes away here");
//!         assert_eq!(count.get(), 2);
//!     });
//! });
//! assert_eq!(failure.kind(), FaultKind::BugCheck);
//! println!("{failure}");                        // every step, and the string for DIRQL_REPLAY
//! assert_eq!(failure.replay().trace().to_string(), failure.trace().to_string());
//! ```
//!
//! **What is exhaustive.** For a driver in safe Rust that uses framework types alone, code between two framework calls
//! touches only what its locks give it, so it commutes with every interrupt: exploring at those calls covers every
//! sequentially consistent behaviour within the bound. The core itself is explored at every `Hal` call
//! ([`Granularity::Fine`]). Weak memory is not modelled.
//!
//! **What fails a schedule.** The scenario's own assertions, oracles that are always on (see [`FaultKind`]), and the [verifier](ke::verifier),
//! which names the driver's lines and is on unless [`Explorer::without_verifier`] says otherwise.
//!
//! **How it works.** `chooser` answers every question that could go either way; `machine` runs one schedule, `schedule`
//! decides at its stops, `port` and `hal` are the machine as the core sees it, `fiber` switches stacks, `apic`, `lines`, `bus` and
//! `memory` are the hardware, [`model`] the devices, `platform` the firmware, `oracle` and `callbacks` the checks, `explore` the search.

#![warn(missing_docs)]

mod access;
mod allocator;
mod apic;
mod bus;
mod callbacks;
mod chooser;
mod explore;
mod fault;
mod fiber;
mod hal;
mod lines;
mod machine;
mod memory;
pub mod model;
mod oracle;
mod panics;
mod platform;
mod port;
mod schedule;
mod stand_in;
mod strand;
mod trace;

pub use allocator::{LevelCheckedAllocator, blocks_put_aside};
pub use bus::{ECAM_BASE, ECAM_BUSES};
pub use explore::{Device, Explorer, Failure, Granularity, Setup, Stats, Switcher, run_once};
pub use fault::FaultKind;
pub use lines::LineInput;
pub use platform::platform;
pub use stand_in::StandInCell;
pub use trace::{Line, Trace};
