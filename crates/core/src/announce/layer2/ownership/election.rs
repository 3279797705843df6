//! The election for an address: of the nodes that all its Services may use, the fittest compete by rank.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::IpAddr;

use super::{Ownership, is_suspected};
use crate::announce::eligibility::{Exclusion, Exposure, Node, TrafficPolicy, View};
use crate::announce::facts::Facts;
use crate::announce::layer2::election::{Candidate, ElectionResult, Order, Rank, elect};
use crate::announce::layer2::node_selection::{interfaces, preference};
use crate::announce::layer2::placement::{ElectionRule, Fitness};
use crate::config::L2Advertisement;
use crate::{NodeName, ServiceKey};

/// Fitness and rank that another candidate has to beat to change the owner or the backup.
pub(super) type Threshold = (Reverse<Fitness>, Rank);

/// A Service that takes part, with its advertisements, or why no node announces the address for it.
type Sharer<'a> = (&'a Exposure, Result<Vec<&'a L2Advertisement>, Exclusion>);

/// The nodes that may own an address, and the result.
pub(super) struct Election<'a> {
    /// Oldest first. The first address of the first Service is the key of the election.
    sharers: Vec<Sharer<'a>>,
    candidates: Vec<(Fitness, Candidate<'a>)>,
    /// The greatest fitness of all candidates: only candidates that have it compete.
    fitness: Fitness,
    result: Option<ElectionResult<'a>>,
}

impl<'a> Election<'a> {
    pub(super) fn sharers(&self) -> &[Sharer<'a>] {
        &self.sharers
    }

    /// Returns the result; `None` if there is no candidate.
    pub(super) const fn result(&self) -> Option<&ElectionResult<'a>> {
        self.result.as_ref()
    }

    pub(super) fn threshold(&self) -> Option<Threshold> {
        let second = self.result.and_then(|result| result.second)?;
        Some((Reverse(self.fitness), second))
    }

    /// Whether a node that is no candidate may change the result, too: it could serve a sharer that no candidate can.
    pub(super) fn is_contested(&self) -> bool {
        let has_no_candidate = |(_, sharer): &Sharer<'_>| {
            matches!(sharer, Err(Exclusion::NoCandidate | Exclusion::NoCommonNode))
        };
        self.sharers.len() > 1 && self.sharers.iter().any(has_no_candidate)
    }

    /// Whether a candidate is within this threshold.
    pub(super) fn is_within(&self, threshold: Option<Threshold>) -> bool {
        let Some(key) = key(&self.sharers) else {
            return false;
        };
        let mut candidates = self.candidates.iter();
        candidates.any(|(fitness, candidate)| {
            threshold.is_none_or(|threshold| (Reverse(*fitness), candidate.rank(key)) < threshold)
        })
    }

    /// Returns the order of a node, whatever its fitness; `None` if it is no candidate.
    pub(super) fn order(&self, node: &NodeName) -> Option<Order> {
        let (_, candidate) = self.candidates.iter().find(|(_, other)| other.node == node)?;
        Some(Order::new(node, key(&self.sharers)?, candidate.score))
    }

    /// Returns the preference score of a node that competes, or why a node that may announce the Service does not.
    fn explain(
        &self,
        node: &Node,
        advertisements: &[&L2Advertisement],
        otherwise: &Exclusion,
    ) -> Result<i64, Exclusion> {
        let mut candidates = self.candidates.iter();
        let Some((fitness, candidate)) = candidates.find(|(_, other)| *other.node == node.name) else {
            return Err(otherwise.clone());
        };
        if *fitness == self.fitness {
            Ok(candidate.score)
        } else if fitness.has_interface != self.fitness.has_interface {
            let names = interfaces(advertisements, node);
            Err(Exclusion::NoInterface(names.unwrap_or_default()))
        } else if fitness.announces_family != self.fitness.announces_family {
            Err(Exclusion::NoLinkLocalAddress)
        } else if fitness.is_as_near_as(self.fitness) {
            Err(Exclusion::OnlyTerminatingEndpoints)
        } else {
            Err(Exclusion::NotInSubnet)
        }
    }
}

