//! Kubernetes events for what the agent reports.

use herald_api::reason::EventReason;
use herald_core::announce::Protocol;
use herald_core::announce::agent::{Agent, AgentEvent};
use herald_core::announce::bgp::LocalPrefClash;
use herald_core::announce::eligibility::Exclusion;
use herald_core::announce::layer2::ownership::Role;
use herald_core::{NodeName, ServiceKey};
use herald_runtime::event::Severity;
use k8s_openapi::api::core::v1::ObjectReference;

/// A Kubernetes event that is to be emitted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// The Service that the event is about; `None` is the Node of this speaker.
    pub(super) service: Option<ServiceKey>,
    pub(super) severity: Severity,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Returns the Kubernetes events for an event of the agent on `node`.
pub(super) fn notices(event: &AgentEvent, agent: &Agent, node: &NodeName, gossip_port: u16) -> Vec<Notice> {
    match event {
        AgentEvent::RoleChanged(
            service,
            _,
            Some(Role::Unowned(exclusion @ (Exclusion::NoInterface(_) | Exclusion::NoLinkLocalAddress))),
        ) => {
            let protocol = Protocol::Layer2;
            let message =
                format!("not announced from node \"{node}\" with protocol \"{protocol}\": {exclusion}");
            vec![about_service(
                service,
                Severity::Warning,
                EventReason::AnnounceFailed.reason(),
                message,
            )]
        }
        AgentEvent::Announced {
            service,
            is_first: true,
            ..
        } => vec![node_assigned(service, node, Protocol::Layer2)],
        AgentEvent::Address(address, event) if event.concerns_users() => {
            let severity = if event.is_recovery() {
                Severity::Normal
            } else {
                Severity::Warning
            };
            let services = agent.services_of(*address);
            let notice =
                |service| about_service(service, severity, event.reason(), format!("{address}: {event}"));
            services.map(notice).collect()
        }
        AgentEvent::ReportedUnresponsive(reporter) => {
            let message = format!(
                "node {reporter} reports that this node does not answer ARP or NDP for addresses that it owns, and answers instead"
            );
            vec![about_node(
                Severity::Warning,
                EventReason::NotHeardOnWire,
                message,
            )]
        }
        AgentEvent::GossipBlocked {
            after: Some(true), ..
        } => {
            let message = gossip_obstacle(gossip_port);
            vec![about_node(Severity::Warning, EventReason::GossipBlocked, message)]
        }
        AgentEvent::GossipBlocked {
            before: Some(true), ..
        } => {
            let message = "gossip reaches most speakers again".to_owned();
            vec![about_node(Severity::Normal, EventReason::GossipRestored, message)]
        }
        AgentEvent::RoleChanged(..)
        | AgentEvent::Announced { .. }
        | AgentEvent::Withdrawn(..)
        | AgentEvent::TookOver(..)
        | AgentEvent::Address(..)
        | AgentEvent::GossipBlocked { .. } => Vec::new(),
    }
}

/// Returns the event of a Service that a node begins to announce.
pub(super) fn node_assigned(service: &ServiceKey, node: &NodeName, protocol: Protocol) -> Notice {
    let message = format!("announcing from node \"{node}\" with protocol \"{protocol}\"");
    about_service(
        service,
        Severity::Normal,
        EventReason::NodeAssigned.reason(),
        message,
    )
}

/// Returns the events of the Services that share a prefix whose advertisements contradict each other.
pub(super) fn local_pref_clash(clash: &LocalPrefClash) -> impl Iterator<Item = Notice> {
    let message = clash.to_string();
    clash.services.iter().map(move |service| {
        about_service(
            service,
            Severity::Warning,
            EventReason::ConflictingAdvertisements.reason(),
            message.clone(),
        )
    })
}

/// Describes blocked gossip, and what an administrator can do about it.
pub(super) fn gossip_obstacle(port: u16) -> String {
    format!(
        "gossip does not reach speakers that are alive: is UDP port {port} filtered, or do they use another key? \
         A node that reaches at most half of the speakers takes an address only when no machine answers for it on the wire"
    )
}

/// Returns a reference to a Node with its name as uid, which is what kubelets use: `kubectl describe node` shows events of
/// that uid.
pub(super) fn node_reference(node: &NodeName) -> ObjectReference {
    ObjectReference {
        kind: Some("Node".to_owned()),
        name: Some(node.to_string()),
        uid: Some(node.to_string()),
        ..ObjectReference::default()
    }
}

