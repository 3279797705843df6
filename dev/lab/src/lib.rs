//! A cluster in a box on one machine: demo and integration tests.
//!
//! Nodes and the client are network namespaces on a bridge. The Kubernetes API is `herald-devkube` or Kubernetes' own, see
//! [`control_plane`]. The controller and the speakers are the real programs: the lab runs its own executable again for each
//! of them. No part has a name outside the process, so labs run side by side and leave nothing behind.

pub mod cli;
pub mod clock;
pub mod cluster;
pub mod connections;
pub mod control_plane;
pub mod cpu_limit;
pub mod demo;
pub mod gateway;
pub mod hostile;
pub mod install;
pub mod interrupt;
pub mod keepalived;
mod keys;
pub mod kubelet;
pub mod lab;
pub mod machine;
pub mod manifest;
pub mod metallb;
pub mod node;
pub mod objects;
pub mod plan;
pub mod prober;
pub mod process;
pub mod prometheus;
pub mod report;
pub mod role;
pub mod scene;
pub mod sniffer;
pub mod soak;
pub mod switch;

use std::time::Duration;

pub use lab::Lab;

/// The manifest that a newcomer would apply.
pub const QUICKSTART: &str = include_str!("../../../examples/quickstart.yaml");
/// Longer than any condition here takes, so that a failure is reported instead of waited for without end.
pub const DEADLINE: Duration = Duration::from_secs(30);
