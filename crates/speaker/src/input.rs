//! The watches of the speaker. Each object is reduced on arrival to what the agent needs.

mod bgp;
mod service_version;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use herald_api::convert::{MetalLbPod, MetalLbProgram};
use herald_api::{IPAddressPool, L2Advertisement, convert};
use herald_core::NodeName;
use herald_core::announce::eligibility::{Exposure, Node};
use herald_core::config::{RawL2Advertisement, RawPool};
use herald_runtime::readiness::Precondition;
use herald_runtime::watch::watch;
use herald_runtime::{Update, task};
use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::api::discovery::v1 as discovery_v1;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use tokio::sync::mpsc;

use crate::Args;
pub(crate) use bgp::BgpUpdate;
pub(crate) use service_version::ServiceVersion;

/// A change of the cluster, as input of the driver.
#[derive(Debug)]
pub(crate) enum Input {
    /// Services of type `LoadBalancer`; one that changes its type is reported as deleted.
    Services(Update<ServiceInput>),
    /// EndpointSlices of all Services.
    Slices(Update<convert::EndpointSlice>),
    /// Nodes.
    Nodes(Update<NodeInput>),
    /// Pools in the namespace of the speaker.
    Pools(Update<RawPool>),
    /// Advertisements in the namespace of the speaker.
    Advertisements(Update<RawL2Advertisement>),
    /// The Pods of the speakers.
    SpeakerPods(Update<SpeakerPod>),
    /// The Pods of the namespace, beside MetalLB.
    Pods(Update<NamespacePod>),
    /// Resources of BGP.
    Bgp(BgpUpdate),
}

/// What a speaker waits for before it owns addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Awaiting {
    Services,
    EndpointSlices,
    Nodes,
    Pools,
    Advertisements,
    Interfaces,
    SpeakerPods,
    Gossip,
    MetalLbPods,
}

impl Awaiting {
    /// Returns what a speaker waits for.
    pub(crate) fn of_speaker(has_gossip: bool, is_beside_metallb: bool) -> impl Iterator<Item = Self> {
        const ALWAYS: [Awaiting; 6] = [
            Awaiting::Services,
            Awaiting::EndpointSlices,
            Awaiting::Nodes,
            Awaiting::Pools,
            Awaiting::Advertisements,
            Awaiting::Interfaces,
        ];
        let gossip = [Self::SpeakerPods, Self::Gossip].into_iter();
        let metallb = is_beside_metallb.then_some(Self::MetalLbPods);
        let gossip = gossip.filter(move |_| has_gossip);
        ALWAYS.into_iter().chain(gossip).chain(metallb)
    }
}

impl Precondition for Awaiting {
    fn as_str(self) -> &'static str {
        match self {
            Self::Services => "Services",
            Self::EndpointSlices => "EndpointSlices",
            Self::Nodes => "Nodes",
            Self::Pools => "IPAddressPools",
            Self::Advertisements => "L2Advertisements",
            Self::Interfaces => "network interfaces",
            Self::SpeakerPods => "Pods of speakers",
            Self::Gossip => "gossip",
            Self::MetalLbPods => "Pods of MetalLB",
        }
    }
}

/// A Service object, reduced.
#[derive(Debug)]
pub(crate) struct ServiceInput {
    pub(crate) exposure: Exposure,
    /// Whether its `loadBalancerClass` is that of this load balancer.
    pub(crate) is_own_class: bool,
    pub(crate) version: ServiceVersion,
}

/// A Node object, reduced.
#[derive(Debug)]
pub(crate) struct NodeInput {
    pub(crate) node: Node,
    /// Its first `InternalIP` of IPv4.
    pub(crate) internal_ipv4: Option<Ipv4Addr>,
}

/// The Pod of a speaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpeakerPod {
    pub(crate) name: String,
    /// The node that it runs on and its address, once it has both.
    pub(crate) node: Option<(NodeName, IpAddr)>,
    /// Whether the API server considers it ready.
    pub(crate) is_ready: bool,
}

