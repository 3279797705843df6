//! Which Services are announced, by the `ServiceL2Status` and `ServiceBGPStatus` objects of the speakers, which may not write
//! Services. An address that one of the protocols announces is announced.
//!
//! Layer 2: several speakers may have an object for a Service: two while an address moves, for as long as the Service's addresses are
//! on two nodes, and those of speakers that died. The newest object is right about what it says, and the older ones about
//! the rest. An object that says nothing any more is superseded: the controller deletes it.

mod bgp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use herald_api::convert::{MetalLbPod, MetalLbProgram, metallb_pod};
use herald_api::crd::{ANNOUNCED, ServiceL2Status};
use herald_api::reason::ConditionReason;
use herald_core::ServiceKey;
use herald_runtime::Update;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::announced::{Announced, ConditionStatus};
pub(crate) use bgp::BgpAnnouncement;
use bgp::BgpAnnouncements;

/// What one speaker reports of one Service.
#[derive(Debug, Clone)]
pub(crate) struct SpeakerStatus {
    object: Box<str>,
    /// The `resourceVersion`, by which API servers order versions.
    version: u64,
    service: ServiceKey,
    /// The uid of the speaker's Pod; empty for objects without an owner.
    pod: Box<str>,
    /// Whether the speaker announces the Service or is elected to.
    is_elected: bool,
    /// The addresses that the speaker announces; `None` is all of them (MetalLB, and Herald before it had the field).
    addresses: Option<Vec<IpAddr>>,
    announced: Announced,
}

impl SpeakerStatus {
    /// Reads an object; `None` while its status is not written, so that its Service is not known.
    pub(crate) fn new(object: &ServiceL2Status) -> Option<Self> {
        let status = object.status.as_ref()?;
        let (namespace, name) = (status.service_namespace.as_ref()?, status.service_name.as_ref()?);
        let mut conditions = status.conditions.iter();
        let condition = conditions.find(|condition| condition.type_ == ANNOUNCED);
        let announced = condition.map_or(Announced::yes(), Announced::of_condition);
        let addresses = status.addresses.iter().filter_map(|address| address.parse().ok());
        let addresses: Vec<IpAddr> = addresses.collect();
        let names_all = announced.status == ConditionStatus::True && addresses.is_empty();
        let owner = object.owner_references().first();
        Some(Self {
            object: object.name_any().into(),
            version: object
                .resource_version()
                .and_then(|version| version.parse().ok())
                .unwrap_or_default(),
            service: ServiceKey::new(namespace, name),
            pod: owner.map(|owner| owner.uid.as_str()).unwrap_or_default().into(),
            is_elected: status.node.is_some(),
            addresses: (!names_all).then_some(addresses),
            announced,
        })
    }

    #[cfg(test)]
    pub(crate) fn set_service(&mut self, service: ServiceKey) {
        self.service = service;
    }

    /// Whether its speaker publishes nothing about the Service any more.
    fn is_withdrawn(&self) -> bool {
        let not_announced = ConditionReason::NotAnnounced.reason();
        self.announced.status == ConditionStatus::False && self.announced.reason == not_announced
    }

    fn announces(&self, address: IpAddr) -> bool {
        let addresses = self.addresses.as_ref();
        addresses.is_none_or(|addresses| addresses.contains(&address))
    }
}

/// A Pod in the namespace of the speakers.
#[derive(Debug)]
pub(crate) struct PodReadiness {
    name: String,
    uid: Box<str>,
    is_ready: bool,
    /// If it is one of MetalLB's controller.
    metallb: Option<MetalLbPod>,
}

impl PodReadiness {
    pub(crate) fn new(pod: &Pod) -> Self {
        let conditions = pod.status.iter().flat_map(|status| &status.conditions);
        let mut conditions = conditions.flatten();
        Self {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default().into(),
            is_ready: conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            metallb: metallb_pod(pod).filter(|pod| pod.program == MetalLbProgram::Controller),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Returns it if it is a Pod of MetalLB's controller.
    pub(crate) const fn metallb(&self) -> Option<&MetalLbPod> {
        self.metallb.as_ref()
    }
}

/// A superseded object: its name, and the version that is to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SupersededObject {
    pub(crate) name: String,
    pub(crate) version: u64,
}

/// What all speakers report.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    /// Whether all objects have been listed. Allocation does not wait for that.
    is_listed: bool,
    /// The reports on each Service, the newest first.
    services: BTreeMap<ServiceKey, Vec<SpeakerStatus>>,
    /// For which Service each object is.
    objects: BTreeMap<Box<str>, ServiceKey>,
    /// What they report of BGP.
    bgp: BgpAnnouncements,
    /// How many objects of both kinds each Pod owns.
    owners: BTreeMap<Box<str>, usize>,
    /// The Pods in the namespace by name, with their uid.
    pods: BTreeMap<String, Box<str>>,
    /// The uids of those that are not ready, or gone.
    unready: BTreeSet<Box<str>>,
    /// Services with an object that may be superseded.
    stale: BTreeSet<ServiceKey>,
    /// Objects that are being deleted.
    deleting: BTreeSet<Box<str>>,
}

