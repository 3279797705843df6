//! What the controller watches.

mod bgp;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use herald_api::{
    ConfigurationState, IPAddressPool, L2Advertisement, ServiceBGPStatus, ServiceL2Status, convert,
};
use herald_core::announce::eligibility::Node;
use herald_core::config::bgp::BgpKind;
use herald_core::config::{RawL2Advertisement, RawPool};
use herald_core::{Labels, ServiceKey};
use herald_runtime::readiness::Precondition;
use herald_runtime::watch::watch;
use herald_runtime::{Update, task};
use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::api::core::v1::{Namespace, ObjectReference, Pod, Service};
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::{Client, Resource};
use tokio::sync::mpsc;

use crate::announcements::{BgpAnnouncement, PodReadiness, SpeakerStatus};
use crate::effects::SpeakerInterfaces;
use crate::observed::ObservedService;
use crate::resources::{ObservedResource, PoolCounts};
pub(crate) use bgp::{WrittenBgp, advertisement_change, communities_change, peer_change, profile_change};

/// An input of the driver.
#[derive(Debug)]
pub(crate) enum ClusterChange {
    /// Services of type `LoadBalancer`; a Service that changes its type is deleted.
    Services(Update<Box<ObservedService>>),
    /// Services of all other types: what they use without this controller.
    OtherServices(Update<OtherService>),
    /// Nodes.
    Nodes(Update<Node>),
    /// Pools in our namespace.
    Pools(Update<Box<WrittenPool>>),
    /// Advertisements in our namespace, so that their problems are reported.
    Advertisements(Update<Box<WrittenAdvertisement>>),
    /// Resources of BGP in our namespace, so that their problems are reported, and that pools which only they announce count as
    /// announced.
    Bgp(BgpKind, Update<Box<WrittenBgp>>),
    /// Namespaces with their labels.
    Namespaces(Update<(String, Labels)>),
    /// What the speakers report of their announcements.
    Announcements(Update<Option<SpeakerStatus>>),
    /// What they report of BGP.
    BgpAnnouncements(Update<Option<BgpAnnouncement>>),
    /// The Pods in our namespace, so that it is known whether a speaker is ready.
    Pods(Update<PodReadiness>),
    /// What the speakers say of their interfaces: whether an advertisement names one.
    Speakers(Update<Option<SpeakerInterfaces>>),
}

/// The kinds that a controller lists before it becomes a candidate for the Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ListedKind {
    Services,
    OtherServices,
    Nodes,
    Pools,
    Namespaces,
}

impl ListedKind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Services,
        Self::OtherServices,
        Self::Nodes,
        Self::Pools,
        Self::Namespaces,
    ];
}

impl Precondition for ListedKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Services => "Services",
            Self::OtherServices => "Services of other types",
            Self::Nodes => "Nodes",
            Self::Pools => "IPAddressPools",
            Self::Namespaces => "Namespaces",
        }
    }
}

/// A Service of another type than `LoadBalancer`, and its `spec.externalIPs`: all that is kept of it.
#[derive(Debug)]
pub(crate) struct OtherService {
    pub(crate) key: ServiceKey,
    pub(crate) external_ips: Box<[IpAddr]>,
}

/// A pool as written, and the reference for events about it.
#[derive(Debug)]
pub(crate) struct WrittenPool {
    pub(crate) raw: RawPool,
    pub(crate) reference: ObjectReference,
    pub(crate) observed: ObservedResource,
}

/// An advertisement as written, and the reference for events about it.
#[derive(Debug)]
pub(crate) struct WrittenAdvertisement {
    pub(crate) raw: RawL2Advertisement,
    pub(crate) reference: ObjectReference,
    pub(crate) observed: ObservedResource,
}

impl WrittenPool {
    fn new(pool: &IPAddressPool) -> Self {
        let status = pool.status.as_ref();
        let counts = status.map(|status| PoolCounts {
            assigned: [status.assigned_ipv4, status.assigned_ipv6],
            available: [status.available_ipv4, status.available_ipv6],
        });
        let conditions = status.map(|status| status.conditions.clone());
        Self {
            raw: convert::pool(pool),
            reference: pool.object_ref(&()),
            observed: ObservedResource {
                counts,
                conditions: conditions.unwrap_or_default(),
                observed_generation: status.and_then(|status| status.observed_generation),
                generation: pool.metadata.generation,
                version: pool.metadata.resource_version.clone(),
            },
        }
    }
}

