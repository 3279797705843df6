//! Many speakers on a virtual switch in virtual time: the machines of the speakers, without sockets, threads and clocks.
//!
//! Each node runs the machines of a speaker: membership, agent and station. They exchange Ethernet frames and gossip's
//! datagrams, which have a latency and may be lost, each independently. A run is the same for the same seed.
//!
//! The [`World`] injects faults, among them an [`Adversary`] on the wire and members that are misled about others ([`Lie`]);
//! its [`Judge`] records which nodes answer for which addresses. The [`BgpWorld`] has nodes and routers that speak BGP.

mod adversary;
mod bgp;
mod catalog;
mod client;
mod judge;
mod kernel;
mod network;
mod node;
mod pause;
mod seeds;
mod world;

pub use adversary::{Adversary, MacKind};
pub use bgp::{BgpFault, BgpWorld, Routes};
pub use catalog::{Sharing, address, mac, name};
pub use judge::Judge;
pub use network::Network;
pub use node::Lie;
pub use pause::Part;
pub use seeds::for_each_seed;
pub use world::World;
