//! Checks of what the speakers say of their networks.

use herald_api::convert;
use herald_core::config::Pool;
use herald_core::{Family, Member};

use super::{DoctorCheck, DoctorFinding, names};
use crate::cluster::ClusterView;
use crate::model::Model;

pub(super) fn findings(cluster: &ClusterView, model: &Model) -> Vec<DoctorFinding> {
    let mut findings = vec![obstacles(cluster)];
    let states = cluster.states.speakers.iter().flat_map(|state| &state.members);
    let members: Vec<Member> = states.filter_map(convert::member).collect();
    let is_reported = !members.is_empty() && members.iter().all(|member| member.profile.is_some());
    if is_reported {
        findings.push(subnets(model, &members));
        findings.extend(link_local(model, &members));
    }
    findings.extend(bgp_sessions(cluster));
    findings
}

/// Returns the pools that an `L2Advertisement` selects. Addresses that are announced by BGP alone need no subnet.
fn by_layer_2(model: &Model) -> impl Iterator<Item = &Pool> {
    let advertisements = model.catalog.l2_advertisements();
    let pools = model.catalog.pools().iter();
    pools.filter(|pool| advertisements.iter().any(|one| one.scope.selects_pool(pool)))
}

fn subnets(model: &Model, members: &[Member]) -> DoctorFinding {
    let mut outside = Vec::new();
    for pool in by_layer_2(model) {
        for range in pool.addresses.ranges() {
            let addresses = [range.first()];
            let has_one = |member: &Member| {
                member
                    .profile
                    .as_ref()
                    .is_none_or(|own| own.count_in_subnets(&addresses) > 0)
            };
            if !members.iter().any(has_one) {
                outside.push(format!("{} of {}", range.first(), pool.name));
            }
        }
    }
    if outside.is_empty() {
        return DoctorFinding::pass(
            DoctorCheck::Subnets,
            "a node has an interface in the subnet of each pool",
        );
    }
    DoctorFinding::warn(
        DoctorCheck::Subnets,
        format!(
            "no node has an interface in the subnet of {}",
            names(outside.iter().map(String::as_str))
        ),
        "hosts outside the subnet reach such an address only if their router has a route for it to the nodes' link; use addresses of the \
         nodes' subnet, or announce by BGP",
    )
}

fn link_local(model: &Model, members: &[Member]) -> Option<DoctorFinding> {
    let has_ipv6 = |pool: &&Pool| pool.addresses.last_position(Family::V6).is_some();
    by_layer_2(model).find(has_ipv6)?;
    let lacks = |member: &&Member| {
        let profile = member.profile.as_ref();
        profile.is_some_and(|profile| profile.ipv6_interfaces.as_ref().is_some_and(Vec::is_empty))
    };
    let mut lacking: Vec<&str> = members
        .iter()
        .filter(lacks)
        .map(|member| member.node.as_str())
        .collect();
    lacking.sort_unstable();
    lacking.dedup();
    Some(if lacking.is_empty() {
        DoctorFinding::pass(
            DoctorCheck::LinkLocal,
            "each node has an interface with a link-local IPv6 address",
        )
    } else {
        DoctorFinding::warn(
            DoctorCheck::LinkLocal,
            format!(
                "no interface with a link-local IPv6 address on {}",
                names(lacking)
            ),
            "enable IPv6 on an interface of these nodes (net.ipv6.conf.*.disable_ipv6=0, addr_gen_mode), or they announce no IPv6 address",
        )
    })
}

fn obstacles(cluster: &ClusterView) -> DoctorFinding {
    if cluster.states.speakers.is_empty() {
        return DoctorFinding::unknown(DoctorCheck::Obstacles, "no speaker was asked");
    }
    let addresses = cluster.states.speakers.iter().flat_map(|state| &state.addresses);
    let blocked =
        addresses.filter_map(|address| Some(format!("{} ({})", address.address, address.obstacle.as_ref()?)));
    let mut blocked: Vec<String> = blocked.collect();
    blocked.sort();
    blocked.dedup();
    if blocked.is_empty() && !cluster.has_all_states() {
        return DoctorFinding::unknown(DoctorCheck::Obstacles, "not all speakers were asked");
    }
    if blocked.is_empty() {
        return DoctorFinding::pass(
            DoctorCheck::Obstacles,
            "no speaker reports a machine that stands in the way of an address",
        );
    }
    DoctorFinding::fail(
        DoctorCheck::Obstacles,
        names(blocked.iter().map(String::as_str)),
        "heraldctl explain address shows who answers, and the events of the Service name the MAC address",
    )
}

fn bgp_sessions(cluster: &ClusterView) -> Option<DoctorFinding> {
    if let Some(absence) = cluster.absent(&["BGPPeer", "BGPSessionState"]) {
        return Some(DoctorFinding::unknown(DoctorCheck::BgpSessions, absence));
    }
    let sessions = cluster
        .objects
        .bgp
        .sessions
        .iter()
        .filter_map(|session| session.status.as_ref());
    let sessions: Vec<_> = sessions.collect();
    if cluster.objects.bgp.peers.is_empty() && sessions.is_empty() {
        return None;
    }
    let is_down =
        |status: &&&herald_api::BGPSessionStateStatus| status.bgp_status.as_deref() != Some("Established");
    let text = |status: &&herald_api::BGPSessionStateStatus| {
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        let why = status
            .last_error
            .as_ref()
            .map_or_else(String::new, |error| format!(": {error}"));
        format!(
            "{} to {} is {}{why}",
            of(&status.node),
            of(&status.peer),
            of(&status.bgp_status)
        )
    };
    let down: Vec<String> = sessions.iter().filter(is_down).map(text).collect();
    Some(if sessions.is_empty() {
        DoctorFinding::fail(
            DoctorCheck::BgpSessions,
            "there are BGPPeers, and no node has a session",
            "let nodeSelectors of a BGPPeer select nodes with a speaker; speaker.bgp.enabled must not be false",
        )
    } else if down.is_empty() {
        DoctorFinding::pass(
            DoctorCheck::BgpSessions,
            format!("all {} are established", sessions.len()),
        )
    } else {
        DoctorFinding::fail(
            DoctorCheck::BgpSessions,
            names(down.iter().map(String::as_str)),
            "compare address, port, AS numbers and password with the configuration of the router; TCP port 179 must be reachable from the nodes",
        )
    })
}
