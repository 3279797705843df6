//! Layer 2 without sockets or clocks: the codec for ARP and NDP, and the machine that answers and announces.
//!
//! Whole Ethernet frames go in and out, for both families. NDP is handled below the IP stack like ARP: the
//! kernel would not deliver a unicast solicitation for an address that it does not have itself, and an
//! advertisement can come from the announced address, as a host's own would.
#![no_std]

extern crate alloc;

pub mod announcer;
mod link;
mod pace;
pub mod wire;

pub use announcer::{Announcer, Answer, GroupChange, Ignored, Transmission};
pub use link::{Link, Prefix, select};
pub use wire::MacAddr;
