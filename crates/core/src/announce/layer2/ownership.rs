//! Ownership: the role of this node for each Service, computed again when something that it depends on changes.
//!
//! Inputs replace what was known (`set_*`); [`Ownership::poll_change`] then returns one changed role after the other.
//! Membership is an input like any other, so the failure detector can be exchanged.

mod election;
mod role;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::announce::eligibility::{Endpoints, Exclusion, Exposure, Node, View};
use crate::announce::layer2::election::Order;
use crate::announce::layer2::node_selection::{interfaces, score};
use crate::announce::layer2::placement::Placement;
use crate::config::{L2Advertisement, Pool};
use crate::name::tag;
use crate::{Liveness, Member, NodeName, NodeState, ServiceKey};

use election::{Election, Threshold};
pub use role::{Grant, Role, RoleChange};

/// Decides what one node owns. Exactly one task owns it.
#[derive(Debug)]
pub struct Ownership {
    own_node: NodeName,
    config: ElectionConfig,
    nodes: BTreeMap<NodeName, Node>,
    members: Option<BTreeMap<NodeName, Member>>,
    placement: Placement,
    /// Names of the interfaces that can announce here.
    interfaces: Option<BTreeSet<String>>,
    services: BTreeMap<ServiceKey, Exposure>,
    endpoints: BTreeMap<ServiceKey, Endpoints>,
    decided: BTreeMap<ServiceKey, DecidedRole>,
    /// Services whose role may have changed.
    stale: BTreeSet<ServiceKey>,
}

/// Pools, advertisements and options.
#[derive(Debug, Default)]
struct ElectionConfig {
    pools: Vec<Pool>,
    advertisements: Vec<L2Advertisement>,
    /// The interfaces that the advertisements name ([`tag`]).
    named_interfaces: BTreeSet<u32>,
    ignore_exclude_label: bool,
}

/// What was decided for a Service.
#[derive(Debug)]
struct DecidedRole {
    role: Role,
    /// A candidate beyond this changes neither owner nor backup; `None` if any candidate might.
    threshold: Option<Threshold>,
}

const NO_ENDPOINTS: &Endpoints = &Endpoints {
    any: false,
    nodes: BTreeSet::new(),
};

impl Ownership {
    /// Starts without knowledge and without addresses. With `has_gossip` the speakers come by [`Self::set_members`]; without
    /// it every Node is assumed to have a speaker.
    pub fn new(own_node: NodeName, has_gossip: bool, ignore_exclude_label: bool) -> Self {
        Self {
            own_node,
            config: ElectionConfig {
                ignore_exclude_label,
                ..ElectionConfig::default()
            },
            nodes: BTreeMap::new(),
            members: has_gossip.then(BTreeMap::new),
            placement: Placement::default(),
            interfaces: None,
            services: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            decided: BTreeMap::new(),
            stale: BTreeSet::new(),
        }
    }

    /// Replaces pools and advertisements.
    pub fn set_config(&mut self, pools: &[Pool], advertisements: &[L2Advertisement]) {
        let config = &mut self.config;
        if config.pools != pools || config.advertisements != advertisements {
            config.pools = pools.to_vec();
            config.advertisements = advertisements.to_vec();
            let named = advertisements.iter().flat_map(|a| &a.interfaces);
            config.named_interfaces = named.map(|name| tag(name)).collect();
            self.mark_all_stale();
        }
    }

    /// Adds or replaces a Node.
    pub fn set_node(&mut self, node: Node) {
        if self.nodes.get(&node.name) != Some(&node) {
            let name = BTreeSet::from([node.name.clone()]);
            self.nodes.insert(node.name.clone(), node);
            self.mark_affected(name.clone(), &name);
        }
    }

    /// Removes a Node.
    pub fn remove_node(&mut self, name: &NodeName) {
        if self.nodes.remove(name).is_some() {
            self.mark_affected(BTreeSet::from([name.clone()]), &BTreeSet::new());
        }
    }