fn about_service(service: &ServiceKey, severity: Severity, reason: &'static str, message: String) -> Notice {
    Notice {
        service: Some(service.clone()),
        severity,
        reason,
        message,
    }
}

pub(super) const fn about_node(severity: Severity, reason: EventReason, message: String) -> Notice {
    Notice {
        service: None,
        severity,
        reason: reason.reason(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald_core::announce::agent::Options;
    use herald_core::announce::layer2::takeover::AddressEvent;
    use herald_core::{MacAddr, Prefix};

    fn notices_of(event: &AgentEvent) -> Vec<(bool, &'static str, String)> {
        let agent = Agent::new(Options {
            node: "node-1".into(),
            has_gossip: true,
            ignore_exclude_label: false,
            takeover_verification: true,
            has_bgp: true,
            default_med: None,
            seed: 1,
        });
        let notices = notices(event, &agent, &"node-1".into(), 7946).into_iter();
        notices
            .map(|notice| (notice.service.is_some(), notice.reason, notice.message))
            .collect()
    }

    #[test]
    fn the_first_announced_address_of_a_service_assigns_the_node_with_the_words_of_metallb() {
        let announced = |is_first| AgentEvent::Announced {
            service: ServiceKey::new("default", "web"),
            address: [192, 0, 2, 1].into(),
            is_first,
        };
        let message = "announcing from node \"node-1\" with protocol \"layer2\"".to_owned();
        assert_eq!(notices_of(&announced(true)), [(true, "nodeAssigned", message)]);
        assert_eq!(notices_of(&announced(false)), []);
    }

    #[test]
    fn each_service_that_shares_a_prefix_is_told_which_advertisements_contradict_each_other() {
        let services = ["one", "two"].map(|name| ServiceKey::new("default", name));
        let clash = LocalPrefClash {
            prefix: Prefix::of([192, 0, 2, 1].into(), 32),
            used: ("high".to_owned(), 200),
            unused: ("low".to_owned(), 100),
            services: services.to_vec(),
        };
        let notices: Vec<Notice> = local_pref_clash(&clash).collect();
        let about: Vec<_> = notices
            .iter()
            .filter_map(|notice| notice.service.clone())
            .collect();
        assert_eq!(about, services);
        let expected = "192.0.2.1/32: the BGPAdvertisements \"high\" and \"low\" of Services that share this prefix have different \
                        localPref, 200 and 100; the route has 200. Give both the same localPref, or the Services different addresses";
        assert_eq!(notices[0].message, expected);
    }

    #[test]
    fn a_missing_interface_is_reported_with_its_name() {
        let exclusion = Exclusion::NoInterface(["eth9".to_owned()].into());
        let service = ServiceKey::new("default", "web");
        let address = [192, 0, 2, 1].into();
        let event = AgentEvent::RoleChanged(service, address, Some(Role::Unowned(exclusion)));
        let notices = notices_of(&event);
        assert_eq!((notices.len(), notices[0].1), (1, "announceFailed"));
        assert!(notices[0].2.contains("eth9"), "{}", notices[0].2);
    }

    #[test]
    fn events_of_the_node_are_about_the_node() {
        let blocked = |before, after| AgentEvent::GossipBlocked { before, after };
        let cases = [
            (blocked(Some(false), Some(true)), Some("GossipBlocked")),
            (blocked(None, Some(true)), Some("GossipBlocked")),
            (blocked(Some(true), Some(false)), Some("GossipRestored")),
            (blocked(None, Some(false)), None),
            (
                AgentEvent::ReportedUnresponsive("node-2".into()),
                Some("NotHeardOnWire"),
            ),
        ];
        for (event, expected) in cases {
            let notices = notices_of(&event);
            let reason = notices.first().map(|(is_about_service, reason, _)| {
                assert!(!is_about_service);
                *reason
            });
            assert_eq!(reason, expected, "{event:?}");
        }
    }

    #[test]
    fn what_only_operators_need_to_know_is_no_event_of_a_service() {
        let address = [192, 0, 2, 1].into();
        let event = AddressEvent::Challenged(MacAddr::ZERO);
        assert_eq!(
            notices_of(&AgentEvent::Address(address, event)),
            [],
            "no Service uses it"
        );
        let event = AddressEvent::Deferred("node-2".into());
        assert_eq!(notices_of(&AgentEvent::Address(address, event)), []);
    }
}