/// A Pod of the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamespacePod {
    pub(crate) name: String,
    /// If it is one of MetalLB's speaker, or of the frr-k8s that runs BGP for it.
    pub(crate) metallb: Option<MetalLbPod>,
}

/// Starts the watches.
pub(crate) fn watch_all(client: &Client, namespace: &str, args: &Args, inputs: &mpsc::Sender<Vec<Input>>) {
    let class = Some(Arc::<str>::from(args.lb_class.as_str())).filter(|class| !class.is_empty());
    let service = move |service: core_v1::Service| ServiceInput {
        exposure: convert::exposure(&service),
        is_own_class: convert::is_ours(&service, class.as_deref()),
        version: ServiceVersion::of(&service),
    };
    let check = Duration::from_secs(args.version_check_interval);
    let balancers = ListParams::default().fields("spec.type=LoadBalancer");
    let all = ListParams::default();
    let services = Api::<core_v1::Service>::all(client.clone());
    task::spawn(watch(
        services,
        balancers,
        check,
        service,
        Input::Services,
        inputs.clone(),
    ));
    let slices = Api::<discovery_v1::EndpointSlice>::all(client.clone());
    let of_services = all.clone().labels("kubernetes.io/service-name");
    let slice = |slice: discovery_v1::EndpointSlice| convert::endpoint_slice(&slice);
    task::spawn(watch(
        slices,
        of_services,
        check,
        slice,
        Input::Slices,
        inputs.clone(),
    ));
    let nodes = Api::<core_v1::Node>::all(client.clone());
    let node = |node: core_v1::Node| NodeInput {
        node: convert::node(&node),
        internal_ipv4: convert::internal_ipv4(&node),
    };
    task::spawn(watch(
        nodes,
        all.clone(),
        check,
        node,
        Input::Nodes,
        inputs.clone(),
    ));
    let pools = Api::<IPAddressPool>::namespaced(client.clone(), namespace);
    let pool = |pool: IPAddressPool| convert::pool(&pool);
    task::spawn(watch(
        pools,
        all.clone(),
        check,
        pool,
        Input::Pools,
        inputs.clone(),
    ));
    let advertisements = Api::<L2Advertisement>::namespaced(client.clone(), namespace);
    let advertisement = |advertisement: L2Advertisement| convert::l2_advertisement(&advertisement);
    task::spawn(watch(
        advertisements,
        all.clone(),
        check,
        advertisement,
        Input::Advertisements,
        inputs.clone(),
    ));
    if args.bgp {
        bgp::watch_all(client, namespace, check, inputs);
    }
    if args.beside_metallb {
        let pods = Api::<core_v1::Pod>::namespaced(client.clone(), namespace);
        task::spawn(watch(
            pods,
            all.clone(),
            check,
            |pod| namespace_pod(&pod),
            Input::Pods,
            inputs.clone(),
        ));
    }
    if args.gossip_address().is_some() {
        let pods = Api::<core_v1::Pod>::namespaced(client.clone(), namespace);
        let speakers = all.labels(&args.ml_labels);
        task::spawn(watch(
            pods,
            speakers,
            check,
            |pod| speaker_pod(&pod),
            Input::SpeakerPods,
            inputs.clone(),
        ));
    }
}

fn namespace_pod(pod: &core_v1::Pod) -> NamespacePod {
    NamespacePod {
        name: pod.name_any(),
        metallb: convert::metallb_pod(pod).filter(|pod| match pod.program {
            MetalLbProgram::Speaker | MetalLbProgram::FrrK8s => true,
            MetalLbProgram::Controller => false,
        }),
    }
}

fn speaker_pod(pod: &core_v1::Pod) -> SpeakerPod {
    let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
    let address = pod
        .status
        .as_ref()
        .and_then(|s| s.pod_ip.as_deref())
        .and_then(|ip| ip.parse().ok());
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref());
    let mut conditions = conditions.into_iter().flatten();
    SpeakerPod {
        name: pod.metadata.name.clone().unwrap_or_default(),
        node: node.map(NodeName::from).zip(address),
        is_ready: conditions.any(|c| c.type_ == "Ready" && c.status == "True"),
    }
}
