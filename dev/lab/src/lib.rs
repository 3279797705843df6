//! A cluster in a box on one machine: demo and integration tests.
//!
//! Nodes and the client are network namespaces on a bridge. The Kubernetes API is `herald-devkube` or Kubernetes' own, see
//! [`control_plane`]. The controller and the speakers are the real programs: the lab runs its own executable again for each
//! of them. No part has a name outside the process, so labs run side by side and leave nothing behind.

pub mod cli;
pub mod clock;
pub mod cluster;
pub mod control_plane;
pub mod demo;
pub mod install;
pub mod interrupt;
pub mod keepalived;
pub mod lab;
pub mod manifest;
pub mod node;
pub mod objects;
pub mod plan;
pub mod prober;
pub mod process;
pub mod report;
pub mod role;
pub mod sniffer;
pub mod switch;

pub use lab::Lab;
