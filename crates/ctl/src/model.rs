//! The machines of the programs, fed with what the API server and the programs show.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use herald_api::state::SpeakerState;
use herald_api::{BGPPeer, convert};
use herald_core::announce::bgp::BgpRoutes;
use herald_core::announce::eligibility::Endpoints;
use herald_core::announce::facts::{FactChange, Facts};
use herald_core::announce::layer2::ownership::Ownership;
use herald_core::config::bgp::{BgpCatalog, BgpChange, Password, RawSecret};
use herald_core::config::{AdvertisementScope, Catalog};
use herald_core::ipam::{Allocator, ExternalUser};
use herald_core::{Labels, Member, NodeName, ServiceKey, Time};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;

use crate::cluster::{ClusterView, Installation, Objects, States};

/// What the controller would decide.
pub(crate) struct Model {
    pub(crate) catalog: Catalog,
    pub(crate) bgp: BgpCatalog,
    pub(crate) allocator: Allocator,
    /// The time of the allocator.
    pub(crate) now: Time,
    /// The time by the clock of this machine.
    pub(crate) today: Timestamp,
    /// The `spec.loadBalancerClass` of the Services that Herald handles; `None` is that of Services without one.
    pub(crate) class: Option<String>,
}

impl Model {
    /// Returns what the controller of a cluster would decide now.
    pub(crate) fn of(cluster: &ClusterView) -> Self {
        Self::new(
            &cluster.objects,
            &cluster.states,
            cluster.installation.class(),
            Timestamp::now(),
        )
    }

    /// Feeds the machines of the controller, and lets them decide.
    pub(crate) fn new(objects: &Objects, states: &States, class: Option<&str>, today: Timestamp) -> Self {
        let mut catalog = Catalog::new();
        catalog.set_namespaces(namespaces(objects));
        catalog.set_pools(objects.pools.iter().map(convert::pool).collect());
        let advertisements = objects.l2_advertisements.iter();
        catalog.set_l2_advertisements(advertisements.map(convert::l2_advertisement).collect());
        let mut bgp = BgpCatalog::default();
        bgp.apply(bgp_changes(objects));
        // Messages name the end of a quarantine as a time since 1970.
        let now = Time::ZERO + today.duration_since(Timestamp::UNIX_EPOCH).unsigned_abs();
        let mut allocator = Allocator::new();
        allocator.set_catalog(&catalog, now);
        for (address, last, left) in quarantines(states, today) {
            allocator.set_quarantined(address, last, now + left);
        }
        for service in &objects.services {
            set_service(&mut allocator, service, class, now);
        }
        for node in objects.nodes.iter().map(convert::node) {
            allocator.set_external_user(ExternalUser::Node(node.name), &node.addresses, now);
        }
        allocator.activate(now);
        Self {
            catalog,
            bgp,
            allocator,
            now,
            today,
            class: class.map(str::to_owned),
        }
    }
}

impl Model {
    /// Takes Services, namespaces and nodes that have changed, and a changed catalog, and decides again.
    pub(crate) fn update(&mut self, cluster: &ClusterView) {
        let (objects, now) = (&cluster.objects, self.now);
        self.catalog.set_namespaces(namespaces(objects));
        self.allocator.set_catalog(&self.catalog, now);
        for node in objects.nodes.iter().map(convert::node) {
            self.allocator
                .set_external_user(ExternalUser::Node(node.name), &node.addresses, now);
        }
        for service in &objects.services {
            set_service(&mut self.allocator, service, cluster.installation.class(), now);
        }
    }

    /// Returns the problems of all resources.
    pub(crate) fn problems(&self) -> impl Iterator<Item = String> {
        let problems = self.catalog.problems().iter().map(ToString::to_string);
        problems.chain(self.bgp.problems().iter().map(ToString::to_string))
    }
}

fn namespaces(objects: &Objects) -> BTreeMap<String, Labels> {
    let namespaces = objects.namespaces.iter();
    let namespaces = namespaces.filter_map(|namespace| {
        let labels: Labels = namespace.metadata.labels.clone().unwrap_or_default();
        Some((namespace.metadata.name.clone()?, labels))
    });
    namespaces.collect()
}

