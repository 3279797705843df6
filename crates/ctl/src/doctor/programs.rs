//! Checks of the programs and of what they say of each other.

use std::collections::{BTreeMap, BTreeSet};

use super::{DoctorCheck, DoctorFinding, names};
use crate::cluster::{ClusterView, Program};

/// Seconds that clocks may differ: an answer may take as long as this.
const CLOCK_DIFFERENCE: i64 = 10;

pub(super) fn findings(cluster: &ClusterView) -> Vec<DoctorFinding> {
    let mut findings = vec![
        controller(cluster),
        versions(cluster),
        gossip(cluster),
        mac_addresses(cluster),
    ];
    findings.extend(speakers(cluster));
    findings.push(clocks(cluster));
    findings
}

fn controller(cluster: &ClusterView) -> DoctorFinding {
    let pods: Vec<_> = cluster.installation.of(Program::Controller).collect();
    let ready = pods.iter().filter(|pod| pod.is_ready).count();
    let found = format!("{ready} of {} Pods ready", pods.len());
    if ready > 0 {
        return DoctorFinding::pass(DoctorCheck::Controller, found);
    }
    DoctorFinding::fail(
        DoctorCheck::Controller,
        found,
        "no Service gets an address until a Pod of the controller is ready: look at its events and its log",
    )
}

fn speakers(cluster: &ClusterView) -> Vec<DoctorFinding> {
    if let Some(absence) = cluster.absent(&["Node"]) {
        return vec![DoctorFinding::unknown(DoctorCheck::Speakers, absence)];
    }
    let pods: Vec<_> = cluster.installation.of(Program::Speaker).collect();
    let mut without = Vec::new();
    for node in &cluster.objects.nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let mut own = pods.iter().filter(|pod| pod.node.as_deref() == Some(name));
        if !own.any(|pod| pod.is_ready) {
            without.push(name);
        }
    }
    let nodes = cluster.objects.nodes.len();
    if without.is_empty() {
        return vec![DoctorFinding::pass(
            DoctorCheck::Speakers,
            format!("each of {nodes} nodes has a speaker that is ready"),
        )];
    }
    let found = format!(
        "{} of {nodes} nodes have no speaker that is ready: {}",
        without.len(),
        names(without.iter().copied())
    );
    let remedy = "look at the events of the DaemonSet; if these nodes need no speaker, nothing is to do (speaker.nodeSelector, tolerations)";
    let finding = if without.len() == nodes {
        DoctorFinding::fail
    } else {
        DoctorFinding::warn
    };
    vec![finding(DoctorCheck::Speakers, found, remedy.to_owned())]
}

fn versions(cluster: &ClusterView) -> DoctorFinding {
    let versions: BTreeSet<&str> = cluster
        .installation
        .pods
        .iter()
        .map(|pod| pod.version.as_str())
        .collect();
    let found = names(versions.iter().copied());
    if versions.len() <= 1 {
        DoctorFinding::pass(DoctorCheck::Versions, found)
    } else {
        DoctorFinding::warn(
            DoctorCheck::Versions,
            found,
            "end the upgrade; new rules of elections wait until all speakers know them",
        )
    }
}

fn clocks(cluster: &ClusterView) -> DoctorFinding {
    let differences = &cluster.states.clock_differences;
    if differences.is_empty() {
        return DoctorFinding::unknown(DoctorCheck::Clocks, "no program was asked");
    }
    let wrong = differences
        .iter()
        .filter(|(_, seconds)| seconds.abs() > CLOCK_DIFFERENCE);
    let wrong: Vec<String> = wrong
        .map(|(name, seconds)| format!("{name} ({seconds:+} s)"))
        .collect();
    if wrong.is_empty() {
        let text = format!(
            "no clock of {} differs from this machine's by more than {CLOCK_DIFFERENCE} s",
            differences.len()
        );
        return DoctorFinding::pass(DoctorCheck::Clocks, text);
    }
    DoctorFinding::warn(
        DoctorCheck::Clocks,
        names(wrong.iter().map(String::as_str)),
        "synchronise the clocks (NTP): tokens, certificates and quarantines depend on them",
    )
}

fn gossip(cluster: &ClusterView) -> DoctorFinding {
    if !cluster.installation.has_gossip() {
        return DoctorFinding::warn(
            DoctorCheck::Gossip,
            "the speakers run without gossip, so no speaker notices a dead node",
            "set speaker.memberlist.enabled: true in the values of the chart",
        );
    }
    let states = &cluster.states.speakers;
    if states.is_empty() {
        return DoctorFinding::unknown(DoctorCheck::Gossip, "no speaker was asked");
    }
    let mut unheard: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for state in states {
        let down = state.members.iter().filter(|member| member.liveness != "alive");
        for member in down {
            unheard.entry(state.node.as_str()).or_default().push(&member.node);
        }
    }
    let blocked = states.iter().filter(|state| state.gossip_blocked == Some(true));
    let blocked: Vec<&str> = blocked.map(|state| state.node.as_str()).collect();
    let silent: Vec<&str> = unheard.keys().copied().collect();
    if silent.is_empty() && blocked.is_empty() {
        if !cluster.has_all_states() {
            let text = format!(
                "{} speakers hear all others; the rest was not asked",
                states.len()
            );
            return DoctorFinding::unknown(DoctorCheck::Gossip, text);
        }
        return DoctorFinding::pass(
            DoctorCheck::Gossip,
            format!("each of {} speakers hears all others", states.len()),
        );
    }
    let pairs = unheard
        .iter()
        .map(|(node, others)| format!("{node} does not hear {}", names(others.iter().copied())));
    let mut found: Vec<String> = pairs.collect();
    found.extend(
        blocked
            .iter()
            .map(|node| format!("{node} is cut off from most speakers")),
    );
    DoctorFinding::fail(
        DoctorCheck::Gossip,
        names(found.iter().map(String::as_str)),
        "let UDP port 7946 (speaker.memberlist.mlBindPort) pass between the nodes, check that all speakers have the same key, and that the \
         nodes live",
    )
}

fn mac_addresses(cluster: &ClusterView) -> DoctorFinding {
    let mut nodes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for member in cluster.states.speakers.iter().flat_map(|state| &state.members) {
        for mac in &member.macs {
            nodes.entry(mac).or_default().insert(&member.node);
        }
    }
    if nodes.is_empty() {
        return DoctorFinding::unknown(DoctorCheck::MacAddresses, "no speaker was asked");
    }
    let shared = nodes.iter().filter(|(_, nodes)| nodes.len() > 1);
    let shared: Vec<String> = shared
        .map(|(mac, nodes)| format!("{mac} on {}", names(nodes.iter().copied())))
        .collect();
    if shared.is_empty() {
        return DoctorFinding::pass(
            DoctorCheck::MacAddresses,
            format!("{} MAC addresses, each on one node", nodes.len()),
        );
    }
    DoctorFinding::fail(
        DoctorCheck::MacAddresses,
        names(shared.iter().map(String::as_str)),
        "give each machine MAC addresses of its own: cloned virtual machines often share them",
    )
}
