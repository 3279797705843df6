//! The objects that decisions depend on.

use std::collections::BTreeMap;

use herald_api::{
    BFDProfile, BGPAdvertisement, BGPPeer, BGPSessionState, Community, IPAddressPool, L2Advertisement,
    ServiceL2Status,
};
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client};

use super::listing::{Absence, Listed, list, list_in};

/// The objects of a cluster, and why some are not known.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) services: Vec<Service>,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) slices: Vec<EndpointSlice>,
    pub(crate) pools: Vec<IPAddressPool>,
    pub(crate) l2_advertisements: Vec<L2Advertisement>,
    pub(crate) l2_statuses: Vec<ServiceL2Status>,
    pub(crate) bgp: BgpObjects,
    /// The kinds that are not known, by their Kind.
    pub(crate) missing: BTreeMap<&'static str, Absence>,
}

/// The objects of BGP.
#[derive(Debug, Default)]
pub(crate) struct BgpObjects {
    pub(crate) peers: Vec<BGPPeer>,
    pub(crate) advertisements: Vec<BGPAdvertisement>,
    pub(crate) communities: Vec<Community>,
    pub(crate) bfd_profiles: Vec<BFDProfile>,
    pub(crate) sessions: Vec<BGPSessionState>,
}

impl Objects {
    /// Lists all of them. Herald's own are in `namespace`.
    pub(crate) async fn list(client: &Client, namespace: Option<&str>) -> Self {
        let all = ListParams::default;
        let (services, namespaces, nodes, slices, pools, l2_advertisements, l2_statuses) = tokio::join!(
            list::<Service>(Api::all(client.clone()), all()),
            list::<Namespace>(Api::all(client.clone()), all()),
            list::<Node>(Api::all(client.clone()), all()),
            list::<EndpointSlice>(Api::all(client.clone()), all()),
            list_in::<IPAddressPool>(client, namespace),
            list_in::<L2Advertisement>(client, namespace),
            list_in::<ServiceL2Status>(client, namespace),
        );
        let (peers, advertisements, communities, bfd_profiles, sessions) = tokio::join!(
            list_in::<BGPPeer>(client, namespace),
            list_in::<BGPAdvertisement>(client, namespace),
            list_in::<Community>(client, namespace),
            list_in::<BFDProfile>(client, namespace),
            list_in::<BGPSessionState>(client, namespace),
        );
        let mut missing = BTreeMap::new();
        let mut known = Known(&mut missing);
        Self {
            services: known.of("Service", services),
            namespaces: known.of("Namespace", namespaces),
            nodes: known.of("Node", nodes),
            slices: known.of("EndpointSlice", slices),
            pools: known.of("IPAddressPool", pools),
            l2_advertisements: known.of("L2Advertisement", l2_advertisements),
            l2_statuses: known.of("ServiceL2Status", l2_statuses),
            bgp: BgpObjects {
                peers: known.of("BGPPeer", peers),
                advertisements: known.of("BGPAdvertisement", advertisements),
                communities: known.of("Community", communities),
                bfd_profiles: known.of("BFDProfile", bfd_profiles),
                sessions: known.of("BGPSessionState", sessions),
            },
            missing,
        }
    }
}

struct Known<'a>(&'a mut BTreeMap<&'static str, Absence>);

impl Known<'_> {
    fn of<T>(&mut self, kind: &'static str, listed: Listed<T>) -> Vec<T> {
        listed.unwrap_or_else(|absence| {
            self.0.insert(kind, absence);
            Vec::new()
        })
    }
}
