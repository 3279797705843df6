//! The nodes, and what each of them announces.

use herald_api::convert;
use herald_api::state::SpeakerState;
use herald_api::{BGPSessionState, BGPSessionStateStatus};
use herald_core::announce::eligibility::EXCLUDE_LABEL;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde::Serialize;

use crate::cluster::{Installation, Program, States};
use crate::output::{Cell, Table, age, good, heading, warning};

/// A node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeLine {
    pub(crate) node: String,
    speaker: SpeakerCondition,
    /// Why it announces nothing although its speaker is ready.
    excluded: Option<&'static str>,
    /// For how many addresses it answers; `null` if its speaker was not asked.
    answers: Option<usize>,
    /// How many speakers it sees alive.
    alive: Option<usize>,
    /// How often it left and came back recently, as it says.
    flaps: Option<u8>,
}

/// The speaker of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum SpeakerCondition {
    Ready,
    NotReady,
    None,
}

impl NodeLine {
    pub(super) fn new(node: &Node, installation: &Installation, states: &States) -> Self {
        let node = convert::node(node);
        let name = node.name.as_str();
        let mut pods = installation
            .of(Program::Speaker)
            .filter(|pod| pod.node.as_deref() == Some(name));
        let speaker = match (pods.clone().any(|pod| pod.is_ready), pods.next()) {
            (true, _) => SpeakerCondition::Ready,
            (false, Some(_)) => SpeakerCondition::NotReady,
            (false, None) => SpeakerCondition::None,
        };
        let excluded = if node.draining {
            Some("Drained")
        } else if node.labels.contains_key(EXCLUDE_LABEL) && !installation.ignores_exclude_label() {
            Some("ExcludedByLabel")
        } else if node.network_unavailable {
            Some("NetworkUnavailable")
        } else {
            None
        };
        let own = states.speakers.iter().find(|state| state.node == name);
        let alive = |own: &SpeakerState| {
            own.members
                .iter()
                .filter(|member| member.liveness == "alive")
                .count()
        };
        Self {
            speaker,
            excluded,
            answers: own.map(|own| own.addresses.iter().filter(|address| address.answers).count()),
            alive: own.map(alive),
            flaps: own
                .and_then(|own| own.members.iter().find(|member| member.node == name))
                .map(|own| own.flaps),
            node: name.to_owned(),
        }
    }
}

/// A session with a peer of BGP.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionLine {
    node: String,
    #[serde(flatten)]
    status: BGPSessionStateStatus,
}

impl SessionLine {
    pub(super) fn new(session: &BGPSessionState) -> Option<Self> {
        let status = session.status.clone()?;
        let node = status.node.clone()?;
        Some(Self { node, status })
    }
}

pub(super) fn text(nodes: &[NodeLine], is_wide: bool) -> String {
    let mut names = vec!["NODE", "SPEAKER", "ANSWERS FOR", "SEES ALIVE"];
    if is_wide {
        names.push("FLAPS");
    }
    let mut table = Table::new(&names);
    for line in nodes {
        let speaker = match (line.speaker, line.excluded) {
            (SpeakerCondition::Ready, None) => Cell::from("ready").styled(good),
            (SpeakerCondition::Ready, Some(excluded)) => Cell::from(excluded).styled(warning),
            (SpeakerCondition::NotReady, _) => Cell::from("not ready").styled(warning),
            (SpeakerCondition::None, _) => Cell::from("none").styled(warning),
        };
        let number =
            |number: Option<usize>| number.map_or_else(|| "unknown".to_owned(), |number| number.to_string());
        let mut row = vec![
            line.node.as_str().into(),
            speaker,
            number(line.answers).into(),
            number(line.alive).into(),
        ];
        if is_wide {
            row.push(number(line.flaps.map(usize::from)).into());
        }
        table.row(row);
    }
    table.text(2)
}

/// Returns the text of the sessions; empty without any.
pub(super) fn sessions_text(sessions: &[SessionLine], today: Timestamp) -> String {
    if sessions.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["NODE", "PEER", "STATE", "SINCE", "PREFIXES", "LAST ERROR"]);
    for SessionLine { node, status } in sessions {
        let state = status.bgp_status.as_deref().unwrap_or("unknown");
        let since = status
            .since
            .as_ref()
            .map(|since| age(&since.0.to_string(), today));
        let state = Cell::from(state).styled(if state == "Established" { good } else { warning });
        table.row([
            node.as_str().into(),
            status.peer.as_deref().unwrap_or_default().into(),
            state,
            since.unwrap_or_default().into(),
            status
                .prefixes
                .map_or_else(String::new, |prefixes| prefixes.to_string())
                .into(),
            status.last_error.as_deref().unwrap_or_default().into(),
        ]);
    }
    format!("\n{}\n{}", heading("BGP sessions"), table.text(2))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn line(status: Value) -> Option<SessionLine> {
        let session = json!({"metadata": {"name": "s"}, "spec": {}, "status": status});
        SessionLine::new(&serde_json::from_value(session).expect("a BGPSessionState"))
    }

    #[test]
    fn the_sessions_of_bgp_are_a_table() {
        let today = "2026-01-01T02:00:00Z".parse().expect("a time");
        assert_eq!(sessions_text(&[], today), "");
        assert!(line(Value::Null).is_none(), "it has no status yet");
        assert!(line(json!({"peer": "tor-1"})).is_none(), "nor a node");
        let lines = [
            json!({"node": "a", "peer": "tor-1", "bgpStatus": "Established", "since": "2026-01-01T00:00:00Z", "prefixes": 12}),
            json!({"node": "b", "peer": "tor-1", "bgpStatus": "Active", "prefixes": 0, "lastError": "the peer has AS number 7"}),
            json!({"node": "c"}),
        ];
        let lines: Vec<SessionLine> = lines.into_iter().filter_map(line).collect();
        let text = anstream::adapter::strip_str(&sessions_text(&lines, today)).to_string();
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows,
            [
                vec![],
                vec!["BGP", "sessions"],
                vec!["NODE", "PEER", "STATE", "SINCE", "PREFIXES", "LAST", "ERROR"],
                vec!["a", "tor-1", "Established", "2h", "12"],
                vec![
                    "b", "tor-1", "Active", "0", "the", "peer", "has", "AS", "number", "7"
                ],
                vec!["c", "unknown"],
            ],
            "{text}"
        );
    }
}
