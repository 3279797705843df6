//! What happened to a Service: Kubernetes events, and the last moves of its addresses.

use herald_api::state::{AddressMove, SpeakerState};
use herald_core::ServiceKey;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;

use crate::cluster::{ApiConnection, ClusterView, plain};
use crate::output::{Cell, Table, age, warning};

/// The entries that are shown.
const MOST: usize = 10;

/// What happened, newest first.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct History {
    pub(crate) events: Vec<EventLine>,
    pub(crate) moves: Vec<MoveLine>,
    /// Why events are unknown.
    #[serde(skip)]
    pub(crate) unknown: Option<String>,
}

/// An event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventLine {
    time: Option<String>,
    is_warning: bool,
    reason: String,
    message: String,
    count: i32,
}

/// A node began or ceased to announce an address.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MoveLine {
    node: String,
    #[serde(flatten)]
    last: AddressMove,
}

/// Reads the events of a Service and the moves of its addresses.
pub(crate) async fn of_service(
    connection: &ApiConnection,
    cluster: &ClusterView,
    key: &ServiceKey,
) -> History {
    let api = Api::<Event>::namespaced(connection.client.clone(), &key.namespace);
    let selector = format!("involvedObject.kind=Service,involvedObject.name={}", key.name);
    let listed = api.list(&ListParams::default().fields(&selector)).await;
    let (events, unknown) = match listed {
        Ok(list) => (list.items, None),
        Err(error) => (Vec::new(), Some(format!("events: {}", plain(&error)))),
    };
    let mut events: Vec<EventLine> = events.into_iter().map(event_line).collect();
    events.sort_by(|a, b| b.time.cmp(&a.time));
    events.truncate(MOST);
    let name = key.to_string();
    History {
        events,
        moves: moves(cluster, |last| last.service == name),
        unknown,
    }
}

/// Returns the last moves that satisfy a condition.
pub(crate) fn moves(cluster: &ClusterView, condition: impl Fn(&AddressMove) -> bool) -> Vec<MoveLine> {
    last_moves(cluster, MOST, condition)
}

/// Returns the last moves that satisfy a condition, `most` of them at most, newest first.
pub(crate) fn last_moves(
    cluster: &ClusterView,
    most: usize,
    condition: impl Fn(&AddressMove) -> bool,
) -> Vec<MoveLine> {
    let mut moves = Vec::new();
    for state in &cluster.states.speakers {
        moves.extend(
            state
                .moves
                .iter()
                .filter(|last| condition(last))
                .map(|last| (state, last)),
        );
    }
    moves.sort_by(|(_, a), (_, b)| b.time.cmp(&a.time));
    moves.truncate(most);
    let line = |(state, last): (&SpeakerState, &AddressMove)| MoveLine {
        node: state.node.clone(),
        last: last.clone(),
    };
    moves.into_iter().map(line).collect()
}

fn event_line(event: Event) -> EventLine {
    let micro = event.event_time.map(|time| time.0);
    let last = event.last_timestamp.map(|time| time.0);
    let first = event.first_timestamp.map(|time| time.0);
    EventLine {
        time: last.or(micro).or(first).map(|time| time.to_string()),
        is_warning: event.type_.as_deref() == Some("Warning"),
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
        count: event.count.unwrap_or(1),
    }
}

impl History {
    pub(crate) const fn is_empty(&self) -> bool {
        self.events.is_empty() && self.moves.is_empty()
    }

    pub(crate) fn text(&self, today: Timestamp) -> String {
        let mut text = String::new();
        let mut events = Table::new(&["AGE", "REASON", "MESSAGE"]);
        for event in &self.events {
            let reason = match event.count {
                ..=1 => event.reason.clone(),
                count => format!("{} (x{count})", event.reason),
            };
            let reason = Cell::from(reason);
            let reason = if event.is_warning {
                reason.styled(warning)
            } else {
                reason
            };
            let time = event.time.as_deref().unwrap_or_default();
            events.row([age(time, today).into(), reason, event.message.as_str().into()]);
        }
        if !events.is_empty() {
            text.push_str(&events.text(2));
        }
        text + &moves_text(&self.moves, today)
    }
}

pub(crate) fn moves_text(moves: &[MoveLine], today: Timestamp) -> String {
    if moves.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["AGE", "ADDRESS", "NODE", "MOVE", "CAUSE", "TOOK"]);
    for MoveLine { node, last } in moves {
        let took = last
            .seconds
            .map_or_else(String::new, |seconds| format!("{seconds:.3} s"));
        let cause = match &last.peer {
            Some(peer) => format!("{} ({peer})", last.reason),
            None => last.reason.to_string(),
        };
        table.row([
            age(&last.time, today).into(),
            last.address.as_str().into(),
            node.as_str().into(),
            if last.answers { "announces" } else { "ceases" }.into(),
            cause.into(),
            took.into(),
        ]);
    }
    table.text(2)
}
