//! Access to the network of the node: packet sockets for ARP and NDP, multicast groups, connections for BGP, and interfaces by
//! netlink.
//!
//! The only crate with `unsafe`, in one place: the address that a packet socket binds to has no safe constructor.

mod dump;
mod filter;
pub mod frames;
pub mod groups;
pub mod interface;
pub mod packet;
pub mod poll;
mod ranges;
pub mod router_discovery;
pub mod tcp;
mod traffic;
pub mod watch;

pub use frames::Frames;
pub use groups::Groups;
pub use interface::{Interface, Master, Unusable};
pub use packet::{PacketError, PacketSocket};
pub use poll::{Mailbox, Poller};
pub use router_discovery::{RouterDiscoveryMessage, RouterDiscoverySocket};
pub use tcp::{DialError, DialOptions, TcpConnection};
pub use traffic::Traffic;
pub use watch::InterfaceWatch;
