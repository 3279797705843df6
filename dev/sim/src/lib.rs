//! Many speakers on a virtual switch in virtual time: the machines that decide, without sockets, threads and clocks.
//!
//! Each node runs what a speaker runs: gossip's membership, `core::announce::layer2::ownership` and `core::announce::layer2::takeover`, `l2::Announcer` and
//! `l2::Prober`. Between them are Ethernet frames and gossip's datagrams, which take their time, get lost and are cut off,
//! each for itself. A run is the same for the same seed.
//!
//! The [`World`] breaks things; its [`Judge`] watches who answers for what.

mod catalog;
mod judge;
mod kernel;
mod node;
mod seeds;
mod world;

pub use catalog::{address, mac, name};
pub use judge::Judge;
pub use seeds::for_each_seed;
pub use world::{Network, World};