/// Returns the key of an election: the first address of the oldest Service, for dual stack too, so that one node announces
/// both addresses.
fn key(sharers: &[Sharer<'_>]) -> Option<IpAddr> {
    sharers.first()?.0.addresses.first().copied()
}

impl Ownership {
    /// Elects for an address that `sharers` have, among those of `nodes` that may announce it for each of them.
    ///
    /// A sharer that no node may announce does not count. If a sharer has no node in common with the older ones, no node
    /// announces the address for it.
    pub(super) fn elect<'a>(
        &'a self,
        facts: &'a Facts,
        view: &View<'_>,
        address: IpAddr,
        sharers: &'a [ServiceKey],
        nodes: impl Iterator<Item = &'a Node> + Clone,
    ) -> Election<'a> {
        let mut common: Option<Vec<&Node>> = None;
        let mut seen: Vec<Sharer<'a>> = Vec::with_capacity(sharers.len());
        // Services with policy Cluster and the same advertisements may use the same nodes.
        let mut counted = None;
        for service in sharers.iter().filter_map(|key| facts.service(key)) {
            let endpoints = facts.endpoints(&service.key);
            let advertisements = view.advertisements_of(&self.advertisements, service, address, endpoints);
            let is_cluster = service.traffic_policy == TrafficPolicy::Cluster;
            let sharer = advertisements.and_then(|advertisements| {
                let is_like = |other: &Vec<&L2Advertisement>| are_same(other, &advertisements);
                let counted = counted.and_then(|index: usize| seen[index].1.as_ref().ok());
                if !(is_cluster && counted.is_some_and(is_like)) {
                    let may_announce = |node: &&Node| {
                        let checked = view.may_announce(&advertisements, service, endpoints, node);
                        checked.is_ok()
                    };
                    narrow(&mut common, nodes.clone(), may_announce)?;
                }
                Ok(advertisements)
            });
            if is_cluster && sharer.is_ok() {
                counted = Some(seen.len());
            }
            seen.push((service, sharer));
        }
        let candidates = self.candidates(facts, address, &seen, common.unwrap_or_default());
        let fitness = candidates.iter().map(|(fitness, _)| *fitness).max();
        let fitness = fitness.unwrap_or_default();
        let fittest = candidates.iter().filter(|(own, _)| *own == fitness);
        let result = key(&seen).and_then(|key| elect(key, fittest.map(|(_, candidate)| *candidate)));
        Election {
            sharers: seen,
            candidates,
            fitness,
            result,
        }
    }

    /// Evaluates nodes that all Services which count may use.
    fn candidates<'a>(
        &self,
        facts: &Facts,
        address: IpAddr,
        sharers: &[Sharer<'a>],
        nodes: Vec<&'a Node>,
    ) -> Vec<(Fitness, Candidate<'a>)> {
        let mut selections: Vec<&[&L2Advertisement]> = Vec::new();
        let mut terminating: Vec<&BTreeSet<NodeName>> = Vec::new();
        for (service, advertisements) in sharers {
            let Ok(advertisements) = advertisements else {
                continue;
            };
            if !selections.iter().any(|other| are_same(other, advertisements)) {
                selections.push(advertisements);
            }
            let is_local = service.traffic_policy == TrafficPolicy::Local;
            let nodes = &facts.endpoints(&service.key).terminating;
            if is_local && !nodes.is_empty() {
                terminating.push(nodes);
            }
        }
        let (Some((oldest, _)), Some(scoring)) = (sharers.first(), selections.first()) else {
            return Vec::new();
        };
        let evaluate = |node: &'a Node| {
            let stopping = terminating.iter().filter(|nodes| nodes.contains(&node.name));
            let stopping = stopping.count();
            let of_selection = |advertisements: &&[&L2Advertisement]| {
                let (own, selected) = (&oldest.addresses, interfaces(advertisements, node));
                let placement = &self.placement;
                let mut fitness = placement.fitness(&node.name, address, own, selected.as_ref(), stopping);
                // Gossip has not yet reported an interface that has just disappeared here. Of what its reports have no room
                // for, this node takes no more into account than its peers, or it would come to another result for ever.
                let own_profile = placement.profile(&node.name);
                if let Some(profile) = own_profile.filter(|_| node.name == self.own_node) {
                    if profile.interfaces.is_some() {
                        fitness.has_interface &= self.has_interface(selected.as_ref());
                    }
                    if profile.interfaces_for(address).is_some() {
                        fitness.announces_family &= self.announces_family_of(address, selected.as_ref());
                    }
                }
                fitness
            };
            let fitness = selections
                .iter()
                .map(of_selection)
                .reduce(Fitness::with_interfaces_of);
            let candidate = Candidate {
                node: &node.name,
                score: preference(scoring, node),
                is_flapping: self.placement.is_flapping(&node.name),
                is_suspect: is_suspected(facts, &node.name),
            };
            (fitness.unwrap_or_default(), candidate)
        };
        nodes.into_iter().map(evaluate).collect()
    }

    /// Explains the election of an address as far as one of its Services is concerned: for each node its preference score, or
    /// why it is no candidate.
    ///
    /// # Errors
    /// The reason why no node can be a candidate.
    pub fn explain<'a>(
        &'a self,
        facts: &'a Facts,
        service: &ServiceKey,
        address: IpAddr,
    ) -> Result<BTreeMap<&'a NodeName, Result<i64, Exclusion>>, Exclusion> {
        let exposure = facts.service(service).ok_or(Exclusion::NoAddress)?;
        let endpoints = facts.endpoints(service);
        let view = facts.view();
        let advertisements = view.advertisements_of(&self.advertisements, exposure, address, endpoints)?;
        let mut electorates = self.electorates(facts, address);
        let sharers = electorates.find(|sharers| sharers.contains(service));
        let sharers = sharers.ok_or(Exclusion::NoAddress)?;
        let election = self.elect(facts, &view, address, sharers, facts.nodes().values());
        let outcome = election.sharers.iter().find(|(other, _)| other.key == *service);
        let counts = outcome.is_some_and(|(_, outcome)| outcome.is_ok());
        let otherwise = if counts {
            Exclusion::ExcludedBySharer
        } else {
            Exclusion::NoCommonNode
        };
        let explain = |node: &'a Node| {
            view.may_announce(&advertisements, exposure, endpoints, node)?;
            election.explain(node, &advertisements, &otherwise)
        };
        let nodes = facts.nodes().values();
        Ok(nodes.map(|node| (&node.name, explain(node))).collect())
    }

    /// Returns the reasons why nodes are no candidates for one of the Services of an address. The state of a node that passes
    /// (its speaker restarts, it is drained) is the reason only if there is no other one.
    pub fn lasting_reasons(
        &self,
        facts: &Facts,
        service: &ServiceKey,
        address: IpAddr,
    ) -> BTreeSet<&'static str> {
        let mut reasons = BTreeSet::new();
        let (Ok(explained), Some(exposure)) = (self.explain(facts, service, address), facts.service(service))
        else {
            return reasons;
        };
        let endpoints = facts.endpoints(service);
        let view = View {
            members: None,
            ..facts.view()
        };
        let advertisements = view.advertisements_of(&self.advertisements, exposure, address, endpoints);
        let advertisements = advertisements.unwrap_or_default();
        for (name, explained) in explained {
            let (Err(exclusion), Some(node)) = (explained, facts.nodes().get(name)) else {
                continue;
            };
            let otherwise = exclusion.is_passing().then(|| {
                let node = Node {
                    network_unavailable: false,
                    draining: false,
                    ..node.clone()
                };
                view.may_announce(&advertisements, exposure, endpoints, &node)
            });
            reasons.insert(match (otherwise, &exclusion) {
                (Some(Err(lasting)), _) => lasting.reason(),
                // A speaker that restarts is not reachable in between.
                (_, Exclusion::SpeakerNotReady(_)) => Exclusion::NoSpeaker.reason(),
                (_, exclusion) => exclusion.reason(),
            });
        }
        reasons
    }

    /// Returns the Services on an address, oldest first, in one group for each election.
    pub(super) fn electorates<'a>(
        &self,
        facts: &'a Facts,
        address: IpAddr,
    ) -> impl Iterator<Item = &'a [ServiceKey]> + use<'a> {
        let size = match self.placement.rule() {
            ElectionRule::PerAddress => usize::MAX,
            ElectionRule::PerService => 1,
        };
        facts.sharers(address).chunks(size)
    }

    /// Whether one of these interfaces exists here, as far as is known; `None` is any.
    pub(super) fn has_interface(&self, selected: Option<&BTreeSet<String>>) -> bool {
        match (selected, &self.interfaces) {
            (Some(selected), Some(existing)) => !selected.is_disjoint(&existing.names),
            (None, _) | (_, None) => true,
        }
    }

    /// Whether one of these interfaces can announce `address` here, as far as is known; `None` is any.
    pub(super) fn announces_family_of(&self, address: IpAddr, selected: Option<&BTreeSet<String>>) -> bool {
        let Some(existing) = &self.interfaces else {
            return true;
        };
        let able = match address {
            IpAddr::V4(_) => &existing.names,
            IpAddr::V6(_) => &existing.ipv6,
        };
        selected.map_or(!able.is_empty(), |selected| !selected.is_disjoint(able))
    }
}

/// Keeps those of the `common` nodes of older Services (of all `nodes`, if there is none) that may announce another one.
///
/// # Errors
/// The reason why no node announces the address for that Service, which then does not count.
fn narrow<'a>(
    common: &mut Option<Vec<&'a Node>>,
    mut nodes: impl Iterator<Item = &'a Node>,
    may_announce: impl Fn(&&'a Node) -> bool,
) -> Result<(), Exclusion> {
    let Some(older) = common else {
        let eligible: Vec<&Node> = nodes.filter(may_announce).collect();
        if eligible.is_empty() {
            return Err(Exclusion::NoCandidate);
        }
        *common = Some(eligible);
        return Ok(());
    };
    if older.iter().any(&may_announce) {
        older.retain(may_announce);
        Ok(())
    } else if nodes.any(|node| may_announce(&node)) {
        Err(Exclusion::NoCommonNode)
    } else {
        Err(Exclusion::NoCandidate)
    }
}

/// Whether two lists have the same advertisements.
fn are_same(one: &[&L2Advertisement], other: &[&L2Advertisement]) -> bool {
    let mut pairs = one.iter().zip(other);
    one.len() == other.len() && pairs.all(|(one, other)| core::ptr::eq(*one, *other))
}
