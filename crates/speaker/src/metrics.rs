//! The metrics of the driver. Gossip and the wire thread have their own.

mod announced;

use std::net::IpAddr;
use std::time::Duration;

use announced::AnnouncedSeries;
use herald_core::announce::Protocol;
use herald_core::announce::layer2::takeover::AddressEvent;
use herald_core::{NodeName, ServiceKey};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

pub(crate) struct Metrics {
    announced: AnnouncedSeries,
    /// The inputs that were handled.
    pub(crate) updates: IntCounter,
    loaded: IntGauge,
    stale: IntGauge,
    events: IntCounterVec,
    duplicates: IntCounter,
    failovers: Histogram,
    blocked: IntGauge,
    /// How often a peer reported that this node does not answer on the wire.
    pub(crate) reported_unresponsive: IntCounter,
}

/// Seconds from the first sign of an owner's failure to the announcement: around the 95 ms of a probe with three questions, the
/// second within which a take-over should end, and the delays while another machine still answers.
const FAILOVER_BUCKETS: [f64; 10] = [0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0];

impl Metrics {
    pub(crate) fn register(node: &NodeName, registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            announced: AnnouncedSeries::new(node.clone())?,
            updates: IntCounter::new(
                "metallb_k8s_client_updates_total",
                "Number of Kubernetes objects processed",
            )?,
            loaded: IntGauge::new(
                "metallb_k8s_client_config_loaded_bool",
                "1 once a configuration was accepted",
            )?,
            stale: IntGauge::new(
                "metallb_k8s_client_config_stale_bool",
                "1 while a resource is set aside as invalid",
            )?,
            events: IntCounterVec::new(
                Opts::new(
                    "herald_wire_reports_total",
                    "Events of addresses that the wire showed and gossip did not, by reason",
                ),
                &["reason"],
            )?,
            duplicates: IntCounter::new(
                "herald_duplicate_owners_total",
                "How often another machine, a foreign host or a peer, was seen to have an address that this node answers for",
            )?,
            failovers: Histogram::with_opts(
                HistogramOpts::new(
                    "herald_failover_seconds",
                    "Seconds from the first sign that an address's owner failed to the announcement by this node, one entry for each address",
                )
                .buckets(FAILOVER_BUCKETS.to_vec()),
            )?,
            blocked: IntGauge::new(
                "herald_gossip_blocked",
                "1 while gossip does not reach speakers that are alive",
            )?,
            reported_unresponsive: IntCounter::new(
                "herald_silenced_total",
                "How often a peer reported that this node does not answer on the wire for addresses that it owns",
            )?,
        };
        // From the start, so that the first event of a reason is an increase.
        for event in AddressEvent::examples() {
            metrics.events.with_label_values(&[event.reason()]);
        }
        registry.register(Box::new(metrics.events.clone()))?;
        registry.register(Box::new(metrics.duplicates.clone()))?;
        registry.register(Box::new(metrics.failovers.clone()))?;
        registry.register(Box::new(metrics.blocked.clone()))?;
        registry.register(Box::new(metrics.reported_unresponsive.clone()))?;
        registry.register(Box::new(metrics.announced.clone()))?;
        registry.register(Box::new(metrics.updates.clone()))?;
        registry.register(Box::new(metrics.loaded.clone()))?;
        registry.register(Box::new(metrics.stale.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn announced(&self, service: &ServiceKey, address: IpAddr, protocol: Protocol) {
        self.announced.insert(service.clone(), address, protocol);
    }

    pub(crate) fn withdrawn(&self, service: &ServiceKey, address: IpAddr, protocol: Protocol) {
        self.announced.remove(service.clone(), address, protocol);
    }

    pub(crate) fn address_event(&self, event: &AddressEvent) {
        self.events.with_label_values(&[event.reason()]).inc();
        self.duplicates.inc_by(event.has_two_owners().into());
    }

    pub(crate) fn took_over(&self, after: Duration) {
        self.failovers.observe(after.as_secs_f64());
    }

    pub(crate) fn set_gossip_blocked(&self, is_blocked: bool) {
        self.blocked.set(is_blocked.into());
    }

    pub(crate) fn set_config(&self, stale: bool) {
        self.loaded.set(1);
        self.stale.set(i64::from(stale));
    }
}
