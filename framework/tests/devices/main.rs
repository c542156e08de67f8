//! Devices, their interrupts and their lives, on the simulated machine.

mod bells;
mod interrupts;
mod lifecycle;
mod passive;
mod sets;
