//! Metrics of the BGP thread: those of each peer, by MetalLB's names.

mod ends;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use herald_bgp::session::{SessionEnd, SessionState};
use herald_bgp::wire::MessageCounts;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Histogram, HistogramOpts, Registry};

use ends::SessionEnds;

/// Bounds in seconds: a change should be sent within 20 ms.
const UPDATE_BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0,
];

/// The series of the peers. Numbers are written by the BGP thread and read when a page of metrics is made.
#[derive(Clone)]
pub(super) struct BgpMetrics {
    descriptions: Arc<Vec<Desc>>,
    peers: Arc<Mutex<BTreeMap<Arc<str>, Arc<PeerMetrics>>>>,
    updates: Histogram,
}

/// The numbers of one peer.
#[derive(Debug)]
pub(super) struct PeerMetrics {
    labels: Vec<(&'static str, String)>,
    is_up: AtomicU64,
    /// The prefixes that the peer was sent, those that it is to have and can be sent, and those that it cannot be sent.
    announced: AtomicU64,
    sendable: AtomicU64,
    unsendable: AtomicU64,
    established: AtomicU64,
    ends: SessionEnds,
    sent: MessageNumbers,
    received: MessageNumbers,
}

/// Numbers of a peer that `/state` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PeerNumbers {
    /// The prefixes that the peer is to have and can be sent.
    pub(crate) sendable: u64,
    /// Those that it cannot be sent.
    pub(crate) unsendable: u64,
    /// Those that it was sent.
    pub(crate) sent: u64,
    /// How many sessions were established.
    pub(crate) established: u64,
}

#[derive(Debug, Default)]
struct MessageNumbers {
    opens: AtomicU64,
    updates: AtomicU64,
    notifications: AtomicU64,
    keepalives: AtomicU64,
    route_refreshes: AtomicU64,
    total: AtomicU64,
}

impl MessageNumbers {
    fn set(&self, counts: MessageCounts) {
        self.opens.store(counts.opens, Ordering::Relaxed);
        self.updates.store(counts.updates, Ordering::Relaxed);
        self.notifications.store(counts.notifications, Ordering::Relaxed);
        self.keepalives.store(counts.keepalives, Ordering::Relaxed);
        self.route_refreshes
            .store(counts.route_refreshes, Ordering::Relaxed);
        self.total.store(counts.total(), Ordering::Relaxed);
    }
}

impl PeerMetrics {
    /// The peer is named by [its label](super::PeerSettings::label), and by its VRF unless that is the default one.
    fn new(peer: String, vrf: Option<&str>) -> Self {
        let name = ("peer", peer);
        let vrf = vrf.map(|vrf| ("vrf", vrf.to_owned()));
        Self {
            labels: [name].into_iter().chain(vrf).collect(),
            is_up: AtomicU64::new(0),
            announced: AtomicU64::new(0),
            sendable: AtomicU64::new(0),
            unsendable: AtomicU64::new(0),
            established: AtomicU64::new(0),
            ends: SessionEnds::default(),
            sent: MessageNumbers::default(),
            received: MessageNumbers::default(),
        }
    }

