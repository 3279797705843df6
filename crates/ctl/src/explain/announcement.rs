//! Which node announces an address for a Service, and why the others do not.

use std::net::IpAddr;

use herald_api::BGPSessionStateStatus;
use herald_core::announce::eligibility::Exclusion;
use herald_core::announce::layer2::ownership::Role;
use herald_core::{NodeName, ServiceKey};
use serde::Serialize;

use crate::advice::Explained;
use crate::cluster::ClusterView;
use crate::model::AnnouncementModel;
use crate::output::{Table, faint, good, heading, warning};

/// The kinds on which announcements depend.
pub(crate) const DECISIVE: [&str; 6] = [
    "Pod",
    "Node",
    "Service",
    "EndpointSlice",
    "IPAddressPool",
    "L2Advertisement",
];
/// The kinds on which routes depend besides.
const DECISIVE_FOR_BGP: [&str; 3] = ["BGPPeer", "BGPAdvertisement", "Community"];

/// The announcement of a Service at one of its addresses.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AddressAnnouncement {
    pub(crate) address: String,
    /// The nodes that answer for it for this Service, as they say; `null` if none says so and not all speakers were asked.
    pub(crate) answered_by: Option<Vec<String>>,
    /// The nodes that published that they announce it.
    pub(crate) published_by: Vec<String>,
    /// The reason why no node may announce it.
    pub(crate) excluded: Option<Explained>,
    /// What keeps the elected node from announcing it.
    pub(crate) obstacle: Option<String>,
    pub(crate) nodes: Vec<NodePart>,
    pub(crate) routes: Vec<RouteLine>,
    /// Whether a `BGPAdvertisement` selects the pool and the Service.
    pub(crate) is_selected_by_bgp: bool,
    /// Whether MetalLB runs beside Herald, which leaves addresses to it.
    #[serde(rename = "besideMetalLB")]
    pub(crate) is_beside_metallb: bool,
}

/// The part of a node in it, by ARP or NDP.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodePart {
    pub(crate) node: String,
    pub(crate) part: Part,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) excluded: Option<Explained>,
}

/// What a node is to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Part {
    /// It is elected.
    Owner,
    /// It monitors the owner, and takes over first.
    Backup,
    /// It may announce the address, and is not elected.
    Candidate,
    /// It may announce the address, as far as objects show; which speakers are alive is unknown.
    Eligible,
    /// It may not announce the address.
    Excluded,
}

impl Part {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Backup => "backup",
            Self::Candidate => "candidate",
            Self::Eligible => "eligible",
            Self::Excluded => "-",
        }
    }
}

/// What a node sends to a peer of BGP.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteLine {
    pub(crate) node: String,
    /// The peer; `null` if no peer of the node gets a route.
    pub(crate) peer: Option<String>,
    /// The state of the session; `null` if the speaker was not asked.
    pub(crate) session: Option<String>,
    pub(crate) prefixes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) excluded: Option<Explained>,
}

impl AddressAnnouncement {
    /// Explains the announcement of a Service that has `address`.
    pub(crate) fn new(
        cluster: &ClusterView,
        announcements: &AnnouncementModel,
        service: &ServiceKey,
        address: IpAddr,
    ) -> Self {
        let text = address.to_string();
        let states = &cluster.states.speakers;
        let name = service.to_string();
        let answers = |of: &&herald_api::state::SpeakerState| {
            let mut addresses = of.addresses.iter();
            addresses.any(|state| {
                let mut roles = state.services.iter();
                let is_for_it = roles.any(|role| role.service == name && role.role != "Unowned");
                state.address == text && state.answers && is_for_it
            })
        };
        let answered_by = states.iter().filter(answers).map(|state| state.node.clone());
        let answered_by: Vec<String> = answered_by.collect();
        let obstacles = states.iter().flat_map(|state| &state.addresses);
        let obstacle = obstacles
            .filter(|state| state.address == text)
            .find_map(|state| state.obstacle.clone());
        // Without these kinds every reason would be a guess.
        let is_known = cluster.absent(&DECISIVE).is_none();
        let (excluded, nodes) = if is_known {
            nodes(announcements, service, address)
        } else {
            (None, Vec::new())
        };
        Self {
            published_by: published(cluster, service, &text),
            answered_by: (!answered_by.is_empty() || cluster.has_all_states()).then_some(answered_by),
            is_selected_by_bgp: announcements.is_selected_by_bgp(service, address),
            is_beside_metallb: states.iter().any(|state| state.beside_metallb),
            excluded,
            obstacle: obstacle.map(Into::into),
            nodes,
            routes: routes(cluster, announcements, service, address),
            address: text,
        }
    }

