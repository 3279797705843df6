//! The driver's log.

use std::net::IpAddr;

use herald_core::ServiceKey;
use herald_core::announce::agent::Agent;
use herald_core::announce::layer2::ownership::Role;
use tracing::{debug, info};

/// Logs the role of this node for a Service at an address; `None` if there is none any more.
pub(super) fn log_role(service: &ServiceKey, address: IpAddr, role: Option<&Role>, agent: &Agent) {
    match role {
        None => info!(%service, %address, "gone"),
        Some(Role::Standby { owner, .. }) => info!(%service, %address, %owner, "owned by another node"),
        Some(Role::Backup { of, .. }) => {
            info!(%service, %address, owner = %of, "owned by another node, monitored from here")
        }
        Some(Role::Owner(_)) => info!(%service, %address, "elected"),
        Some(Role::Successor { of, .. }) => {
            info!(%service, %address, %of, "elected if the owner does not answer");
        }
        Some(Role::Unowned(exclusion)) => {
            info!(%service, %address, reason = exclusion.reason(), "not announced: {exclusion}");
            debug!(%service, %address, nodes = ?agent.explain(service, address), "candidates");
        }
    }
}
