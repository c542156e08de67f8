//! Requests on their way from a file through a queue to a driver, and back, under every schedule within a bound.

mod clerk;
mod odd;
mod porter;
mod races;
mod simple;
mod turns;
