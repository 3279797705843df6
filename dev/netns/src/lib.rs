//! Network namespaces for tests and benchmarks, without root.
//!
//! A namespace has no name outside the process: it ends with the value that made it, so tests run side by side and leave
//! nothing behind. [`sandbox::enter`] must be called before the first thread starts. [`Netns`] and [`Links`] are asynchronous;
//! [`blocking`] has hosts and segments for tests whose subject has threads of its own.

pub mod blocking;
mod capture;
mod links;
mod netns;
mod routes;
pub mod sandbox;
pub mod sysctl;
pub mod tool;
mod wait;

pub use capture::Capture;
pub use herald_core::MacAddr;
pub use links::{Links, Neighbour, Peer};
pub use netns::Netns;
pub use routes::{RouteEvent, RouteWatch};
pub use wait::wait_for;
