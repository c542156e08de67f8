//! The bootable kernel. On the host this is only a hint: the kernel is built for `x86_64-unknown-none`.

#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

#[cfg(target_os = "none")]
mod bare;
#[cfg(target_os = "none")]
mod bench;
#[cfg(target_os = "none")]
mod conformance;
#[cfg(target_os = "none")]
mod crash;
#[cfg(target_os = "none")]
mod drivers;
#[cfg(target_os = "none")]
mod main_thread;
#[cfg(any(target_os = "none", test))]
mod monitor;
#[cfg(target_os = "none")]
mod selftest;
#[cfg(target_os = "none")]
mod stress;
#[cfg(target_os = "none")]
mod sweep;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the kernel runs on the bare machine: `cargo xtask run` builds it and boots it in QEMU");
    std::process::exit(2);
}
