//! What a node announces, and why not more.

use herald_api::convert;
use herald_core::announce::eligibility::{EXCLUDE_LABEL, Exclusion};
use herald_core::config::bgp::NodePeers;
use serde::Serialize;

use super::find;
use crate::advice::Explained;
use crate::cluster::{ClusterView, Program};
use crate::model::Model;
use crate::output::{Printable, Table, good, heading, unknown_text, warning};

/// The addresses that the text shows.
const SHOWN: usize = 20;

/// The explanation of a node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeExplanation {
    node: String,
    /// Its speaker.
    speaker: Option<SpeakerLine>,
    /// How the other speakers see it; empty if none was asked.
    seen_by: Vec<SeenLine>,
    /// Why it announces nothing.
    excluded: Vec<Explained>,
    /// The advertisements that select it.
    advertisements: Vec<String>,
    /// The peers of BGP that select it, with the state of the session.
    peers: Vec<(String, Option<String>)>,
    /// The addresses that it has a part in; `null` if its speaker was not asked.
    addresses: Option<Vec<AddressLine>>,
    unknown: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SpeakerLine {
    pod: String,
    version: String,
    is_ready: bool,
}

/// How another speaker sees the node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SeenLine {
    by: String,
    liveness: String,
    state: String,
    flaps: u8,
    is_unresponsive: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AddressLine {
    address: String,
    stage: String,
    answers: bool,
    services: Vec<String>,
    obstacle: Option<String>,
}

/// Explains a node.
///
/// # Errors
/// When there is no such node.
pub(crate) fn explain(cluster: &ClusterView, model: &Model, name: &str) -> anyhow::Result<NodeExplanation> {
    let name_of = |node: &k8s_openapi::api::core::v1::Node| node.metadata.name.clone().unwrap_or_default();
    let object = find("Node", name, &cluster.objects.nodes, name_of)?;
    let node = convert::node(object);
    let mut pods = cluster.installation.of(Program::Speaker);
    let pod = pods.find(|pod| pod.node.as_deref() == Some(name));
    let mut excluded = Vec::new();
    if node.network_unavailable {
        excluded.push(Exclusion::NetworkUnavailable);
    }
    if node.labels.contains_key(EXCLUDE_LABEL) && !cluster.installation.ignores_exclude_label() {
        excluded.push(Exclusion::ExcludedByLabel);
    }
    if node.draining {
        excluded.push(Exclusion::Drained);
    }
    if cluster.absent(&["Pod"]).is_none() && pod.is_none_or(|pod| !pod.is_ready) {
        excluded.push(Exclusion::NoSpeaker);
    }
    let l2 = model
        .catalog
        .l2_advertisements()
        .iter()
        .filter(|one| one.scope.selects_node(&node.labels));
    let bgp = model
        .bgp
        .advertisements()
        .filter(|one| one.scope.selects_node(&node.labels));
    let advertisements: Vec<String> = l2
        .map(|one| format!("L2Advertisement {}", one.name))
        .chain(bgp.map(|one| format!("BGPAdvertisement {}", one.name)))
        .collect();
    if advertisements.is_empty() && cluster.absent(&["L2Advertisement", "BGPAdvertisement"]).is_none() {
        excluded.push(Exclusion::NodeNotSelected);
    }
    let own = cluster.states.speakers.iter().find(|state| state.node == name);
    let NodePeers { running, .. } = model.bgp.node_peers(&node.labels);
    let session = |peer: &str| {
        let mut peers = own?.bgp_peers.iter();
        peers
            .find(|other| other.name == peer)
            .map(|other| other.state.to_string())
    };
    Ok(NodeExplanation {
        node: name.to_owned(),
        speaker: pod.map(|pod| SpeakerLine {
            pod: pod.name.clone(),
            version: pod.version.clone(),
            is_ready: pod.is_ready,
        }),
        seen_by: seen_by(cluster, name),
        excluded: excluded.iter().map(Into::into).collect(),
        advertisements,
        peers: running
            .iter()
            .map(|peer| (peer.name.clone(), session(&peer.name)))
            .collect(),
        addresses: own.map(|own| own.addresses.iter().map(address_line).collect()),
        unknown: cluster.unknown.clone(),
    })
}

