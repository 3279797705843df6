//! What the speakers report of the Services that they announce by BGP, in `ServiceBGPStatus` objects. All nodes may announce a
//! Service at a time, so no report supersedes another one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use herald_api::ServiceBGPStatus;
use herald_core::ServiceKey;
use kube::ResourceExt;

/// What one speaker reports of one Service.
#[derive(Debug, Clone)]
pub(crate) struct BgpAnnouncement {
    object: Box<str>,
    service: ServiceKey,
    /// The uid of the speaker's Pod; empty for objects without an owner.
    pod: Box<str>,
    /// The addresses that the speaker announces; `None` is all of them, as MetalLB means it.
    addresses: Option<Box<[IpAddr]>>,
}

impl BgpAnnouncement {
    /// Reads an object; `None` while its status is not written, so that its Service is not known.
    pub(crate) fn new(object: &ServiceBGPStatus) -> Option<Self> {
        let status = object.status.as_ref()?;
        let (namespace, name) = (status.service_namespace.as_ref()?, status.service_name.as_ref()?);
        let addresses = status.addresses.iter().filter_map(|address| address.parse().ok());
        let addresses: Box<[IpAddr]> = addresses.collect();
        let is_of_metallb = addresses.is_empty() && !status.peers.is_empty();
        let owner = object.owner_references().first();
        Some(Self {
            object: object.name_any().into(),
            service: ServiceKey::new(namespace, name),
            pod: owner.map(|owner| owner.uid.as_str()).unwrap_or_default().into(),
            addresses: (!is_of_metallb).then_some(addresses),
        })
    }

    fn announces(&self, address: IpAddr) -> bool {
        let addresses = self.addresses.as_ref();
        addresses.is_none_or(|addresses| addresses.contains(&address))
    }
}

/// The reports of all speakers.
#[derive(Debug, Default)]
pub(super) struct BgpAnnouncements {
    services: BTreeMap<ServiceKey, Vec<BgpAnnouncement>>,
    /// For which Service each object is.
    objects: BTreeMap<Box<str>, ServiceKey>,
}

impl BgpAnnouncements {
    /// Takes a report. Returns its Service and Pod, and the Pod of the report that it replaces.
    pub(super) fn set(&mut self, report: BgpAnnouncement) -> (ServiceKey, Box<str>, Option<Box<str>>) {
        let before = self.remove(&report.object).map(|(_, pod)| pod);
        let (service, pod) = (report.service.clone(), report.pod.clone());
        self.objects.insert(report.object.clone(), service.clone());
        self.services.entry(service.clone()).or_default().push(report);
        (service, pod, before)
    }

    /// Removes a report. Returns its Service and Pod.
    pub(super) fn remove(&mut self, object: &str) -> Option<(ServiceKey, Box<str>)> {
        let service = self.objects.remove(object)?;
        let reports = self.services.get_mut(&service)?;
        let place = reports.iter().position(|report| &*report.object == object)?;
        let pod = reports.swap_remove(place).pod;
        if reports.is_empty() {
            self.services.remove(&service);
        }
        Some((service, pod))
    }

    /// Whether a speaker that is ready announces an address of a Service. The sessions of another one have ended.
    pub(super) fn announces(
        &self,
        service: &ServiceKey,
        address: IpAddr,
        unready: &BTreeSet<Box<str>>,
    ) -> bool {
        let mut reports = self.services.get(service).into_iter().flatten();
        reports.any(|report| report.announces(address) && !unready.contains(&report.pod))
    }

    /// Whether there is no report.
    pub(super) fn is_empty(&self) -> bool {
        self.services.is_empty()
    }
}