    /// Replaces the members. Only those Services are decided again that a changed member owns or backs up, or now would.
    pub fn set_members(&mut self, members: &[Member]) {
        let Some(known) = &mut self.members else {
            return;
        };
        let next = members.iter().map(|m| (m.node.clone(), m.clone())).collect();
        let before = core::mem::replace(known, next);
        let placement = Placement::of(known.values());
        let is_rearranged = placement.differs_from(&self.placement, &self.config.named_interfaces);
        self.placement = placement;
        if is_rearranged {
            return self.mark_all_stale();
        }
        let only_in = |those: &BTreeMap<NodeName, Member>, others: &BTreeMap<NodeName, Member>| {
            let usable = those.values().filter(|m| m.is_usable());
            let only = usable.filter(|m| !others.get(&m.node).is_some_and(Member::is_usable));
            only.map(|m| m.node.clone()).collect::<BTreeSet<_>>()
        };
        let gained = only_in(known, &before);
        let mut changed = only_in(&before, known);
        let suspects = before.values().filter(|m| is_suspect(m));
        changed.extend(suspects.map(|m| m.node.clone()));
        changed.extend(gained.iter().cloned());
        self.mark_affected(changed, &gained);
    }

    /// Replaces the names of the interfaces that can announce here.
    pub fn set_interfaces(&mut self, names: BTreeSet<String>) {
        if self.interfaces.as_ref() != Some(&names) {
            self.interfaces = Some(names);
            self.mark_all_stale();
        }
    }

    /// Adds or replaces a Service.
    pub fn set_service(&mut self, service: Exposure) {
        if self.services.get(&service.key) != Some(&service) {
            self.stale.insert(service.key.clone());
            self.services.insert(service.key.clone(), service);
        }
    }

    /// Removes a Service that is gone or belongs to another implementation.
    pub fn remove_service(&mut self, key: &ServiceKey) {
        if self.services.remove(key).is_some() {
            self.stale.insert(key.clone());
        }
    }

    /// Replaces the usable endpoints of a Service; `None` when it has no EndpointSlices.
    pub fn set_endpoints(&mut self, key: ServiceKey, endpoints: Option<Endpoints>) {
        let before = match endpoints.clone() {
            Some(endpoints) => self.endpoints.insert(key.clone(), endpoints),
            None => self.endpoints.remove(&key),
        };
        if before != endpoints && self.services.contains_key(&key) {
            self.stale.insert(key);
        }
    }

    /// Returns the next role that differs from what was returned before.
    pub fn poll_change(&mut self) -> Option<RoleChange> {
        while let Some(service) = self.stale.pop_first() {
            let decided = self.services.get(&service).map(|exposure| self.decide(exposure));
            let after = decided.as_ref().map(|decided| decided.role.clone());
            let before = match decided {
                Some(decided) => self.decided.insert(service.clone(), decided),
                None => self.decided.remove(&service),
            };
            let before = before.map(|decided| decided.role);
            if before != after {
                return Some(RoleChange {
                    service,
                    before,
                    after,
                });
            }
        }
        None
    }

    /// Returns the role for a Service, as last polled.
    pub fn role(&self, key: &ServiceKey) -> Option<&Role> {
        self.decided.get(key).map(|decided| &decided.role)
    }

    /// Explains the election for a Service: for each node its preference score, or why it is no candidate. The same function
    /// elects the owner.
    ///
    /// # Errors
    /// The reason why no node can be a candidate.
    pub fn explain(
        &self,
        key: &ServiceKey,
    ) -> Result<BTreeMap<&NodeName, Result<i64, Exclusion>>, Exclusion> {
        let service = self.services.get(key).ok_or(Exclusion::NoAddress)?;
        Ok(self.elect(service)?.explain())
    }

    /// Whether `node` has a better rank than this node for a Service, if both were alive. Speakers that meet on the wire
    /// while gossip does not connect them decide by this.
    pub fn outranks(&self, node: &NodeName, key: &ServiceKey) -> bool {
        let Some(service) = self.services.get(key) else {
            return false;
        };
        let endpoints = self.endpoints_of(service);
        let view = View {
            members: None,
            ..self.view()
        };
        let (Ok(advertisements), Some(first)) = (
            view.advertisements_of(&self.config.advertisements, service, endpoints),
            service.addresses.first(),
        ) else {
            return false;
        };
        let order = |name: &NodeName| {
            let node = self.nodes.get(name)?;
            let score = score(&view, &advertisements, service, endpoints, node).ok()?;
            Some(Order::new(name, *first, score))
        };
        match (order(node), order(&self.own_node)) {
            (Some(other), Some(own)) => other < own,
            (other, None) => other.is_some(),
            (None, Some(_)) => false,
        }
    }

