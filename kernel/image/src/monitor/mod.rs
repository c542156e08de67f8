//! The monitor: commands over the serial console, for a person at the prompt or for `exec=` on the command line.

mod line;
mod table;
mod words;

#[cfg(target_os = "none")]
mod button;
#[cfg(target_os = "none")]
mod commands;
#[cfg(target_os = "none")]
mod edu;
#[cfg(target_os = "none")]
mod faulty;
#[cfg(target_os = "none")]
mod io;
#[cfg(target_os = "none")]
mod ivshmem;
#[cfg(target_os = "none")]
mod machine;
#[cfg(target_os = "none")]
mod outside;
#[cfg(target_os = "none")]
mod port;
#[cfg(target_os = "none")]
mod prompt;
#[cfg(target_os = "none")]
mod show;
#[cfg(target_os = "none")]
mod terminal;
#[cfg(target_os = "none")]
mod tick;
#[cfg(target_os = "none")]
mod twins;
#[cfg(target_os = "none")]
mod unplug;
#[cfg(target_os = "none")]
mod verifier;

#[cfg(target_os = "none")]
pub use machine::Machine;
#[cfg(target_os = "none")]
pub use prompt::{interact, run_all};
#[cfg(target_os = "none")]
pub use words::split_command_line;