impl Announcements {
    /// Takes a change and returns the Services concerned; after a list that may be all others, too.
    pub(crate) fn update(&mut self, update: Update<Option<SpeakerStatus>>) -> BTreeSet<ServiceKey> {
        let services = match update {
            Update::Applied(report) => report.into_iter().map(|report| self.set(report)).collect(),
            Update::Deleted(key) => self.remove(&key.name).into_iter().collect(),
            Update::Synced => {
                self.is_listed = true;
                BTreeSet::new()
            }
        };
        self.stale.extend(services.iter().cloned());
        services
    }

    /// Takes a change of what the speakers report of BGP, and returns the Services concerned.
    pub(crate) fn update_bgp(&mut self, update: Update<Option<BgpAnnouncement>>) -> Option<ServiceKey> {
        match update {
            Update::Applied(report) => {
                let (service, pod, before) = self.bgp.set(report?);
                *self.owners.entry(pod).or_default() += 1;
                if let Some(before) = before {
                    self.disown(&before);
                }
                Some(service)
            }
            Update::Deleted(key) => {
                let (service, pod) = self.bgp.remove(&key.name)?;
                self.disown(&pod);
                Some(service)
            }
            Update::Synced => None,
        }
    }

    /// Takes a change of the Pods. Returns whether now the first speaker is ready, or the last one is not any more, or a speaker of
    /// which reports of BGP may count, or not any more.
    pub(crate) fn update_pods(&mut self, update: Update<PodReadiness>) -> bool {
        let was_ready = self.has_ready_speaker();
        let unready = self.unready.len();
        match update {
            Update::Applied(pod) => {
                if pod.is_ready {
                    self.unready.remove(&pod.uid);
                } else {
                    self.unready.insert(pod.uid.clone());
                }
                let before = self.pods.insert(pod.name, pod.uid.clone());
                self.forget(before.filter(|before| *before != pod.uid));
            }
            Update::Deleted(key) => {
                let gone = self.pods.remove(&key.name);
                self.forget(gone);
            }
            Update::Synced => {}
        }
        // One Pod changes at a time, so its readiness has changed if there are more or less that are not ready.
        was_ready != self.has_ready_speaker() || (unready != self.unready.len() && !self.bgp.is_empty())
    }

    /// Whether a Service with these addresses is announced; `None` as long as no report says so, or why not.
    pub(crate) fn of(&self, service: &ServiceKey, addresses: &[IpAddr]) -> Option<Announced> {
        if !self.is_listed || !self.has_ready_speaker() {
            return None;
        }
        let by_bgp = |address: &IpAddr| self.bgp.announces(service, *address, &self.unready);
        let rest = addresses.iter().copied().filter(|address| !by_bgp(address));
        let rest: Vec<IpAddr> = rest.collect();
        if rest.is_empty() && !addresses.is_empty() {
            return Some(Announced::yes());
        }
        evaluate(self.services.get(service)?, &rest).0
    }

    /// What is to be said of a Service with the condition `before` when no report has come for a while. A Service that was
    /// never reported stays pending until the first speaker runs.
    pub(crate) fn absence(&self, before: Announced) -> Announced {
        if self.has_ready_speaker() {
            Announced::unreported()
        } else if !self.owners.is_empty() {
            Announced::without_ready_speaker()
        } else if before == Announced::pending() {
            before
        } else {
            Announced::without_speaker()
        }
    }