impl WrittenAdvertisement {
    fn new(advertisement: &L2Advertisement) -> Self {
        let status = advertisement.status.as_ref();
        let conditions = status.map(|status| status.conditions.clone());
        Self {
            raw: convert::l2_advertisement(advertisement),
            reference: advertisement.object_ref(&()),
            observed: ObservedResource {
                counts: None,
                conditions: conditions.unwrap_or_default(),
                observed_generation: status.and_then(|status| status.observed_generation),
                generation: advertisement.metadata.generation,
                version: advertisement.metadata.resource_version.clone(),
            },
        }
    }
}

/// Starts the watches.
pub(crate) fn watch_all(
    client: &Client,
    namespace: &str,
    class: &str,
    version_check: Duration,
    inputs: &mpsc::Sender<Vec<ClusterChange>>,
) {
    let class = Some(Arc::<str>::from(class)).filter(|class| !class.is_empty());
    task::spawn(watch(
        Api::<Service>::all(client.clone()),
        ListParams::default().fields("spec.type=LoadBalancer"),
        version_check,
        move |service| Box::new(ObservedService::new(&service, class.as_deref())),
        ClusterChange::Services,
        inputs.clone(),
    ));
    task::spawn(watch(
        Api::<Service>::all(client.clone()),
        ListParams::default().fields("spec.type!=LoadBalancer"),
        version_check,
        |service| OtherService {
            key: convert::key(&service),
            external_ips: convert::external_ips(&service),
        },
        ClusterChange::OtherServices,
        inputs.clone(),
    ));
    task::spawn(watch(
        Api::<core_v1::Node>::all(client.clone()),
        ListParams::default(),
        version_check,
        |node| convert::node(&node),
        ClusterChange::Nodes,
        inputs.clone(),
    ));
    task::spawn(watch(
        Api::<IPAddressPool>::namespaced(client.clone(), namespace),
        ListParams::default(),
        version_check,
        |pool| Box::new(WrittenPool::new(&pool)),
        ClusterChange::Pools,
        inputs.clone(),
    ));
    task::spawn(watch(
        Api::<L2Advertisement>::namespaced(client.clone(), namespace),
        ListParams::default(),
        version_check,
        |advertisement| Box::new(WrittenAdvertisement::new(&advertisement)),
        ClusterChange::Advertisements,
        inputs.clone(),
    ));
    bgp::watch_all(client, namespace, version_check, inputs);
    task::spawn(watch(
        Api::<PartialObjectMeta<Namespace>>::all(client.clone()),
        ListParams::default(),
        version_check,
        |namespace| {
            let metadata = namespace.metadata;
            (
                metadata.name.unwrap_or_default(),
                metadata.labels.unwrap_or_default(),
            )
        },
        ClusterChange::Namespaces,
        inputs.clone(),
    ));
    task::spawn(watch(
        Api::<ServiceL2Status>::namespaced(client.clone(), namespace),
        ListParams::default(),
        version_check,
        |status| SpeakerStatus::new(&status),
        ClusterChange::Announcements,
        inputs.clone(),
    ));
    task::spawn(watch(
        Api::<ServiceBGPStatus>::namespaced(client.clone(), namespace),
        ListParams::default(),
        version_check,
        |status| BgpAnnouncement::new(&status),
        ClusterChange::BgpAnnouncements,
        inputs.clone(),
    ));
    task::spawn(watch(
        Api::<Pod>::namespaced(client.clone(), namespace),
        ListParams::default(),
        version_check,
        |pod| PodReadiness::new(&pod),
        ClusterChange::Pods,
        inputs.clone(),
    ));
    task::spawn(watch(
        Api::<ConfigurationState>::namespaced(client.clone(), namespace),
        ListParams::default(),
        version_check,
        |state| SpeakerInterfaces::new(&state),
        ClusterChange::Speakers,
        inputs.clone(),
    ));
}
