//! The gauge of announced addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use herald_core::announce::Protocol;
use herald_core::{NodeName, ServiceKey};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

const NAME: &str = "metallb_speaker_announced";
const HELP: &str = "1 while this node announces an address of a Service";

/// A Service, one of its addresses, and how it is announced.
type AnnouncedAddress = (ServiceKey, IpAddr, Protocol);

/// The addresses that are announced. Their series are made when they are read: a series that is kept costs a kilobyte.
#[derive(Clone)]
pub(super) struct AnnouncedSeries {
    description: Arc<Desc>,
    node: NodeName,
    addresses: Arc<Mutex<BTreeSet<AnnouncedAddress>>>,
}

impl AnnouncedSeries {
    pub(super) fn new(node: NodeName) -> prometheus::Result<Self> {
        let labels = ["service", "protocol", "node", "ip"].map(str::to_owned).to_vec();
        let description = Desc::new(NAME.to_owned(), HELP.to_owned(), labels, Default::default())?;
        Ok(Self {
            description: Arc::new(description),
            node,
            addresses: Arc::default(),
        })
    }

    pub(super) fn insert(&self, service: ServiceKey, address: IpAddr, protocol: Protocol) {
        self.lock().insert((service, address, protocol));
    }

    pub(super) fn remove(&self, service: ServiceKey, address: IpAddr, protocol: Protocol) {
        self.lock().remove(&(service, address, protocol));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<AnnouncedAddress>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn series(&self, (service, address, protocol): &AnnouncedAddress) -> Metric {
        let mut gauge = Gauge::default();
        gauge.set_value(1.0);
        // In order of the names, as in other families.
        let labels = [
            ("ip", address.to_string()),
            ("node", self.node.to_string()),
            ("protocol", protocol.as_str().to_owned()),
            ("service", service.to_string()),
        ];
        let pair = |(name, value): (&str, String)| {
            let mut label = LabelPair::default();
            label.set_name(name.to_owned());
            label.set_value(value);
            label
        };
        let mut series = Metric::from_label(labels.map(pair).to_vec());
        series.set_gauge(gauge);
        series
    }
}

impl Collector for AnnouncedSeries {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // A copy, so that the lock is not held while text is made.
        let addresses: Vec<AnnouncedAddress> = self.lock().iter().cloned().collect();
        let mut family = MetricFamily::default();
        family.set_name(NAME.to_owned());
        family.set_help(HELP.to_owned());
        family.set_field_type(MetricType::GAUGE);
        let series = addresses.iter();
        family.set_metric(series.map(|announced| self.series(announced)).collect());
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Registry, TextEncoder};

    #[test]
    fn an_address_has_a_series_while_it_is_announced() {
        let announced = AnnouncedSeries::new("node-1".into()).expect("a valid name");
        let registry = Registry::new();
        registry
            .register(Box::new(announced.clone()))
            .expect("a new name");
        let text = || {
            TextEncoder::new()
                .encode_to_string(&registry.gather())
                .expect("text")
        };
        let (service, address) = (ServiceKey::new("default", "web"), IpAddr::from([192, 0, 2, 1]));
        assert_eq!(text(), "");
        announced.insert(service.clone(), address, Protocol::Layer2);
        announced.insert(service.clone(), address, Protocol::Layer2);
        let series = "metallb_speaker_announced{ip=\"192.0.2.1\",node=\"node-1\",protocol=\"layer2\",service=\"default/web\"} 1";
        assert_eq!(
            text(),
            format!("# HELP {NAME} {HELP}\n# TYPE {NAME} gauge\n{series}\n")
        );
        announced.insert(service.clone(), address, Protocol::Bgp);
        announced.remove(service.clone(), address, Protocol::Layer2);
        assert!(text().contains("protocol=\"bgp\"") && !text().contains("layer2"));
        announced.remove(service, address, Protocol::Bgp);
        assert_eq!(text(), "");
    }
}
