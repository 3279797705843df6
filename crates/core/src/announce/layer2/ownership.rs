//! Ownership: the role of this node for each Service at each of its addresses, computed again when something that it depends on
//! changes.
//!
//! Most inputs are changes of the [`Facts`] ([`Ownership::handle_change`]); [`Ownership::poll_change`] then returns one changed
//! role after the other. Membership is an input like any other, so the failure detector can be exchanged.

mod election;
mod role;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::net::IpAddr;

use smallvec::SmallVec;

use crate::announce::eligibility::{Exclusion, Exposure, View};
use crate::announce::facts::{FactChange, Facts};
use crate::announce::layer2::election::ElectionResult;
use crate::announce::layer2::node_selection::interfaces;
use crate::announce::layer2::placement::Placement;
use crate::config::L2Advertisement;
use crate::name::tag;
use crate::{Liveness, Member, NodeName, NodeState, ServiceKey, queue};

use election::Threshold;
pub use role::{Grant, Role, RoleChange};

/// Decides what one node owns. Exactly one task owns it.
#[derive(Debug)]
pub struct Ownership {
    own_node: NodeName,
    advertisements: Vec<L2Advertisement>,
    /// The interfaces that the advertisements name ([`tag`]).
    named_interfaces: BTreeSet<u32>,
    placement: Placement,
    interfaces: Option<Interfaces>,
    /// Boxed, because a B-tree has room for almost twice as many values as it holds.
    decided: BTreeMap<IpAddr, Box<DecidedAddress>>,
    /// Addresses whose roles may have changed.
    stale: BTreeSet<IpAddr>,
    /// The changed roles that [`Ownership::poll_change`] has not returned.
    changes: VecDeque<RoleChange>,
}

/// The interfaces of this node that can announce.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interfaces {
    /// Their names.
    pub names: BTreeSet<String>,
    /// The names of those that have a link-local IPv6 address, without which they announce no IPv6 address.
    pub ipv6: BTreeSet<String>,
}

/// What was decided for an address. Almost every address has one Service and one election.
#[derive(Debug, Default)]
struct DecidedAddress {
    /// The roles for all Services on the address, in ascending order of the Services.
    roles: SmallVec<[(ServiceKey, Role); 1]>,
    /// One for each of [`Ownership::electorates`].
    elections: SmallVec<[DecidedElection; 1]>,
}

