//! Metrics of the wire thread.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use herald_l2::{Ignored, ProbeResult};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Counters of the wire thread. Counting a frame neither allocates nor locks.
pub(super) struct WireMetrics {
    /// Hashed, so that a frame costs the same however many addresses there are; by a short hash, so that the processor
    /// waits for the memory of several addresses of a batch at a time. Only announced addresses are keys, so other
    /// machines cannot make them collide.
    addresses: HashMap<IpAddr, Arc<Counts>>,
    exposed: AddressMetrics,
    ignored: [IntCounter; Ignored::ALL.len()],
    pub(super) send_errors: IntCounter,
    pub(super) receive_errors: IntCounter,
    pending_joins: IntGauge,
    probes: IntCounterVec,
    pub(super) claims: IntCounter,
}

/// Counters of an announced address.
#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    responses: AtomicU64,
    gratuitous: AtomicU64,
}

impl WireMetrics {
    /// Registers the metrics.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let exposed = AddressMetrics::new()?;
        let ignored = IntCounterVec::new(
            Opts::new(
                "herald_layer2_ignored_total",
                "Frames received and not answered, by reason; most that are about other addresses are not even received.",
            ),
            &["reason"],
        )?;
        let send_errors = IntCounter::new(
            "herald_layer2_send_errors_total",
            "Answers and announcements that the kernel refused to send.",
        )?;
        let receive_errors = IntCounter::new(
            "herald_layer2_receive_errors_total",
            "Failed attempts to receive from a packet socket.",
        )?;
        let pending_joins = IntGauge::new(
            "herald_layer2_groups_unjoined",
            "Solicited-node multicast groups that could not be joined and are tried again.",
        )?;
        let probes = IntCounterVec::new(
            Opts::new(
                "herald_layer2_probes_total",
                "Probes and checks that have ended, by result: silence, answered, contended (another speaker probed at the same \
                 time), no_link; unanswered counts single checks by backups.",
            ),
            &["result"],
        )?;
        let claims = IntCounter::new(
            "herald_layer2_claims_total",
            "Claims of other machines to addresses that are announced here.",
        )?;
        for result in RESULTS {
            probes.with_label_values(&[result]);
        }
        registry.register(Box::new(probes.clone()))?;
        registry.register(Box::new(claims.clone()))?;
        registry.register(Box::new(pending_joins.clone()))?;
        registry.register(Box::new(exposed.clone()))?;
        registry.register(Box::new(ignored.clone()))?;
        registry.register(Box::new(send_errors.clone()))?;
        registry.register(Box::new(receive_errors.clone()))?;
        Ok(Self {
            addresses: HashMap::new(),
            exposed,
            ignored: Ignored::ALL.map(|reason| ignored.with_label_values(&[reason.reason()])),
            send_errors,
            receive_errors,
            pending_joins,
            probes,
            claims,
        })
    }

    /// Returns the counters of all announced addresses, as they are from now on.
    pub(super) fn of_addresses(&self) -> AddressMetrics {
        self.exposed.clone()
    }

    /// Exposes the counters of an address; existing ones continue.
    pub(super) fn add(&mut self, address: IpAddr) {
        let counts = self.addresses.entry(address).or_default();
        self.exposed.set(address, Some(Arc::clone(counts)));
    }

    /// Ends the series of an address, so that the number of series is bounded by the announced addresses.
    pub(super) fn remove(&mut self, address: IpAddr) {
        self.addresses.remove(&address);
        self.exposed.set(address, None);
    }

    /// Counts a request for an address, and the answer if there was one.
    pub(super) fn request(&self, address: IpAddr, answered: bool) {
        if let Some(counts) = self.addresses.get(&address) {
            counts.requests.fetch_add(1, Ordering::Relaxed);
            counts.responses.fetch_add(answered.into(), Ordering::Relaxed);
        }
    }

    /// Counts an announcement of an address.
    pub(super) fn announcement(&self, address: IpAddr) {
        if let Some(counts) = self.addresses.get(&address) {
            counts.gratuitous.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sets how many groups could not be joined.
    pub(super) fn set_pending_joins(&self, groups: usize) {
        self.pending_joins.set(groups as i64);
    }

    /// Counts a probe that has ended.
    pub(super) fn probed(&self, result: ProbeResult) {
        self.probes.with_label_values(&[result_label(result)]).inc();
    }

    /// Counts a frame that is not answered.
    pub(super) fn ignored(&self, reason: Ignored) {
        self.ignored[reason.index()].inc();
    }
}

/// The values of [`result_label`].
const RESULTS: [&str; 5] = ["silence", "answered", "contended", "no_link", "unanswered"];

/// Returns the result of a probe as a metric label.
const fn result_label(result: ProbeResult) -> &'static str {
    match result {
        ProbeResult::Silence => "silence",
        ProbeResult::Answered(_) => "answered",
        ProbeResult::Contended(_) => "contended",
        ProbeResult::NoLink => "no_link",
        ProbeResult::Unanswered { .. } => "unanswered",
    }
}

type Field = fn(&Counts) -> &AtomicU64;

/// Name, help and value of the series that each address has; the names are MetalLB's.
const SERIES: [(&str, &str, Field); 3] = [
    (
        "metallb_layer2_requests_received",
        "Number of layer2 requests received for owned IPs",
        |counts| &counts.requests,
    ),
    (
        "metallb_layer2_responses_sent",
        "Number of layer2 responses sent for owned IPs in response to requests",
        |counts| &counts.responses,
    ),
    (
        "metallb_layer2_gratuitous_sent",
        "Number of gratuitous layer2 packets sent for owned IPs as a result of failovers",
        |counts| &counts.gratuitous,
    ),
];

