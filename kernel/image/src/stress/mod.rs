//! `stress`: what must hold however often it is done, while devices interrupt and threads ask all the time.

mod common;
mod cycles;
mod pair;
mod requests;
mod restless;

pub use common::run as common;
pub use cycles::run as cycles;
pub use pair::Pair;
pub use requests::run as requests;
pub use restless::Restless;

/// Of the threads that make devices interrupt: worse than the thread that watches them, which need not wait for a turn.
const BEHIND: u8 = 4;
/// Nanoseconds without any progress after which there will be none.
const LIMIT: u64 = 60_000_000_000;