/// What a later change of other nodes is compared with.
#[derive(Debug)]
struct DecidedElection {
    /// A candidate beyond this changes neither owner nor backup; `None` if any candidate might.
    threshold: Option<Threshold>,
    /// Whether any change of a node may change the result ([`Election::is_contested`]).
    is_contested: bool,
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
            changes: VecDeque::new(),
        }
    }

    /// Returns the ownership with the same advertisements and interfaces that follows from other facts.
    pub fn of_facts(&self, facts: &Facts) -> Self {
        let mut other = Self::new(self.own_node.clone());
        other.set_advertisements(facts, &self.advertisements);
        other.interfaces.clone_from(&self.interfaces);
        other.handle_members(facts, &BTreeMap::new());
        other.mark_all_stale(facts);
        other
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

    /// Replaces the interfaces that can announce here.
    pub fn set_interfaces(&mut self, facts: &Facts, interfaces: Interfaces) {
        if self.interfaces.as_ref() != Some(&interfaces) {
            self.interfaces = Some(interfaces);
            self.mark_all_stale(facts);
        }
    }

    /// Returns the advertisements.
    pub fn advertisements(&self) -> &[L2Advertisement] {
        &self.advertisements
    }

    /// Returns the interfaces that can announce here; `None` as long as they are unknown.
    pub const fn interfaces(&self) -> Option<&Interfaces> {
        self.interfaces.as_ref()
    }

    /// Handles a change of the facts: finds the addresses for which the role of this node may have changed.
    pub fn handle_change(&mut self, facts: &Facts, change: FactChange) {
        match change {
            FactChange::Pools => self.mark_all_stale(facts),
            FactChange::Node(name, addresses) => {
                self.mark_served(facts, addresses);
                let name = BTreeSet::from([name]);
                self.mark_affected(facts, name.clone(), &name);
            }
            FactChange::NodeRemoved(name, addresses) => {
                self.mark_served(facts, addresses);
                self.mark_affected(facts, BTreeSet::from([name]), &BTreeSet::new());
            }
            FactChange::Members(before) => self.handle_members(facts, &before),
            FactChange::Service(_, addresses) => self.stale.extend(addresses),
        }
    }

    /// Finds the addresses that a changed member owns or backs up, or now would.
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
        while self.changes.is_empty() {
            let address = self.stale.pop_first()?;
            self.update(facts, address);
        }
        queue::pop(&mut self.changes)
    }

    /// Decides for an address again, and queues the changed roles.
    fn update(&mut self, facts: &Facts, address: IpAddr) {
        let decided = self.decide(facts, address);
        let mut before = self
            .decided
            .remove(&address)
            .unwrap_or_default()
            .roles
            .into_iter()
            .peekable();
        let mut after = decided.roles.iter().peekable();
        loop {
            let order = match (before.peek(), after.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((before, _)), Some((after, _))) => before.cmp(after),
            };
            let old = before.next_if(|_| order.is_le());
            let new = after.next_if(|_| order.is_ge());
            let (old_role, new_role) = (old.as_ref().map(|(_, role)| role), new.map(|(_, role)| role));
            if old_role == new_role {
                continue;
            }
            // An address is handed over when the last Service loses it: those that no other node serves come first.
            let is_passed_on = new_role.is_some_and(|role| role.owner().is_some());
            let after = new_role.cloned();
            let Some((service, before)) = old
                .map(|(service, role)| (service, Some(role)))
                .or_else(|| new.map(|(service, _)| (service.clone(), None)))
            else {
                continue;
            };
            let change = RoleChange {
                service,
                address,
                before,
                after,
            };
            if is_passed_on {
                self.changes.push_back(change);
            } else {
                self.changes.push_front(change);
            }
        }
        if !decided.roles.is_empty() {
            self.decided.insert(address, Box::new(decided));
        }
    }

    /// Returns the role for a Service at an address, as last polled.
    pub fn role(&self, service: &ServiceKey, address: IpAddr) -> Option<&Role> {
        let roles = &self.decided.get(&address)?.roles;
        let place = roles.binary_search_by(|(other, _)| other.cmp(service));
        Some(&roles.get(place.ok()?)?.1)
    }

    /// Returns the roles for all Services at an address, in ascending order of the Services.
    pub fn roles(&self, address: IpAddr) -> &[(ServiceKey, Role)] {
        self.decided.get(&address).map_or(&[], |decided| &decided.roles)
    }

    /// Whether `node` has a better rank than this node for a Service at an address, if both were alive. Speakers that meet on
    /// the wire while gossip does not connect them decide by this.
    pub fn outranks(&self, facts: &Facts, node: &NodeName, service: &ServiceKey, address: IpAddr) -> bool {
        let view = View {
            members: None,
            ..facts.view()
        };
        let mut electorates = self.electorates(facts, address);
        let Some(sharers) = electorates.find(|sharers| sharers.contains(service)) else {
            return false;
        };
        let both = [node, &self.own_node].into_iter();
        let both = both.filter_map(|node| facts.nodes().get(node));
        let election = self.elect(facts, &view, address, sharers, both);
        match (election.order(node), election.order(&self.own_node)) {
            (Some(other), Some(own)) => other < own,
            (other, None) => other.is_some(),
            (None, Some(_)) => false,
        }
    }

    fn decide(&self, facts: &Facts, address: IpAddr) -> DecidedAddress {
        let mut decided = DecidedAddress::default();
        let view = facts.view();
        for sharers in self.electorates(facts, address) {
            let election = self.elect(facts, &view, address, sharers, facts.nodes().values());
            let role = |service: &Exposure, sharer: &Result<Vec<&L2Advertisement>, Exclusion>| {
                let advertisements = sharer.as_ref().map_err(Exclusion::clone)?;
                let result = election.result().ok_or(Exclusion::NoCandidate)?;
                self.role_in(facts, result, service, advertisements, address)
            };
            for (service, sharer) in election.sharers() {
                let role = role(service, sharer).unwrap_or_else(Role::Unowned);
                decided.roles.push((service.key.clone(), role));
            }
            decided.elections.push(DecidedElection {
                threshold: election.threshold(),
                is_contested: election.is_contested(),
            });
        }
        decided
            .roles
            .sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        decided
    }

    fn role_in(
        &self,
        facts: &Facts,
        result: &ElectionResult<'_>,
        service: &Exposure,
        advertisements: &[&L2Advertisement],
        address: IpAddr,
    ) -> Result<Role, Exclusion> {
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
        let interfaces = interfaces(advertisements, own_node);
        if !self.has_interface(interfaces.as_ref()) {
            if !is_owner {
                return Ok(standby());
            }
            return Err(Exclusion::NoInterface(interfaces.unwrap_or_default()));
        }
        if address.is_ipv6() && !self.announces_family_of(address, interfaces.as_ref()) {
            if !is_owner {
                return Ok(standby());
            }
            return Err(Exclusion::NoLinkLocalAddress);
        }
        let grant = Grant {
            address,
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

    /// Marks the addresses for which the role depends on one of the `changed` nodes, and those for which one of the nodes that
    /// `gained` eligibility is within the threshold. A suspect owner counts as changed, because any later candidate may be
    /// its successor.
    fn mark_affected(&mut self, facts: &Facts, mut changed: BTreeSet<NodeName>, gained: &BTreeSet<NodeName>) {
        changed.extend(suspects(facts).cloned());
        if changed.is_empty() {
            return;
        }
        let view = facts.view();
        let affected = self.decided.iter().filter(|(address, decided)| {
            let mut roles = decided.roles.iter();
            let mut elections = decided.elections.iter();
            roles.any(|(_, role)| role.depends_on(&changed, &self.own_node))
                || elections.any(|election| election.is_contested)
                || self.is_within_threshold(facts, &view, **address, decided, gained)
        });
        let affected: Vec<IpAddr> = affected.map(|(address, _)| *address).collect();
        self.stale.extend(affected);
    }

    /// Whether one of these nodes would change the owner or the backup of an address.
    fn is_within_threshold(
        &self,
        facts: &Facts,
        view: &View<'_>,
        address: IpAddr,
        decided: &DecidedAddress,
        gained: &BTreeSet<NodeName>,
    ) -> bool {
        let nodes = gained.iter().filter_map(|node| facts.nodes().get(node));
        let mut elections = self.electorates(facts, address).zip(&decided.elections);
        !gained.is_empty()
            && elections.any(|(sharers, election)| {
                let newcomers = self.elect(facts, view, address, sharers, nodes.clone());
                newcomers.is_within(election.threshold)
            })
    }

    /// Marks those of `addresses` that a Service has.
    fn mark_served(&mut self, facts: &Facts, addresses: Vec<IpAddr>) {
        let addresses = addresses.into_iter();
        self.stale
            .extend(addresses.filter(|address| !facts.sharers(*address).is_empty()));
    }

    fn mark_all_stale(&mut self, facts: &Facts) {
        self.stale.extend(facts.addresses());
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