    /// Counts a session that is established.
    pub(super) fn handle_up(&self) {
        self.is_up.store(1, Ordering::Relaxed);
        self.established.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of a session, or of an attempt at one.
    pub(super) fn handle_ended(&self, state: SessionState, end: &SessionEnd) {
        self.is_up.store(0, Ordering::Relaxed);
        self.set_announced(0);
        self.ends.count(state, end);
    }

    pub(super) fn set_announced(&self, prefixes: usize) {
        self.announced.store(prefixes as u64, Ordering::Relaxed);
    }

    pub(super) fn set_sendable(&self, prefixes: usize) {
        self.sendable.store(prefixes as u64, Ordering::Relaxed);
    }

    pub(super) fn set_unsendable(&self, prefixes: usize) {
        self.unsendable.store(prefixes as u64, Ordering::Relaxed);
    }

    pub(super) fn set_messages(&self, sent: MessageCounts, received: MessageCounts) {
        self.sent.set(sent);
        self.received.set(received);
    }
}

impl BgpMetrics {
    /// Registers the metrics.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let describe = |(name, help, _): &(&str, &str, PeerField)| {
            let labels = vec!["peer".to_owned(), "vrf".to_owned()];
            Desc::new((*name).to_owned(), (*help).to_owned(), labels, Default::default())
        };
        let own = GAUGES.iter().chain(&COUNTERS).map(describe);
        let descriptions: prometheus::Result<Vec<Desc>> = own.chain([ends::describe()]).collect();
        let metrics = Self {
            descriptions: Arc::new(descriptions?),
            peers: Arc::default(),
            updates: Histogram::with_opts(
                HistogramOpts::new(
                    "herald_bgp_update_seconds",
                    "Seconds from a decision about routes until an established session had sent all of it, one entry for each peer; decisions that follow before that are in the same entry",
                )
                .buckets(UPDATE_BUCKETS.to_vec()),
            )?,
        };
        registry.register(Box::new(metrics.updates.clone()))?;
        registry.register(Box::new(metrics.clone()))?;
        Ok(metrics)
    }

    /// Counts that a peer was sent what was decided so long ago.
    pub(super) fn handle_sent(&self, after: Duration) {
        self.updates.observe(after.as_secs_f64());
    }

    /// Starts the series of a peer; those under its name before end.
    pub(super) fn add(&self, name: &Arc<str>, peer: String, vrf: Option<&str>) -> Arc<PeerMetrics> {
        let metrics = Arc::new(PeerMetrics::new(peer, vrf));
        self.set(name, Some(Arc::clone(&metrics)));
        metrics
    }

    /// Ends the series of a peer.
    pub(super) fn remove(&self, name: &Arc<str>) {
        self.set(name, None);
    }

    /// Returns the numbers of a peer; zeros if it is not known.
    pub(super) fn numbers(&self, name: &str) -> PeerNumbers {
        let all = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = |peer: &Arc<PeerMetrics>| PeerNumbers {
            sendable: peer.sendable.load(Ordering::Relaxed),
            unsendable: peer.unsendable.load(Ordering::Relaxed),
            sent: peer.announced.load(Ordering::Relaxed),
            established: peer.established.load(Ordering::Relaxed),
        };
        all.get(name).map(numbers).unwrap_or_default()
    }

    fn set(&self, name: &Arc<str>, metrics: Option<Arc<PeerMetrics>>) {
        let mut all = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        match metrics {
            Some(metrics) => all.insert(Arc::clone(name), metrics),
            None => all.remove(name),
        };
    }

    /// Returns the peers, so that the lock is not held while text is made. Of peers that would have the same labels, only the first
    /// by name has series: a page with a series twice is refused as a whole.
    fn snapshot(&self) -> Vec<Arc<PeerMetrics>> {
        let all = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by_labels = BTreeMap::new();
        for metrics in all.values() {
            by_labels.entry(&metrics.labels).or_insert(metrics);
        }
        by_labels.into_values().map(Arc::clone).collect()
    }
}

type PeerField = fn(&PeerMetrics) -> &AtomicU64;

/// Name, help and value of the gauges that each peer has. Names and texts of the first three are MetalLB's.
const GAUGES: [(&str, &str, PeerField); 4] = [
    (
        "metallb_bgp_session_up",
        "BGP session state (1 is up, 0 is down)",
        |peer| &peer.is_up,
    ),
    (
        "metallb_bgp_announced_prefixes_total",
        "Number of prefixes currently being advertised on the BGP session",
        |peer| &peer.announced,
    ),
    (
        "metallb_bgp_pending_prefixes_total",
        "Number of prefixes that should be advertised on the BGP session",
        |peer| &peer.sendable,
    ),
    (
        "herald_bgp_unsendable_prefixes",
        "Prefixes that the peer should get but cannot be sent: it did not negotiate their family, the node has no next hop for them, or \
         their communities do not fit into a message. The BGPSessionState has the reason",
        |peer| &peer.unsendable,
    ),
];

