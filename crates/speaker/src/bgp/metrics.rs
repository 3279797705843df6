//! Metrics of the BGP thread: those of each peer, by MetalLB's names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use herald_bgp::wire::MessageCounts;
use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// The series of the peers. Numbers are written by the BGP thread and read when a page of metrics is made.
#[derive(Clone)]
pub(super) struct BgpMetrics {
    descriptions: Arc<Vec<Desc>>,
    peers: Arc<Mutex<BTreeMap<Arc<str>, Arc<PeerMetrics>>>>,
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
    sent: MessageNumbers,
    received: MessageNumbers,
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
            sent: MessageNumbers::default(),
            received: MessageNumbers::default(),
        }
    }

    pub(super) fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up.into(), Ordering::Relaxed);
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
        let descriptions: prometheus::Result<Vec<Desc>> =
            GAUGES.iter().chain(&COUNTERS).map(describe).collect();
        let metrics = Self {
            descriptions: Arc::new(descriptions?),
            peers: Arc::default(),
        };
        registry.register(Box::new(metrics.clone()))?;
        Ok(metrics)
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
const COUNTERS: [(&str, &str, PeerField); 10] = [
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
        gauges.chain(counters).collect()
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
        v4.set_up(true);
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
        metrics.add(&name("a"), peer(), None).set_up(true);
        let exposed = text(&registry);
        assert_eq!(exposed.matches("metallb_bgp_session_up{").count(), 1);
        assert!(exposed.contains("metallb_bgp_session_up{peer=\"192.0.2.1:179\"} 1\n"));
    }
}
