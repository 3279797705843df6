//! What the speakers report of the Services that they announce by BGP, in `ServiceBGPStatus` objects. All nodes may announce a
//! Service at a time, so no report supersedes another one.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
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
}

/// A report in the space of a few machine words: there is one for each Service and node.
#[derive(Debug, Clone)]
struct Report {
    service: ServiceKey,
    /// The place of its addresses among those that speakers announce the Service at.
    place: u32,
    pod: PodNumber,
}

/// The speakers that announce a Service at the same addresses.
#[derive(Debug)]
struct Announcers {
    /// `None` is all addresses of the Service.
    addresses: Option<Box<[IpAddr]>>,
    pods: Vec<PodNumber>,
}

impl Announcers {
    fn announce(&self, address: IpAddr) -> bool {
        let addresses = self.addresses.as_ref();
        addresses.is_none_or(|addresses| addresses.contains(&address))
    }
}

/// The reports of all speakers.
#[derive(Debug, Default)]
pub(super) struct BgpAnnouncements {
    /// Speakers say the same of a Service, or differ for a moment: almost each has one entry.
    services: BTreeMap<ServiceKey, Vec<Announcers>>,
    /// By hashes of the names of objects. That two of a million have the same hash has a probability of 3 in 100 million.
    reports: BTreeMap<u64, Report>,
    hasher: RandomState,
    pods: PodNumbers,
}

impl BgpAnnouncements {
    /// Takes a report. Returns its Service and Pod, and the Pod of the report that it replaces.
    pub(super) fn set(&mut self, report: BgpAnnouncement) -> (ServiceKey, Box<str>, Option<Box<str>>) {
        let before = self.remove(&report.object).map(|(_, pod)| pod);
        let BgpAnnouncement {
            object,
            service,
            pod,
            addresses,
        } = report;
        // One copy of the names.
        let known = self.services.get_key_value(&service);
        let service = known.map_or(service, |(known, _)| known.clone());
        let number = self.pods.add(&pod);
        let sets = self
            .services
            .entry(service.clone())
            .or_insert_with(|| Vec::with_capacity(1));
        let same = sets.iter().position(|set| set.addresses == addresses);
        let same_or_free = same.or_else(|| sets.iter().position(|set| set.pods.is_empty()));
        let place = same_or_free.unwrap_or_else(|| {
            sets.push(Announcers {
                addresses: None,
                pods: Vec::new(),
            });
            sets.len() - 1
        });
        sets[place].addresses = addresses;
        sets[place].pods.push(number);
        let hash = self.hasher.hash_one(&*object);
        let report = Report {
            service: service.clone(),
            place: u32::try_from(place).expect("fewer sets than objects fit into memory"),
            pod: number,
        };
        self.reports.insert(hash, report);
        (service, pod, before)
    }

    /// Removes a report. Returns its Service and Pod.
    pub(super) fn remove(&mut self, object: &str) -> Option<(ServiceKey, Box<str>)> {
        let Report { service, place, pod } = self.reports.remove(&self.hasher.hash_one(object))?;
        let sets = self.services.get_mut(&service)?;
        let pods = &mut sets[place as usize].pods;
        if let Some(index) = pods.iter().position(|other| *other == pod) {
            pods.swap_remove(index);
        }
        if sets.iter().all(|set| set.pods.is_empty()) {
            self.services.remove(&service);
        }
        Some((service, self.pods.remove(pod)))
    }

    /// Whether a speaker that is ready announces an address of a Service. The sessions of another one have ended.
    pub(super) fn announces(
        &self,
        service: &ServiceKey,
        address: IpAddr,
        unready: &BTreeSet<Box<str>>,
    ) -> bool {
        let sets = self.services.get(service).into_iter().flatten();
        let mut pods = sets.filter(|set| set.announce(address)).flat_map(|set| &set.pods);
        pods.any(|pod| unready.is_empty() || !unready.contains(self.pods.uid(*pod)))
    }

    /// Whether there is no report.
    pub(super) fn is_empty(&self) -> bool {
        self.services.is_empty()
    }
}

/// A number in place of the uid of a Pod.
type PodNumber = u32;