/// Name, help and value of the counters that each peer has.
const COUNTERS: [(&str, &str, PeerField); 11] = [
    (
        "herald_bgp_sessions_established_total",
        "How often a session with the peer was established",
        |peer| &peer.established,
    ),
    (
        "metallb_bgp_updates_total",
        "Number of BGP UPDATE messages sent",
        |peer| &peer.sent.updates,
    ),
    (
        "metallb_bgp_updates_total_received",
        "Number of BGP UPDATE messages received",
        |peer| &peer.received.updates,
    ),
    (
        "metallb_bgp_opens_sent",
        "Number of BGP open messages sent",
        |peer| &peer.sent.opens,
    ),
    (
        "metallb_bgp_opens_received",
        "Number of BGP open messages received",
        |peer| &peer.received.opens,
    ),
    (
        "metallb_bgp_notifications_sent",
        "Number of BGP notification messages sent",
        |peer| &peer.sent.notifications,
    ),
    (
        "metallb_bgp_keepalives_sent",
        "Number of BGP keepalive messages sent",
        |peer| &peer.sent.keepalives,
    ),
    (
        "metallb_bgp_keepalives_received",
        "Number of BGP keepalive messages received",
        |peer| &peer.received.keepalives,
    ),
    (
        "metallb_bgp_route_refresh_sent",
        "Number of BGP route refresh messages sent",
        |peer| &peer.sent.route_refreshes,
    ),
    (
        "metallb_bgp_total_sent",
        "Number of total BGP messages sent",
        |peer| &peer.sent.total,
    ),
    (
        "metallb_bgp_total_received",
        "Number of total BGP messages received",
        |peer| &peer.received.total,
    ),
];

impl Collector for BgpMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let peers = self.snapshot();
        let gauges = GAUGES
            .iter()
            .map(|series| family(series, &peers, MetricType::GAUGE));
        let counters = COUNTERS.iter();
        let counters = counters.map(|series| family(series, &peers, MetricType::COUNTER));
        gauges.chain(counters).chain([ends::family(&peers)]).collect()
    }
}

