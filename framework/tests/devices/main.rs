//! Devices, their interrupts and their lives, on the simulated machine.

mod bells;
mod departures;
mod interrupts;
mod lifecycle;
mod lines;
mod passive;
mod sets;
