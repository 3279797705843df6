//! How often sessions and attempts at them ended, by the reason.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use herald_bgp::session::{SessionEnd, SessionState};
use prometheus::core::Desc;
use prometheus::proto::{Counter, LabelPair, Metric, MetricFamily, MetricType};

use super::PeerMetrics;

/// Name and help.
const ENDS_COUNTER: (&str, &str) = (
    "herald_bgp_session_ends_total",
    "How often a session with the peer (label established: true), or an attempt at one (false), ended, by the reason",
);

/// The numbers of one peer. A reason has a series from the first time on.
#[derive(Debug, Default)]
pub(super) struct SessionEnds(Mutex<BTreeMap<(bool, &'static str), u64>>);

impl SessionEnds {
    /// Counts the end of a session, or of an attempt, in this state.
    pub(super) fn count(&self, state: SessionState, end: &SessionEnd) {
        let key = (state == SessionState::Established, end.reason());
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(key).or_default() += 1;
    }

    fn snapshot(&self) -> BTreeMap<(bool, &'static str), u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Describes the series.
pub(super) fn describe() -> prometheus::Result<Desc> {
    let (name, help) = ENDS_COUNTER;
    let labels = vec![
        "peer".to_owned(),
        "vrf".to_owned(),
        "established".to_owned(),
        "reason".to_owned(),
    ];
    Desc::new(name.to_owned(), help.to_owned(), labels, Default::default())
}

/// Returns the series of these peers.
pub(super) fn family(peers: &[Arc<PeerMetrics>]) -> MetricFamily {
    let (name, help) = ENDS_COUNTER;
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(MetricType::COUNTER);
    family.set_metric(peers.iter().flat_map(|peer| series(peer)).collect());
    family
}

fn series(peer: &PeerMetrics) -> impl Iterator<Item = Metric> {
    let ends = peer.ends.snapshot().into_iter();
    ends.map(|((was_established, reason), count)| {
        let own = [
            ("established", was_established.to_string()),
            ("reason", reason.to_owned()),
        ];
        let labels = peer.labels.iter().cloned().chain(own);
        let label = |(name, value): (&str, String)| {
            let mut label = LabelPair::default();
            label.set_name(name.to_owned());
            label.set_value(value);
            label
        };
        let mut metric = Metric::from_label(labels.map(label).collect());
        let mut counter = Counter::default();
        counter.set_value(count as f64);
        metric.set_counter(counter);
        metric
    })
}
