//! What becomes of the agent's events: logs, metrics and Kubernetes events.

use herald_core::announce::Protocol;
use herald_core::announce::agent::AgentEvent;
use tracing::{info, warn};

use super::Driver;
use super::log::log_role;
use super::notice::{self, Notice};

impl Driver {
    /// Logs and counts an event of the agent, and emits Kubernetes events for it.
    pub(super) fn handle_event(&mut self, event: &AgentEvent) {
        let now = self.now();
        self.moves.handle(event, now);
        match event {
            AgentEvent::RoleChanged(service, address, role) => {
                log_role(service, *address, role.as_ref(), &self.agent);
            }
            AgentEvent::Announced { service, address, .. } => {
                info!(%service, %address, "announcing");
                self.metrics.announced(service, *address, Protocol::Layer2);
            }
            AgentEvent::Withdrawn(service, address) => {
                info!(%service, %address, "no longer announcing");
                self.metrics.withdrawn(service, *address, Protocol::Layer2);
            }
            AgentEvent::TookOver(address, after) => {
                info!(%address, ?after, "taken from an owner that failed");
                self.metrics.took_over(*after);
            }
            AgentEvent::Address(address, event) => {
                warn!(%address, reason = event.reason(), "{address}: {event}");
                self.metrics.address_event(event);
            }
            AgentEvent::ReportedUnresponsive(reporter) => {
                warn!(%reporter, "this node is reported as unresponsive; other nodes are preferred for a while");
                self.metrics.reported_unresponsive.inc();
            }
            AgentEvent::GossipBlocked { before, after } => {
                let is_blocked = *after == Some(true);
                self.metrics.set_gossip_blocked(is_blocked);
                if is_blocked {
                    warn!("{}", notice::gossip_obstacle(self.gossip_port));
                } else if before.is_some() {
                    info!("gossip reaches most speakers again");
                }
                self.publish_state();
            }
        }
        self.emit(notice::notices(event, &self.agent, &self.node, self.gossip_port));
    }

    /// Emits Kubernetes events, unless nothing is to be written.
    pub(super) fn emit(&self, notices: impl IntoIterator<Item = Notice>) {
        if self.is_beside_metallb() {
            return;
        }
        for notice in notices {
            let about = match notice.service {
                Some(service) => self.cluster.reference(&service),
                None => Some(notice::node_reference(&self.node)),
            };
            if let Some(about) = about {
                let events = &self.handles.events;
                events.emit(&about, notice.severity, notice.reason, notice.message);
            }
        }
    }
}