    /// Whether all objects have been listed.
    pub(crate) const fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// Returns the next object to be deleted. `addresses` returns those of a Service, if it exists.
    pub(crate) fn poll_superseded<'a>(
        &mut self,
        addresses: impl Fn(&ServiceKey) -> Option<&'a [IpAddr]>,
    ) -> Option<SupersededObject> {
        while let Some(service) = self.stale.first() {
            let reports = self.services.get(service).map_or(&[][..], Vec::as_slice);
            let is_gone = |report: &&SpeakerStatus| self.is_gone(&report.pod);
            let superseded = match addresses(service) {
                Some(addresses) => evaluate(reports, addresses).1,
                None => reports.iter().filter(|report| report.is_withdrawn()).collect(),
            };
            let mut gone = reports.iter().filter(is_gone).chain(superseded);
            let Some(next) = gone.find(|report| !self.deleting.contains(&report.object)) else {
                self.stale.pop_first();
                continue;
            };
            let next = SupersededObject {
                name: next.object.to_string(),
                version: next.version,
            };
            self.deleting.insert(next.name.as_str().into());
            return Some(next);
        }
        None
    }

    /// Takes that the deletion of an object may be tried again, or that it has become needless.
    pub(crate) fn handle_deletion_over(&mut self, object: &str) {
        self.deleting.remove(object);
        self.stale.extend(self.objects.get(object).cloned());
    }

    /// Looks for superseded objects of all Services, and forgets deletions that were cancelled.
    pub(crate) fn restart(&mut self) {
        self.deleting.clear();
        self.stale = self.services.keys().cloned().collect();
    }

    /// Whether a Pod is ready that owns one of the objects. Objects without an owner, and those whose Pod was not shown yet,
    /// count as well.
    fn has_ready_speaker(&self) -> bool {
        self.owners.keys().any(|pod| !self.unready.contains(pod))
    }

    /// Whether a Pod was there and is not any more.
    fn is_gone(&self, pod: &str) -> bool {
        self.unready.contains(pod) && !self.pods.values().any(|known| &**known == pod)
    }

    fn set(&mut self, report: SpeakerStatus) -> ServiceKey {
        self.remove(&report.object);
        let service = report.service.clone();
        *self.owners.entry(report.pod.clone()).or_default() += 1;
        self.objects.insert(report.object.clone(), service.clone());
        // Almost every Service has one; a vector that grows has room for four.
        let reports = self.services.entry(service.clone());
        let reports = reports.or_insert_with(|| Vec::with_capacity(1));
        let place = reports.partition_point(|other| other.version > report.version);
        reports.insert(place, report);
        service
    }

    fn remove(&mut self, object: &str) -> Option<ServiceKey> {
        self.deleting.remove(object);
        let service = self.objects.remove(object)?;
        let reports = self.services.get_mut(&service)?;
        let place = reports.iter().position(|report| &*report.object == object)?;
        let pod = reports.remove(place).pod;
        reports.shrink_to_fit();
        if reports.is_empty() {
            self.services.remove(&service);
        }
        self.disown(&pod);
        Some(service)
    }

    /// Takes that a Pod owns one object less.
    fn disown(&mut self, pod: &str) {
        let Some(count) = self.owners.get_mut(pod) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.owners.remove(pod);
            if self.is_gone(pod) {
                self.unready.remove(pod);
            }
        }
    }

    /// Takes that a Pod is gone, and with it what it has reported. Kubernetes deletes its objects, too.
    fn forget(&mut self, pod: Option<Box<str>>) {
        let Some(pod) = pod else { return };
        if !self.owners.contains_key(&pod) {
            self.unready.remove(&pod);
            return;
        }
        let of_pod = self.services.iter().filter(|(_, reports)| {
            let mut reports = reports.iter();
            reports.any(|report| report.pod == pod)
        });
        self.stale.extend(of_pod.map(|(service, _)| service.clone()));
        self.unready.insert(pod);
    }
}

/// Returns what the reports on a Service, the newest first, say of it, and those of them that are superseded.
fn evaluate<'a>(
    reports: &'a [SpeakerStatus],
    addresses: &[IpAddr],
) -> (Option<Announced>, Vec<&'a SpeakerStatus>) {
    let mut rest: Vec<IpAddr> = addresses.to_vec();
    let mut result: Option<&SpeakerStatus> = None;
    let mut superseded = Vec::new();
    for report in reports {
        let is_superseded = match result {
            _ if report.is_withdrawn() => true,
            None => false,
            Some(newer) if newer.announced.status == ConditionStatus::True => true,
            // One speaker reports why no node announces the Service. It may be another one from time to time.
            Some(newer) => !newer.is_elected && !report.is_elected,
        };
        if is_superseded {
            superseded.push(report);
        } else if result.is_none() {
            if report.announced.status == ConditionStatus::True {
                rest.retain(|address| !report.announces(*address));
            }
            let is_decided = rest.is_empty() || report.announced.status != ConditionStatus::True;
            result = is_decided.then_some(report);
        }
    }
    (result.map(|report| report.announced.clone()), superseded)
}

#[cfg(test)]
mod tests;