/// Returns whether a Service is of type `LoadBalancer`.
fn is_load_balancer(object: &Service) -> bool {
    let spec = object.spec.as_ref();
    spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"))
}

/// Returns the addresses that a Service uses without the allocator.
pub(crate) fn external_addresses(object: &Service, class: Option<&str>) -> Vec<IpAddr> {
    let mut external = convert::external_ips(object).to_vec();
    if is_load_balancer(object) {
        let service = convert::service(object);
        if !convert::is_ours(object, class) || !service.is_marked {
            external.extend(service.assigned.iter().copied());
        }
    }
    external
}

/// Sets a Service as the controller does.
fn set_service(allocator: &mut Allocator, object: &Service, class: Option<&str>, now: Time) {
    let key = convert::key(object);
    let external = external_addresses(object, class);
    if !is_load_balancer(object) {
        allocator.remove_service(&key, now);
        allocator.set_external_user(ExternalUser::LoadBalancer(key.clone()), &[], now);
        return allocator.set_external_user(ExternalUser::Service(key), &external, now);
    }
    allocator.set_external_user(ExternalUser::LoadBalancer(key.clone()), &external, now);
    if convert::is_ours(object, class) {
        allocator.set_service(convert::service(object), now);
    } else {
        allocator.remove_service(&key, now);
    }
}

fn bgp_changes(objects: &Objects) -> Vec<BgpChange> {
    let bgp = &objects.bgp;
    let peers = bgp.peers.iter().flat_map(peer_changes);
    let advertisements = bgp.advertisements.iter();
    let advertisements =
        advertisements.map(|one| BgpChange::ApplyAdvertisement(convert::bgp_advertisement(one)));
    let communities = bgp.communities.iter();
    let communities = communities.map(|one| BgpChange::ApplyCommunities(convert::communities(one)));
    let profiles = bgp.bfd_profiles.iter();
    let profiles = profiles.map(|one| BgpChange::ApplyBfdProfile(convert::bfd_profile(one)));
    communities
        .chain(profiles)
        .chain(advertisements)
        .chain(peers)
        .collect()
}

/// The type of a Secret that a peer can refer to.
const BASIC_AUTH: &str = "kubernetes.io/basic-auth";

/// Returns what a peer changes. Secrets are not read, so that of the peer counts as one that can be used. Of one that cannot,
/// the controller writes an event.
pub(crate) fn peer_changes(peer: &BGPPeer) -> Vec<BgpChange> {
    let peer = convert::bgp_peer(peer);
    let secret = peer.password_secret.clone().filter(|name| !name.is_empty());
    let secret = secret.map(|name| {
        BgpChange::ApplySecret(RawSecret {
            name,
            kind: BASIC_AUTH.to_owned(),
            password: Some(Password(b"unknown".to_vec())),
        })
    });
    secret.into_iter().chain([BgpChange::ApplyPeer(peer)]).collect()
}

/// Returns the addresses in quarantine, with the Service that had each last and how long it lasts.
fn quarantines(
    states: &States,
    today: Timestamp,
) -> impl Iterator<Item = (IpAddr, ServiceKey, std::time::Duration)> {
    let quarantine = states.controller.iter().flat_map(|state| &state.quarantine);
    quarantine.filter_map(move |quarantined| {
        let until: Timestamp = quarantined.until.parse().ok()?;
        let left = until.duration_since(today).try_into().ok()?;
        let (namespace, name) = quarantined.last_service.split_once('/')?;
        Some((
            quarantined.address.parse().ok()?,
            ServiceKey::new(namespace, name),
            left,
        ))
    })
}

/// What the speakers would decide on the addresses of some Services.
pub(crate) struct AnnouncementModel {
    pub(crate) facts: Facts,
    /// That of a node that does not exist: it is never owner or backup itself.
    pub(crate) ownership: Ownership,
    /// Whether it is known which speakers are alive. Without it the owner is not known.
    pub(crate) knows_members: bool,
    /// The routes of each node.
    pub(crate) routes: BTreeMap<NodeName, BgpRoutes>,
    /// What the `BGPAdvertisement`s select.
    bgp_scopes: Vec<AdvertisementScope>,
}

