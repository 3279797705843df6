//! The driver's metrics; gossip and the wire task have their own.

use std::net::IpAddr;

use herald_core::{NodeName, ServiceKey};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

pub(crate) struct Metrics {
    node: String,
    announced: IntGaugeVec,
    /// Changes that came in.
    pub(crate) updates: IntCounter,
    loaded: IntGauge,
    stale: IntGauge,
    reports: IntCounterVec,
}

impl Metrics {
    pub(crate) fn register(node: &NodeName, registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            node: node.to_string(),
            announced: IntGaugeVec::new(
                Opts::new(
                    "metallb_speaker_announced",
                    "1 while this node announces an address of a Service",
                ),
                &["service", "protocol", "node", "ip"],
            )?,
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
            reports: IntCounterVec::new(
                Opts::new(
                    "herald_wire_reports_total",
                    "What the wire said of an address that gossip did not, by reason",
                ),
                &["reason"],
            )?,
        };
        registry.register(Box::new(metrics.reports.clone()))?;
        registry.register(Box::new(metrics.announced.clone()))?;
        registry.register(Box::new(metrics.updates.clone()))?;
        registry.register(Box::new(metrics.loaded.clone()))?;
        registry.register(Box::new(metrics.stale.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn announced(&self, service: &ServiceKey, address: IpAddr) {
        let (service, address) = (service.to_string(), address.to_string());
        self.announced
            .with_label_values(&self.labels(&service, &address))
            .set(1);
    }

    pub(crate) fn withdrawn(&self, service: &ServiceKey, address: IpAddr) {
        let (service, address) = (service.to_string(), address.to_string());
        // An error means that there is no such series, which is what we want.
        let _absent = self
            .announced
            .remove_label_values(&self.labels(&service, &address));
    }

    pub(crate) fn report(&self, reason: &str) {
        self.reports.with_label_values(&[reason]).inc();
    }

    pub(crate) fn set_config(&self, stale: bool) {
        self.loaded.set(1);
        self.stale.set(i64::from(stale));
    }

    fn labels<'a>(&'a self, service: &'a str, address: &'a str) -> [&'a str; 4] {
        [service, "layer2", &self.node, address]
    }
}