    /// Whether at least one node has sent a route for it, by a session that is established.
    pub(crate) fn has_routes(&self) -> bool {
        let mut sent = self.routes.iter().filter(|route| !route.prefixes.is_empty());
        sent.any(|route| route.session.as_deref() == Some("Established"))
    }

    pub(crate) fn text(&self, is_wide: bool) -> String {
        let by = match &self.answered_by {
            None if self.published_by.is_empty() => warning("unknown: not all speakers were asked"),
            None => format!("{}, as its ServiceL2Status says", self.published_by.join(", ")),
            Some(nodes) if nodes.is_empty() && self.has_routes() => faint("no node; announced by BGP"),
            Some(nodes) if nodes.is_empty() => warning("no node"),
            Some(nodes) => good(&nodes.join(", ")),
        };
        let mut text = format!("  {} answered by {by}\n", heading(&self.address));
        if let Some(obstacle) = &self.obstacle {
            text += &format!("    obstacle: {}\n", warning(obstacle));
        }
        if let Some(excluded) = &self.excluded {
            text += &format!("    not by ARP or NDP: {}\n", reason(excluded, is_wide));
        }
        let mut table = Table::new(&["NODE", "LAYER 2", "REASON"]);
        for line in &self.nodes {
            let reason = line.excluded.as_ref().map(|excluded| reason(excluded, is_wide));
            table.row([
                line.node.as_str().into(),
                line.part.as_str().into(),
                reason.unwrap_or_default().into(),
            ]);
        }
        if !table.is_empty() {
            text += &table.text(4);
        }
        let mut table = Table::new(&["NODE", "BGP PEER", "SESSION", "ROUTES", "REASON"]);
        for line in &self.routes {
            let reason = line.excluded.as_ref().map(|excluded| reason(excluded, is_wide));
            table.row([
                line.node.as_str().into(),
                line.peer.as_deref().unwrap_or("-").into(),
                line.session.as_deref().unwrap_or("unknown").into(),
                line.prefixes.join(", ").into(),
                reason.unwrap_or_default().into(),
            ]);
        }
        if !table.is_empty() {
            text += &table.text(4);
        }
        text
    }
}

fn reason(explained: &Explained, is_wide: bool) -> String {
    if is_wide && !explained.advice.is_empty() {
        format!(
            "{}: {}; {}",
            explained.reason, explained.message, explained.advice
        )
    } else {
        format!("{}: {}", explained.reason, explained.message)
    }
}