impl AnnouncementModel {
    /// Feeds the machines of the speakers with the Services that have one of `addresses`, and lets them decide.
    pub(crate) fn of(
        addresses: &BTreeSet<IpAddr>,
        objects: &Objects,
        states: &States,
        installation: &Installation,
        model: &Model,
    ) -> Self {
        let members = installation.has_gossip().then(|| members(states)).flatten();
        let knows_members = members.is_some() || !installation.has_gossip();
        Self {
            knows_members,
            ..Self::with_members(addresses, objects, installation, members, model)
        }
    }

    /// Lets the machines of the speakers decide as if these were the members; without any, each node counts as one.
    pub(crate) fn with_members(
        addresses: &BTreeSet<IpAddr>,
        objects: &Objects,
        installation: &Installation,
        members: Option<Vec<Member>>,
        model: &Model,
    ) -> Self {
        let mut facts = Facts::new(members.is_some(), installation.ignores_exclude_label());
        let mut ownership = Ownership::new(NodeName::from(""));
        let mut changes: Vec<Option<FactChange>> = vec![facts.set_pools(model.catalog.pools())];
        changes.extend(
            objects
                .nodes
                .iter()
                .map(|node| facts.set_node(convert::node(node))),
        );
        let mut endpoints = endpoints(objects);
        for service in objects
            .services
            .iter()
            .filter(|service| convert::is_ours(service, model.class.as_deref()))
        {
            let exposure = convert::exposure(service);
            if exposure
                .addresses
                .iter()
                .any(|address| addresses.contains(address))
            {
                changes.push(facts.set_endpoints(exposure.key.clone(), endpoints.remove(&exposure.key)));
                changes.push(facts.set_service(exposure));
            }
        }
        changes.extend(members.map(|members| facts.set_members(&members)));
        ownership.set_advertisements(&facts, model.catalog.l2_advertisements());
        for change in changes.into_iter().flatten() {
            ownership.handle_change(&facts, change);
        }
        while ownership.poll_change(&facts).is_some() {}
        let is_used = model.bgp.peers().next().is_some() && model.bgp.advertisements().next().is_some();
        let routes = if is_used && installation.has_bgp() {
            objects
                .nodes
                .iter()
                .map(|node| routes_of(convert::node(node).name, &facts, model))
                .collect()
        } else {
            BTreeMap::new()
        };
        Self {
            facts,
            ownership,
            knows_members: true,
            routes,
            bgp_scopes: model.bgp.advertisements().map(|one| one.scope.clone()).collect(),
        }
    }
}

impl AnnouncementModel {
    /// Whether a `BGPAdvertisement` selects a Service and the pool of its address, on whatever node.
    pub(crate) fn is_selected_by_bgp(&self, service: &ServiceKey, address: IpAddr) -> bool {
        let Some(exposure) = self.facts.service(service) else {
            return false;
        };
        let Ok(pool) = self.facts.view().pool_at(exposure, address) else {
            return false;
        };
        let mut scopes = self.bgp_scopes.iter();
        scopes.any(|scope| scope.selects_pool(pool) && scope.selects_service(&exposure.labels))
    }
}

fn routes_of(node: NodeName, facts: &Facts, model: &Model) -> (NodeName, BgpRoutes) {
    let mut routes = BgpRoutes::new(node.clone(), None);
    routes.set_config(
        facts,
        model.bgp.advertisements().cloned().collect(),
        model.bgp.peers(),
    );
    (node, routes)
}

/// Returns the usable endpoints of each Service.
pub(crate) fn endpoints(objects: &Objects) -> BTreeMap<ServiceKey, Arc<Endpoints>> {
    let mut all: BTreeMap<ServiceKey, Arc<Endpoints>> = BTreeMap::new();
    for slice in objects.slices.iter().map(convert::endpoint_slice) {
        if let Some(service) = slice.service {
            Arc::make_mut(all.entry(service).or_default()).extend(&slice.endpoints);
        }
    }
    all
}

/// Returns the speakers as the one sees them that sees most of them alive.
fn members(states: &States) -> Option<Vec<Member>> {
    let alive = |state: &&SpeakerState| {
        let members = state.members.iter();
        let alive = members.filter(|member| member.liveness == "alive").count();
        (state.gossip_blocked != Some(true), alive)
    };
    let best = states.speakers.iter().max_by_key(alive)?;
    best.members.iter().map(convert::member).collect()
}