/// The per-address series. Three plain counters per address instead of three labelled metrics, which would cost a
/// kilobyte each.
#[derive(Clone)]
pub(super) struct AddressMetrics {
    descriptions: Arc<Vec<Desc>>,
    counts: Arc<Mutex<BTreeMap<IpAddr, Arc<Counts>>>>,
}

impl AddressMetrics {
    fn new() -> prometheus::Result<Self> {
        let describe = |(name, help, _): &(&str, &str, Field)| {
            let labels = vec!["ip".to_owned()];
            Desc::new((*name).to_owned(), (*help).to_owned(), labels, Default::default())
        };
        let descriptions: prometheus::Result<Vec<Desc>> = SERIES.iter().map(describe).collect();
        Ok(Self {
            descriptions: Arc::new(descriptions?),
            counts: Arc::default(),
        })
    }

    fn set(&self, address: IpAddr, counts: Option<Arc<Counts>>) {
        let mut all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts {
            Some(counts) => all.insert(address, counts),
            None => all.remove(&address),
        };
    }

    /// Returns how many requests were received for each address.
    pub(super) fn requests(&self) -> BTreeMap<IpAddr, u64> {
        let counts = self.snapshot().into_iter();
        counts
            .map(|(address, counts)| (address, counts.requests.load(Ordering::Relaxed)))
            .collect()
    }

    /// Copies the counters, so that the lock is not held while text is made.
    fn snapshot(&self) -> Vec<(IpAddr, Arc<Counts>)> {
        let all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .map(|(address, counts)| (*address, Arc::clone(counts)))
            .collect()
    }
}

impl Collector for AddressMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let counts = self.snapshot();
        SERIES.iter().map(|series| family(series, &counts)).collect()
    }
}

fn family((name, help, field): &(&str, &str, Field), counts: &[(IpAddr, Arc<Counts>)]) -> MetricFamily {
    let metric = |(address, counts): &(IpAddr, Arc<Counts>)| {
        let mut label = LabelPair::default();
        label.set_name("ip".to_owned());
        label.set_value(address.to_string());
        let mut counter = Counter::default();
        counter.set_value(field(counts).load(Ordering::Relaxed) as f64);
        let mut metric = Metric::from_label(vec![label]);
        metric.set_counter(counter);
        metric
    };
    let mut family = MetricFamily::default();
    family.set_name((*name).to_owned());
    family.set_help((*help).to_owned());
    family.set_field_type(MetricType::COUNTER);
    family.set_metric(counts.iter().map(metric).collect());
    family
}

#[cfg(test)]
mod tests {
    use herald_l2::MacAddr;

    use super::*;

    fn text(registry: &Registry) -> String {
        prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .expect("metrics can be encoded")
    }

    #[test]
    fn an_address_has_series_from_its_announcement_to_its_withdrawal() {
        let registry = Registry::new();
        let mut metrics = WireMetrics::register(&registry).expect("registered");
        let address: IpAddr = "192.0.2.1".parse().expect("address");
        assert!(!text(&registry).contains("metallb_layer2"));
        metrics.add(address);
        metrics.request(address, true);
        metrics.request(address, false);
        metrics.announcement(address);
        let of_addresses = metrics.of_addresses();
        assert_eq!(of_addresses.requests(), BTreeMap::from([(address, 2)]));
        let exposed = text(&registry);
        assert!(
            exposed.contains("metallb_layer2_requests_received{ip=\"192.0.2.1\"} 2\n"),
            "{exposed}"
        );
        assert!(
            exposed.contains("metallb_layer2_responses_sent{ip=\"192.0.2.1\"} 1\n"),
            "{exposed}"
        );
        assert!(
            exposed.contains("metallb_layer2_gratuitous_sent{ip=\"192.0.2.1\"} 1\n"),
            "{exposed}"
        );
        metrics.remove(address);
        assert!(!text(&registry).contains("metallb_layer2"));
        assert!(of_addresses.requests().is_empty());
    }

    #[test]
    fn ignored_frames_are_counted_by_reason() {
        let registry = Registry::new();
        let metrics = WireMetrics::register(&registry).expect("registered");
        for reason in Ignored::ALL {
            metrics.ignored(reason);
            let line = format!(
                "herald_layer2_ignored_total{{reason=\"{}\"}} 1\n",
                reason.reason()
            );
            assert!(text(&registry).contains(&line), "{line}");
        }
    }

    #[test]
    fn probes_are_counted_by_result_and_every_result_is_exposed_from_the_start() {
        let registry = Registry::new();
        let metrics = WireMetrics::register(&registry).expect("registered");
        let line =
            |result: &str, count: u32| format!("herald_layer2_probes_total{{result=\"{result}\"}} {count}\n");
        let exposed = text(&registry);
        assert!(
            RESULTS.iter().all(|result| exposed.contains(&line(result, 0))),
            "{exposed}"
        );
        let mac = MacAddr::ZERO;
        for result in [
            ProbeResult::Silence,
            ProbeResult::Answered(mac),
            ProbeResult::Contended(mac),
            ProbeResult::NoLink,
            ProbeResult::Unanswered { last_frame: None },
        ] {
            metrics.probed(result);
        }
        let exposed = text(&registry);
        assert!(
            RESULTS.iter().all(|result| exposed.contains(&line(result, 1))),
            "{exposed}"
        );
    }

    #[test]
    fn metrics_are_registered_once() {
        let registry = Registry::new();
        WireMetrics::register(&registry).expect("registered");
        assert!(WireMetrics::register(&registry).is_err());
    }
}
