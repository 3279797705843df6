//! Ownership: the role of this node for each Service, computed again when something that it depends on changes.
//!
//! Most inputs are changes of the [`Facts`] ([`Ownership::handle_change`]); [`Ownership::poll_change`] then returns one changed
//! role after the other. Membership is an input like any other, so the failure detector can be exchanged.

mod election;
mod role;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::announce::eligibility::{Exclusion, Exposure, View};
use crate::announce::facts::{FactChange, Facts};
use crate::announce::layer2::election::Order;
use crate::announce::layer2::node_selection::{interfaces, score};
use crate::announce::layer2::placement::Placement;
use crate::config::L2Advertisement;
use crate::name::tag;
use crate::{Liveness, Member, NodeName, NodeState, ServiceKey};

use election::{Election, Threshold};
pub use role::{Grant, Role, RoleChange};

/// Decides what one node owns. Exactly one task owns it.
#[derive(Debug)]
pub struct Ownership {
    own_node: NodeName,
    advertisements: Vec<L2Advertisement>,
    /// The interfaces that the advertisements name ([`tag`]).
    named_interfaces: BTreeSet<u32>,
    placement: Placement,
    /// Names of the interfaces that can announce here.
    interfaces: Option<BTreeSet<String>>,
    decided: BTreeMap<ServiceKey, DecidedRole>,
    /// Services whose role may have changed.
    stale: BTreeSet<ServiceKey>,
}

/// What was decided for a Service.
#[derive(Debug)]
struct DecidedRole {
    role: Role,
    /// A candidate beyond this changes neither owner nor backup; `None` if any candidate might.
    threshold: Option<Threshold>,
}

impl Ownership {
    /// Starts without knowledge and without addresses.
    pub fn new(own_node: NodeName) -> Self {
        Self {
            own_node,
            advertisements: Vec::new(),
            named_interfaces: BTreeSet::new(),
            placement: Placement::default(),
            interfaces: None,
            decided: BTreeMap::new(),
            stale: BTreeSet::new(),
        }
    }

    /// Replaces the advertisements.
    pub fn set_advertisements(&mut self, facts: &Facts, advertisements: &[L2Advertisement]) {
        if self.advertisements != advertisements {
            self.advertisements = advertisements.to_vec();
            let named = advertisements.iter().flat_map(|a| &a.interfaces);
            self.named_interfaces = named.map(|name| tag(name)).collect();
            self.mark_all_stale(facts);
        }
    }

    /// Replaces the names of the interfaces that can announce here.
    pub fn set_interfaces(&mut self, facts: &Facts, names: BTreeSet<String>) {
        if self.interfaces.as_ref() != Some(&names) {
            self.interfaces = Some(names);
            self.mark_all_stale(facts);
        }
    }

    /// Returns the names of the interfaces that can announce here; `None` as long as they are unknown.
    pub const fn interfaces(&self) -> Option<&BTreeSet<String>> {
        self.interfaces.as_ref()
    }

    /// Handles a change of the facts: finds the Services whose role may have changed.
    pub fn handle_change(&mut self, facts: &Facts, change: FactChange) {
        match change {
            FactChange::Pools => self.mark_all_stale(facts),
            FactChange::Node(name) => {
                let name = BTreeSet::from([name]);
                self.mark_affected(facts, name.clone(), &name);
            }
            FactChange::NodeRemoved(name) => {
                self.mark_affected(facts, BTreeSet::from([name]), &BTreeSet::new());
            }
            FactChange::Members(before) => self.handle_members(facts, &before),
            FactChange::Service(key) => {
                self.stale.insert(key);
            }
        }
    }

    /// Finds the Services that a changed member owns or backs up, or now would.
    fn handle_members(&mut self, facts: &Facts, before: &BTreeMap<NodeName, Member>) {
        let Some(known) = facts.members() else {
            return;
        };
        let placement = Placement::of(known.values());
        let is_rearranged = placement.differs_from(&self.placement, &self.named_interfaces);
        self.placement = placement;
        if is_rearranged {
            return self.mark_all_stale(facts);
        }
        let only_in = |those: &BTreeMap<NodeName, Member>, others: &BTreeMap<NodeName, Member>| {
            let usable = those.values().filter(|m| m.is_usable());
            let only = usable.filter(|m| !others.get(&m.node).is_some_and(Member::is_usable));
            only.map(|m| m.node.clone()).collect::<BTreeSet<_>>()
        };
        let gained = only_in(known, before);
        let mut changed = only_in(before, known);
        let suspects = before.values().filter(|m| is_suspect(m));
        changed.extend(suspects.map(|m| m.node.clone()));
        changed.extend(gained.iter().cloned());
        self.mark_affected(facts, changed, &gained);
    }