fn nodes(
    announcements: &AnnouncementModel,
    service: &ServiceKey,
    address: IpAddr,
) -> (Option<Explained>, Vec<NodePart>) {
    let AnnouncementModel { facts, ownership, .. } = announcements;
    let explained = match ownership.explain(facts, service, address) {
        Ok(explained) => explained,
        Err(exclusion) => return (Some((&exclusion).into()), Vec::new()),
    };
    let role = ownership.role(service, address);
    let part = |node: &NodeName| match role {
        _ if !announcements.knows_members => Part::Eligible,
        Some(Role::Standby { owner, .. }) if owner == node => Part::Owner,
        Some(Role::Standby { backup, .. }) if backup.as_ref() == Some(node) => Part::Backup,
        Some(
            Role::Standby { .. }
            | Role::Owner(_)
            | Role::Successor { .. }
            | Role::Backup { .. }
            | Role::Unowned(_),
        )
        | None => Part::Candidate,
    };
    let line = |(node, outcome): (&NodeName, Result<i64, Exclusion>)| match outcome {
        Ok(_) => NodePart {
            node: node.to_string(),
            part: part(node),
            excluded: None,
        },
        Err(exclusion) => NodePart {
            node: node.to_string(),
            part: Part::Excluded,
            excluded: Some((&exclusion).into()),
        },
    };
    let mut lines: Vec<NodePart> = explained.into_iter().map(line).collect();
    let rank = |line: &NodePart| match line.part {
        Part::Owner => 0,
        Part::Backup => 1,
        Part::Candidate | Part::Eligible => 2,
        Part::Excluded => 3,
    };
    lines.sort_by_key(rank);
    let excluded = match role {
        Some(Role::Unowned(exclusion)) if announcements.knows_members => Some(exclusion.into()),
        Some(_) | None => None,
    };
    (excluded, lines)
}

fn routes(
    cluster: &ClusterView,
    announcements: &AnnouncementModel,
    service: &ServiceKey,
    address: IpAddr,
) -> Vec<RouteLine> {
    let is_known = cluster.absent(&DECISIVE).is_none() && cluster.absent(&DECISIVE_FOR_BGP).is_none();
    // Without advertisements and peers there is nothing to explain.
    if cluster.objects.bgp.peers.is_empty() || !is_known {
        return Vec::new();
    }
    let mut lines = Vec::new();
    for (node, routes) in &announcements.routes {
        let line = |peer: Option<&str>, prefixes, excluded| RouteLine {
            node: node.to_string(),
            peer: peer.map(str::to_owned),
            session: peer.and_then(|peer| session(cluster, node, peer)),
            prefixes,
            excluded,
        };
        match routes.explain(&announcements.facts, service, address) {
            Err(exclusion) => lines.push(line(None, Vec::new(), Some((&exclusion).into()))),
            Ok(peers) => lines.extend(peers.into_iter().map(|(peer, outcome)| match outcome {
                Ok(prefixes) => line(
                    Some(peer),
                    prefixes.iter().map(ToString::to_string).collect(),
                    None,
                ),
                Err(exclusion) => line(Some(peer), Vec::new(), Some((&exclusion).into())),
            })),
        }
    }
    lines
}

/// Returns the state of a session, as the speaker says, or its `BGPSessionState`.
fn session(cluster: &ClusterView, node: &NodeName, peer: &str) -> Option<String> {
    let mut states = cluster.states.speakers.iter();
    if let Some(state) = states.find(|state| state.node == node.as_str()) {
        let found = state.bgp_peers.iter().find(|other| other.name == peer)?;
        return Some(found.state.to_string());
    }
    let statuses = cluster.objects.bgp.sessions.iter();
    let mut statuses = statuses.filter_map(|session| session.status.as_ref());
    let is_its = |status: &&BGPSessionStateStatus| {
        status.node.as_deref() == Some(node.as_str()) && status.peer.as_deref() == Some(peer)
    };
    statuses.find(is_its)?.bgp_status.clone()
}

/// Returns the nodes that published that they announce a Service at an address (`ServiceL2Status`).
fn published(cluster: &ClusterView, service: &ServiceKey, address: &str) -> Vec<String> {
    let statuses = cluster.objects.l2_statuses.iter();
    let statuses = statuses.filter_map(|status| status.status.as_ref());
    let of_service = statuses.filter(|status| {
        status.service_name.as_deref() == Some(&*service.name)
            && status.service_namespace.as_deref() == Some(&*service.namespace)
            && status.addresses.iter().any(|other| other == address)
    });
    of_service.filter_map(|status| status.node.clone()).collect()
}
