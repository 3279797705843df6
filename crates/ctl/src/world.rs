//! A cluster for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use herald_api::convert;
use herald_api::state::SpeakerState;
use herald_core::{Features, Liveness, MacAddr, Member, NodeState, Prefix, Profile};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cluster::{ClusterView, Installation, Objects, States};

/// A cluster with Herald on these nodes.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) nodes: BTreeMap<String, Value>,
    pub(crate) services: BTreeMap<String, Value>,
    /// The nodes with a ready endpoint of each Service.
    endpoints: BTreeMap<String, Vec<String>>,
    /// The Services and nodes whose endpoints serve while they terminate.
    pub(crate) terminating: BTreeSet<(String, String)>,
    pub(crate) advertisement: Value,
    /// The addresses of the pool.
    pub(crate) pool: String,
    pub(crate) members: Vec<Member>,
}

impl World {
    pub(crate) fn new(nodes: usize) -> Self {
        let names = (0..nodes).map(|place| format!("node-{place}"));
        let node = |name: &String| json!({"metadata": {"name": name, "labels": {"name": name}}});
        let mac = |name: &String| MacAddr([2, 0, 0, 0, 0, name.bytes().next_back().unwrap_or_default()]);
        let member = |name: &String| Member {
            macs: Arc::new([mac(name)]),
            profile: Some(Arc::new(Profile {
                features: Features::OF_THIS_VERSION,
                subnets: Some(vec![Prefix::of([192, 0, 2, 0].into(), 24)]),
                interfaces: None,
                ..Profile::default()
            })),
            ..Member::new(name.as_str().into(), Liveness::Alive, NodeState::Ready)
        };
        let names: Vec<String> = names.collect();
        Self {
            members: names.iter().map(member).collect(),
            nodes: names.iter().map(|name| (name.clone(), node(name))).collect(),
            services: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            terminating: BTreeSet::new(),
            advertisement: json!({}),
            pool: "192.0.2.0/29".to_owned(),
        }
    }

    /// Adds a Service with an address and ready endpoints on these nodes.
    pub(crate) fn add(&mut self, name: &str, address: &str, spec: Value, on: &[&str]) {
        let mut service = json!({
            "metadata": {"name": name, "namespace": "default", "annotations": {"metallb.io/ip-allocated-from-pool": "first"}},
            "spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.9"]},
            "status": {"loadBalancer": {"ingress": [{"ip": address}]}},
        });
        for (field, value) in spec.as_object().into_iter().flatten() {
            service["spec"][field] = value.clone();
        }
        self.services.insert(name.to_owned(), service);
        self.endpoints
            .insert(name.to_owned(), on.iter().map(ToString::to_string).collect());
    }

    pub(crate) fn cluster(&self) -> ClusterView {
        let read = |value: &Value| serde_json::from_value(value.clone()).expect("an object");
        let slice = |(service, nodes): (&String, &Vec<String>)| {
            let endpoints = nodes.iter().map(|node| {
                let ends = self.terminating.contains(&(service.clone(), node.clone()));
                let conditions = json!({"ready": !ends, "serving": true, "terminating": ends});
                json!({"addresses": ["10.1.0.1"], "nodeName": node, "conditions": conditions})
            });
            let slice = json!({
                "metadata": {"name": format!("{service}-x"), "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
                "addressType": "IPv4", "endpoints": endpoints.collect::<Vec<_>>(),
            });
            serde_json::from_value(slice).expect("a slice")
        };
        let pool = json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": "first"},
            "spec": {"addresses": [self.pool]},
        });
        let advertisement = json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement", "metadata": {"name": "all"}, "spec": self.advertisement,
        });
        let state = |node: &String| SpeakerState {
            node: node.clone(),
            members: convert::member_state(&self.members),
            ..speaker_state()
        };
        ClusterView {
            installation: Installation::on(self.nodes.keys()),
            objects: Objects {
                services: self.services.values().map(read).collect(),
                nodes: self
                    .nodes
                    .values()
                    .map(|node| serde_json::from_value(node.clone()).expect("a Node"))
                    .collect(),
                slices: self.endpoints.iter().map(slice).collect(),
                pools: vec![serde_json::from_value(pool).expect("a pool")],
                l2_advertisements: vec![serde_json::from_value(advertisement).expect("an advertisement")],
                ..Objects::default()
            },
            states: States::of(self.nodes.keys().map(state).collect()),
            unknown: Vec::new(),
        }
    }
}

/// Returns a cluster with these objects, and a controller and a speaker that are ready.
pub(crate) fn cluster_of(objects: &[Value]) -> ClusterView {
    fn read<T: DeserializeOwned>(object: &Value) -> T {
        serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}"))
    }
    let mut cluster = World::new(1).cluster();
    let known = &mut cluster.objects;
    known.pools.clear();
    known.l2_advertisements.clear();
    for object in objects {
        match object["kind"].as_str() {
            Some("Service") => known.services.push(read(object)),
            Some("IPAddressPool") => known.pools.push(read(object)),
            Some("L2Advertisement") => known.l2_advertisements.push(read(object)),
            Some("BGPAdvertisement") => known.bgp.advertisements.push(read(object)),
            Some("BGPPeer") => known.bgp.peers.push(read(object)),
            Some("Community") => known.bgp.communities.push(read(object)),
            Some("BFDProfile") => known.bgp.bfd_profiles.push(read(object)),
            other => panic!("{other:?}"),
        }
    }
    cluster
}

fn speaker_state() -> SpeakerState {
    let state = json!({
        "version": 1, "node": "node-0", "time": "2026-01-01T00:00:00Z", "truncated": false, "gossipBlocked": false, "besideMetalLB": false,
        "electionDifferences": [], "members": [], "bgpPeers": [], "moves": [], "addresses": [],
    });
    serde_json::from_value(state).expect("a state")
}
