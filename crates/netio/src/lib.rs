//! The node's network as Herald touches it: packet sockets for ARP and NDP, and its interfaces by netlink.
//!
//! The only crate with `unsafe`: each place is one system call that no safe wrapper offers.

pub mod interface;
pub mod links;

pub use interface::{Interface, Master, Unusable};
pub use links::Links;
