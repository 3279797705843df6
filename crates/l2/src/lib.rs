//! Layer 2 without sockets or clocks: the codec for ARP and NDP, the machine that answers and announces, and
//! the one that asks whether an address is taken.
//!
//! Whole Ethernet frames go in and out, for both families. NDP is handled below the IP stack like ARP: the
//! kernel would not deliver a unicast solicitation for an address that it does not have itself, and an
//! advertisement can come from the announced address, as a host's own would.
#![no_std]

extern crate alloc;

pub mod announcer;
mod link;
mod pace;
pub mod prober;
mod received;
mod station;
pub mod wire;

pub use announcer::{Announcer, Answer, Claim, GroupChange, Ignored, Purpose, Transmission};
pub use herald_core::Prefix;
pub use herald_core::announce::layer2::ProbeResult;
pub use link::{Link, select};
pub use prober::Prober;
pub use received::Received;
pub use station::Station;
pub use wire::MacAddr;
