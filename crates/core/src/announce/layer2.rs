//! Layer-2 announcement (ARP, NDP): exactly one node on a segment answers for an address.

mod command;
pub mod election;
pub mod flap_damping;
mod node_selection;
pub mod ownership;
mod placement;
pub mod reachability;
pub mod takeover;

pub use command::{Announcement, Command, ProbeResult, WireEvent};
