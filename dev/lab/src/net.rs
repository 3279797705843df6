//! Network namespaces, links and neighbour tables, made through netlink and gone with the process.

pub mod links;
pub mod netns;
pub mod sysctl;

pub use herald_l2::MacAddr;
pub use links::{Links, Neighbour};
pub use netns::Netns;
