//! The node's network as Herald touches it: packet sockets for ARP and NDP, multicast groups, and interfaces by
//! netlink.
//!
//! The only crate with `unsafe`: each place is one system call that no safe wrapper offers.

mod dump;
mod filter;
pub mod frames;
pub mod groups;
pub mod interface;
pub mod packet;
pub mod poll;
mod ranges;
pub mod watch;

pub use frames::Frames;
pub use groups::Groups;
pub use interface::{Interface, Master, Unusable};
pub use packet::{PacketError, PacketSocket, Traffic};
pub use poll::{Mailbox, Poller};
pub use watch::InterfaceWatch;