fn seen_by(cluster: &ClusterView, name: &str) -> Vec<SeenLine> {
    let others = cluster.states.speakers.iter().filter(|state| state.node != name);
    let line = |state: &herald_api::state::SpeakerState| {
        let member = state.members.iter().find(|member| member.node == name)?;
        let mut own = state.members.iter().filter(|member| member.node == state.node);
        Some(SeenLine {
            by: state.node.clone(),
            liveness: member.liveness.to_string(),
            state: member.state.to_string(),
            flaps: member.flaps,
            is_unresponsive: own.any(|own| own.unresponsive.iter().any(|node| node == name)),
        })
    };
    others.filter_map(line).collect()
}

fn address_line(state: &herald_api::state::AddressState) -> AddressLine {
    AddressLine {
        address: state.address.clone(),
        stage: state.stage.to_string(),
        answers: state.answers,
        services: state
            .services
            .iter()
            .map(|role| format!("{} ({})", role.service, role.role))
            .collect(),
        obstacle: state.obstacle.as_ref().map(ToString::to_string),
    }
}

impl Printable for NodeExplanation {
    fn text(&self, is_wide: bool) -> String {
        let state = if self.excluded.is_empty() && !self.unknown.is_empty() {
            warning("may announce, as far as is known")
        } else if self.excluded.is_empty() {
            good("may announce")
        } else {
            warning("announces nothing")
        };
        let mut text = format!("Node {}: {state}\n", heading(&self.node));
        for excluded in &self.excluded {
            text += &format!(
                "  {}: {}; {}\n",
                warning(&excluded.reason),
                excluded.message,
                excluded.advice
            );
        }
        match &self.speaker {
            Some(speaker) => {
                let ready = if speaker.is_ready { "ready" } else { "not ready" };
                text += &format!("  speaker {} {}, {ready}\n", speaker.pod, speaker.version);
            }
            None => text += "  no speaker is known to have a Pod on it\n",
        }
        text += &format!("  selected by {}\n", list(&self.advertisements));
        for (peer, session) in &self.peers {
            text += &format!("  BGP peer {peer}: {}\n", session.as_deref().unwrap_or("unknown"));
        }
        let mut table = Table::new(&["SEEN BY", "LIVENESS", "STATE", "FLAPS", "ON THE WIRE"]);
        for line in &self.seen_by {
            let wire = if line.is_unresponsive {
                "does not answer"
            } else {
                ""
            };
            table.row([
                line.by.as_str().into(),
                line.liveness.as_str().into(),
                line.state.as_str().into(),
                line.flaps.to_string().into(),
                wire.into(),
            ]);
        }
        if !table.is_empty() {
            text += &format!("\n{}", table.text(2));
        }
        if let Some(addresses) = &self.addresses {
            text += &addresses_text(addresses, is_wide);
        }
        text + &unknown_text(&self.unknown)
    }
}

fn addresses_text(addresses: &[AddressLine], is_wide: bool) -> String {
    let answering = addresses.iter().filter(|line| line.answers).count();
    let mut text = format!("\n  answers for {answering} addresses\n");
    let mut table = Table::new(&["ADDRESS", "STAGE", "ANSWERS", "SERVICES", "OBSTACLE"]);
    let shown = if is_wide { usize::MAX } else { SHOWN };
    for line in addresses.iter().take(shown) {
        table.row([
            line.address.as_str().into(),
            line.stage.as_str().into(),
            if line.answers { "yes" } else { "no" }.into(),
            line.services.join(", ").into(),
            line.obstacle.as_deref().unwrap_or_default().into(),
        ]);
    }
    if !table.is_empty() {
        text += &table.text(2);
    }
    if let more @ 1.. = addresses.len().saturating_sub(shown) {
        text += &format!("  and {more} more; -o wide shows all\n");
    }
    text
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "no advertisement".to_owned()
    } else {
        names.join(", ")
    }
}