fn family(
    (name, help, field): &(&str, &str, PeerField),
    peers: &[Arc<PeerMetrics>],
    kind: MetricType,
) -> MetricFamily {
    let metric = |peer: &Arc<PeerMetrics>| {
        let label = |(name, value): &(&str, String)| {
            let mut label = LabelPair::default();
            label.set_name((*name).to_owned());
            label.set_value(value.clone());
            label
        };
        let mut metric = Metric::from_label(peer.labels.iter().map(label).collect());
        let value = field(peer).load(Ordering::Relaxed) as f64;
        if kind == MetricType::GAUGE {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        } else {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        metric
    };
    let mut family = MetricFamily::default();
    family.set_name((*name).to_owned());
    family.set_help((*help).to_owned());
    family.set_field_type(kind);
    family.set_metric(peers.iter().map(metric).collect());
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(registry: &Registry) -> String {
        prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .expect("metrics can be encoded")
    }

    fn name(name: &str) -> Arc<str> {
        name.into()
    }

    #[test]
    fn a_peer_has_series_until_it_is_removed() {
        let registry = Registry::new();
        let metrics = BgpMetrics::register(&registry).expect("registered");
        assert!(!text(&registry).contains("metallb_bgp"));
        let v4 = metrics.add(&name("a"), "192.0.2.1:179".into(), None);
        metrics.add(&name("b"), "2001:db8::1:1179".into(), Some("red"));
        v4.handle_up();
        v4.set_announced(2);
        v4.set_sendable(3);
        v4.set_unsendable(5);
        let sent = MessageCounts {
            opens: 1,
            updates: 4,
            keepalives: 9,
            ..MessageCounts::default()
        };
        let received = MessageCounts {
            keepalives: 8,
            ..MessageCounts::default()
        };
        v4.set_messages(sent, received);
        let exposed = text(&registry);
        for line in [
            "metallb_bgp_session_up{peer=\"192.0.2.1:179\"} 1\n",
            "metallb_bgp_session_up{peer=\"2001:db8::1:1179\",vrf=\"red\"} 0\n",
            "metallb_bgp_announced_prefixes_total{peer=\"192.0.2.1:179\"} 2\n",
            "metallb_bgp_pending_prefixes_total{peer=\"192.0.2.1:179\"} 3\n",
            "herald_bgp_unsendable_prefixes{peer=\"192.0.2.1:179\"} 5\n",
            "metallb_bgp_updates_total{peer=\"192.0.2.1:179\"} 4\n",
            "metallb_bgp_updates_total_received{peer=\"192.0.2.1:179\"} 0\n",
            "metallb_bgp_keepalives_received{peer=\"192.0.2.1:179\"} 8\n",
            "metallb_bgp_total_sent{peer=\"192.0.2.1:179\"} 14\n",
            "metallb_bgp_total_received{peer=\"192.0.2.1:179\"} 8\n",
            "# TYPE metallb_bgp_announced_prefixes_total gauge\n",
            "# TYPE metallb_bgp_updates_total counter\n",
        ] {
            assert!(exposed.contains(line), "{line}{exposed}");
        }
        metrics.remove(&name("b"));
        assert!(!text(&registry).contains("2001:db8"));
        v4.handle_ended(SessionState::Established, &SessionEnd::HoldTimerExpired);
        for _ in 0..2 {
            v4.handle_ended(SessionState::Connect, &SessionEnd::NotConnected);
        }
        metrics.handle_sent(Duration::from_millis(15));
        let exposed = text(&registry);
        let of = "peer=\"192.0.2.1:179\"";
        for line in [
            format!("metallb_bgp_session_up{{{of}}} 0\n"),
            format!("metallb_bgp_announced_prefixes_total{{{of}}} 0\n"),
            format!("herald_bgp_sessions_established_total{{{of}}} 1\n"),
            "herald_bgp_update_seconds_bucket{le=\"0.01\"} 0\n".to_owned(),
            "herald_bgp_update_seconds_bucket{le=\"0.02\"} 1\n".to_owned(),
        ] {
            assert!(exposed.contains(&line), "{line}{exposed}");
        }
        for (established, reason, count) in [(true, "hold_timer_expired", 1), (false, "not_connected", 2)] {
            let labels = [
                format!("established=\"{established}\""),
                format!("reason=\"{reason}\""),
            ];
            let is_it = |line: &str| {
                line.starts_with("herald_bgp_session_ends_total{")
                    && labels.iter().all(|label| line.contains(label))
                    && line.ends_with(&format!(" {count}"))
            };
            assert!(exposed.lines().any(is_it), "{labels:?}{exposed}");
        }
        // Under the same name at another address.
        metrics.add(&name("a"), "192.0.2.7:179".into(), None);
        let exposed = text(&registry);
        assert!(!exposed.contains("192.0.2.1:179") && exposed.contains("192.0.2.7:179"));
    }

    #[test]
    fn two_names_of_one_peer_are_one_series() {
        let registry = Registry::new();
        let metrics = BgpMetrics::register(&registry).expect("registered");
        let peer = || "192.0.2.1:179".to_owned();
        metrics.add(&name("b"), peer(), None);
        metrics.add(&name("a"), peer(), None).handle_up();
        let exposed = text(&registry);
        assert_eq!(exposed.matches("metallb_bgp_session_up{").count(), 1);
        assert!(exposed.contains("metallb_bgp_session_up{peer=\"192.0.2.1:179\"} 1\n"));
    }
}
