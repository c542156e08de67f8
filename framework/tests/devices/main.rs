//! Devices, their interrupts and their lives, on the simulated machine.

mod bells;
mod departures;
mod interrupts;
mod lifecycle;
mod lines;
mod lively;
mod logged;
mod moving;
mod objects;
mod passive;
mod power;
mod rebalance;
mod removal;
mod requests;
mod scopes;
mod sets;
mod storms;
mod verifier;