    fn decide(&self, service: &Exposure) -> DecidedRole {
        let election = self.elect(service);
        let threshold = election.as_ref().ok().and_then(Election::threshold);
        let role = election.and_then(|election| self.role_in(service, &election));
        DecidedRole {
            role: role.unwrap_or_else(Role::Unowned),
            threshold,
        }
    }

    fn role_in(&self, service: &Exposure, election: &Election<'_>) -> Result<Role, Exclusion> {
        let result = election.result().ok_or(Exclusion::NoCandidate)?;
        let (owner, own) = (result.owner, Some(&self.own_node));
        let is_owner = *owner == self.own_node;
        let is_successor = !is_owner && self.is_suspect(owner) && result.successor == own;
        let standby = || Role::Standby {
            owner: owner.clone(),
            backup: result.backup.cloned(),
        };
        if !is_owner && !is_successor && result.backup != own {
            return Ok(standby());
        }
        let own_node = self.nodes.get(&self.own_node).ok_or(Exclusion::NoCandidate)?;
        let interfaces = interfaces(election.advertisements(), own_node);
        if !self.has_interface(interfaces.as_ref()) {
            if !is_owner {
                return Ok(standby());
            }
            return Err(Exclusion::NoInterface(interfaces.unwrap_or_default()));
        }
        let grant = Grant {
            addresses: service.addresses.clone(),
            interfaces,
            conflict_detection: self.view().pool_of(service)?.conflict_detection,
        };
        let of = owner.clone();
        Ok(match (is_owner, is_successor) {
            (true, _) => Role::Owner(grant),
            (_, true) => Role::Successor { of, grant },
            (false, false) => Role::Backup { of, grant },
        })
    }

    /// Marks the Services whose role depends on one of the `changed` nodes, and those for which one of the nodes that
    /// `gained` eligibility is within the threshold. A suspect owner counts as changed, because any later candidate may be
    /// its successor.
    fn mark_affected(&mut self, mut changed: BTreeSet<NodeName>, gained: &BTreeSet<NodeName>) {
        changed.extend(self.suspects().cloned());
        if changed.is_empty() {
            return;
        }
        let affected = self.decided.iter().filter(|(key, decided)| {
            decided.role.depends_on(&changed, &self.own_node)
                || (!gained.is_empty() && self.is_within_threshold(key, decided, gained))
        });
        let affected: Vec<ServiceKey> = affected.map(|(key, _)| key.clone()).collect();
        self.stale.extend(affected);
    }

    /// Whether one of these nodes would change the owner or the backup of a Service.
    fn is_within_threshold(
        &self,
        key: &ServiceKey,
        decided: &DecidedRole,
        nodes: &BTreeSet<NodeName>,
    ) -> bool {
        let Some(service) = self.services.get(key) else {
            return false;
        };
        let endpoints = self.endpoints_of(service);
        let view = self.view();
        let (Ok(advertisements), Some(first)) = (
            view.advertisements_of(&self.config.advertisements, service, endpoints),
            service.addresses.first(),
        ) else {
            return false;
        };
        let mut nodes = nodes.iter().filter_map(|node| self.nodes.get(node));
        nodes.any(|node| {
            let Ok(score) = score(&view, &advertisements, service, endpoints, node) else {
                return false;
            };
            decided.threshold.is_none_or(|threshold| {
                let fitness = self.fitness(service, &advertisements, node);
                let rank = self.candidate(&node.name, score).rank(*first);
                (Reverse(fitness), rank) < threshold
            })
        })
    }

    fn endpoints_of(&self, service: &Exposure) -> &Endpoints {
        self.endpoints.get(&service.key).unwrap_or(NO_ENDPOINTS)
    }

    fn suspects(&self) -> impl Iterator<Item = &NodeName> {
        let members = self.members.iter().flat_map(BTreeMap::values);
        members
            .filter(|member| is_suspect(member))
            .map(|member| &member.node)
    }

    fn is_suspect(&self, node: &NodeName) -> bool {
        let members = self.members.as_ref();
        members
            .and_then(|members| members.get(node))
            .is_some_and(is_suspect)
    }

    fn mark_all_stale(&mut self) {
        self.stale.extend(self.services.keys().cloned());
    }
}

/// Whether a member could own something if it is alive.
fn is_suspect(member: &Member) -> bool {
    member.liveness == Liveness::Suspect && member.state == NodeState::Ready
}

#[cfg(test)]
mod tests;