/// The Pods that own reports, each with a number. That of a Pod without reports is given to another one.
#[derive(Debug, Default)]
struct PodNumbers {
    numbers: BTreeMap<Box<str>, PodNumber>,
    /// The uid of each number, and how many reports the Pod has.
    pods: Vec<(Box<str>, usize)>,
    free: Vec<PodNumber>,
}

impl PodNumbers {
    /// Takes one more report of a Pod. Returns its number.
    fn add(&mut self, uid: &str) -> PodNumber {
        if let Some(number) = self.numbers.get(uid) {
            self.pods[*number as usize].1 += 1;
            return *number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.pods.push(Default::default());
            PodNumber::try_from(self.pods.len() - 1).expect("there are fewer Pods than addresses")
        });
        self.pods[number as usize] = (uid.into(), 1);
        self.numbers.insert(uid.into(), number);
        number
    }

    /// Takes one report less of a Pod. Returns its uid.
    fn remove(&mut self, number: PodNumber) -> Box<str> {
        let (uid, reports) = &mut self.pods[number as usize];
        *reports -= 1;
        let uid = uid.clone();
        if *reports == 0 {
            self.numbers.remove(&uid);
            self.free.push(number);
        }
        uid
    }

    fn uid(&self, number: PodNumber) -> &str {
        &self.pods[number as usize].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(object: usize, service: usize, pod: usize, addresses: &[u8]) -> BgpAnnouncement {
        let addresses = addresses.iter().map(|last| IpAddr::from([192, 0, 2, *last]));
        BgpAnnouncement {
            object: format!("bgp-{object:016x}").into(),
            service: ServiceKey::new("default", format!("web-{service}")),
            pod: format!("pod-{pod}").into(),
            addresses: Some(addresses.collect()),
        }
    }

    fn name(object: usize) -> String {
        format!("bgp-{object:016x}")
    }

    /// Compares with what remembers each report as it came.
    #[test]
    fn whatever_comes_and_goes_an_address_is_announced_while_a_report_of_a_ready_speaker_says_so() {
        const OBJECTS: usize = 24;
        let mut reports = BgpAnnouncements::default();
        let mut model: BTreeMap<usize, BgpAnnouncement> = BTreeMap::new();
        let mut seed = 1_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(seed >> 33).expect("31 bits") % below
        };
        for _ in 0..5_000 {
            let object = random(OBJECTS);
            if random(3) == 0 {
                let expected = model.remove(&object).map(|report| (report.service, report.pod));
                assert_eq!(reports.remove(&name(object)), expected);
            } else {
                let sets: [&[u8]; 4] = [&[], &[1], &[2], &[1, 2]];
                let mut report = report(object, object % 3, random(4), sets[random(4)]);
                if random(8) == 0 {
                    report.addresses = None;
                }
                let before = model.insert(object, report.clone()).map(|before| before.pod);
                let expected = (report.service.clone(), report.pod.clone(), before);
                assert_eq!(reports.set(report), expected);
            }
            let unready: BTreeSet<Box<str>> = (0..random(4)).map(|pod| format!("pod-{pod}").into()).collect();
            for (service, last) in [(0, 1), (1, 1), (2, 2)] {
                let service = ServiceKey::new("default", format!("web-{service}"));
                let address = IpAddr::from([192, 0, 2, last]);
                let expected = model.values().any(|report| {
                    let addresses = report.addresses.as_ref();
                    let has = addresses.is_none_or(|addresses| addresses.contains(&address));
                    report.service == service && has && !unready.contains(&report.pod)
                });
                assert_eq!(reports.announces(&service, address, &unready), expected);
            }
            assert_eq!(reports.is_empty(), model.is_empty());
        }
        for object in 0..OBJECTS {
            reports.remove(&name(object));
        }
        assert!(reports.services.is_empty() && reports.reports.is_empty() && reports.pods.numbers.is_empty());
        assert!(reports.pods.pods.len() <= 4, "numbers are used again");
    }

    #[test]
    fn a_report_takes_the_space_of_a_few_words() {
        assert!(size_of::<Report>() <= 16);
    }
}
