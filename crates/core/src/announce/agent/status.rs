//! What a node publishes about a Service that it announces, or would announce if it could.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::Agent;
use crate::ServiceKey;
use crate::announce::layer2::ownership::Grant;
use crate::announce::layer2::takeover::AddressEvent;

/// How a node announces a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncementStatus {
    /// The interfaces that announce; empty is all.
    pub interfaces: BTreeSet<String>,
    /// Why at least one of the addresses is not announced: a reason and a message.
    pub obstacle: Option<(&'static str, String)>,
}

impl Agent {
    /// Returns how this node announces a Service; `None` if it neither announces it nor is kept from it by another machine.
    pub(super) fn status(&self, service: &ServiceKey) -> Option<AnnouncementStatus> {
        let addresses = &self.facts.services().get(service)?.addresses;
        let granted = addresses.iter().filter_map(|address| {
            let role = self.ownership.role(service, *address)?;
            role.grant()
        });
        let grants: Vec<&Grant> = granted.collect();
        let first = grants.first()?;
        let obstacles = grants
            .iter()
            .filter_map(|grant| Some((grant.address, self.takeover.obstacle(grant.address)?)));
        let obstacles: Vec<(IpAddr, AddressEvent)> = obstacles.collect();
        let is_published = self.announced.contains_key(service) || !obstacles.is_empty();
        is_published.then(|| AnnouncementStatus {
            interfaces: first.interfaces.clone().unwrap_or_default(),
            obstacle: obstacles.first().map(|(_, first)| {
                let texts = obstacles
                    .iter()
                    .map(|(address, event)| format!("{address}: {event}"));
                (first.reason(), texts.collect::<Vec<_>>().join("; "))
            }),
        })
    }
}