    /// Returns the next role that differs from what was returned before.
    pub fn poll_change(&mut self, facts: &Facts) -> Option<RoleChange> {
        while let Some(service) = self.stale.pop_first() {
            let exposure = facts.services().get(&service);
            let decided = exposure.map(|exposure| self.decide(facts, exposure));
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
    pub fn explain<'a>(
        &'a self,
        facts: &'a Facts,
        key: &ServiceKey,
    ) -> Result<BTreeMap<&'a NodeName, Result<i64, Exclusion>>, Exclusion> {
        let service = facts.services().get(key).ok_or(Exclusion::NoAddress)?;
        Ok(self.elect(facts, service)?.explain())
    }

    /// Whether `node` has a better rank than this node for a Service, if both were alive. Speakers that meet on the wire
    /// while gossip does not connect them decide by this.
    pub fn outranks(&self, facts: &Facts, node: &NodeName, key: &ServiceKey) -> bool {
        let Some(service) = facts.services().get(key) else {
            return false;
        };
        let endpoints = facts.endpoints(&service.key);
        let view = View {
            members: None,
            ..facts.view()
        };
        let (Ok(advertisements), Some(first)) = (
            view.advertisements_of(&self.advertisements, service, endpoints),
            service.addresses.first(),
        ) else {
            return false;
        };
        let order = |name: &NodeName| {
            let node = facts.nodes().get(name)?;
            let score = score(&view, &advertisements, service, endpoints, node).ok()?;
            Some(Order::new(name, *first, score))
        };
        match (order(node), order(&self.own_node)) {
            (Some(other), Some(own)) => other < own,
            (other, None) => other.is_some(),
            (None, Some(_)) => false,
        }
    }

    fn decide(&self, facts: &Facts, service: &Exposure) -> DecidedRole {
        let election = self.elect(facts, service);
        let threshold = election.as_ref().ok().and_then(Election::threshold);
        let role = election.and_then(|election| self.role_in(facts, service, &election));
        DecidedRole {
            role: role.unwrap_or_else(Role::Unowned),
            threshold,
        }
    }

    fn role_in(&self, facts: &Facts, service: &Exposure, election: &Election<'_>) -> Result<Role, Exclusion> {
        let result = election.result().ok_or(Exclusion::NoCandidate)?;
        let (owner, own) = (result.owner, Some(&self.own_node));
        let is_owner = *owner == self.own_node;
        let is_successor = !is_owner && is_suspected(facts, owner) && result.successor == own;
        let standby = || Role::Standby {
            owner: owner.clone(),
            backup: result.backup.cloned(),
        };
        if !is_owner && !is_successor && result.backup != own {
            return Ok(standby());
        }
        let own_node = facts.nodes().get(&self.own_node).ok_or(Exclusion::NoCandidate)?;
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
            conflict_detection: facts.view().pool_of(service)?.conflict_detection,
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
    fn mark_affected(&mut self, facts: &Facts, mut changed: BTreeSet<NodeName>, gained: &BTreeSet<NodeName>) {
        changed.extend(suspects(facts).cloned());
        if changed.is_empty() {
            return;
        }
        let affected = self.decided.iter().filter(|(key, decided)| {
            decided.role.depends_on(&changed, &self.own_node)
                || (!gained.is_empty() && self.is_within_threshold(facts, key, decided, gained))
        });
        let affected: Vec<ServiceKey> = affected.map(|(key, _)| key.clone()).collect();
        self.stale.extend(affected);
    }

    /// Whether one of these nodes would change the owner or the backup of a Service.
    fn is_within_threshold(
        &self,
        facts: &Facts,
        key: &ServiceKey,
        decided: &DecidedRole,
        nodes: &BTreeSet<NodeName>,
    ) -> bool {
        let Some(service) = facts.services().get(key) else {
            return false;
        };
        let endpoints = facts.endpoints(&service.key);
        let view = facts.view();
        let (Ok(advertisements), Some(first)) = (
            view.advertisements_of(&self.advertisements, service, endpoints),
            service.addresses.first(),
        ) else {
            return false;
        };
        let mut nodes = nodes.iter().filter_map(|node| facts.nodes().get(node));
        nodes.any(|node| {
            let Ok(score) = score(&view, &advertisements, service, endpoints, node) else {
                return false;
            };
            decided.threshold.is_none_or(|threshold| {
                let fitness = self.fitness(service, &advertisements, node);
                let rank = self.candidate(facts, &node.name, score).rank(*first);
                (Reverse(fitness), rank) < threshold
            })
        })
    }

    fn mark_all_stale(&mut self, facts: &Facts) {
        self.stale.extend(facts.services().keys().cloned());
    }
}

fn suspects(facts: &Facts) -> impl Iterator<Item = &NodeName> {
    let members = facts.members().into_iter().flat_map(BTreeMap::values);
    members
        .filter(|member| is_suspect(member))
        .map(|member| &member.node)
}

fn is_suspected(facts: &Facts, node: &NodeName) -> bool {
    let members = facts.members();
    members
        .and_then(|members| members.get(node))
        .is_some_and(is_suspect)
}

/// Whether a member could own something if it is alive.
fn is_suspect(member: &Member) -> bool {
    member.liveness == Liveness::Suspect && member.state == NodeState::Ready
}

#[cfg(test)]
mod tests;
