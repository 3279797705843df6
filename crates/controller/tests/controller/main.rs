//! The real controller, as a process of its own, before the embedded API server: what an administrator would see.

mod cluster;
mod faults;
mod handover;
mod model;
mod reports;
mod schema;
