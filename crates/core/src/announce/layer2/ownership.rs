//! What this node owns: one verdict a Service, recomputed when something it depends on changes.
//!
//! Membership is an input like any other, so whoever detects failures can be exchanged. Inputs replace what
//! was known (`set_*`); [`Ownership::poll_change`] then tells one changed verdict after the other.

mod verdict;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::announce::eligibility::{Endpoints, Exclusion, Exposure, Node, View, interfaces};
use crate::announce::layer2::election::{self, Candidate, Elected, Place, Rank};
use crate::announce::layer2::placement::{Footing, Standing};
use crate::config::{L2Advertisement, Pool};
use crate::name::tag;
use crate::{Liveness, Member, NodeName, NodeState, ServiceKey};

pub use verdict::{Change, Claim, Verdict};

/// Decides what one node owns. Owned by value by exactly one task.
#[derive(Debug)]
pub struct Ownership {
    me: NodeName,
    ignore_exclude_label: bool,
    pools: Vec<Pool>,
    advertisements: Vec<L2Advertisement>,
    /// The interfaces that they name ([`tag`]).
    selected: BTreeSet<u32>,
    nodes: BTreeMap<NodeName, Node>,
    members: Option<BTreeMap<NodeName, Member>>,
    standing: Standing,
    interfaces: Option<BTreeSet<String>>,
    services: BTreeMap<ServiceKey, Exposure>,
    endpoints: BTreeMap<ServiceKey, Endpoints>,
    outcomes: BTreeMap<ServiceKey, Outcome>,
    /// Services whose verdict may have changed.
    stale: BTreeSet<ServiceKey>,
}

/// How an election came out.
#[derive(Debug)]
struct Outcome {
    verdict: Verdict,
    /// Who comes later than this would change neither owner nor deputy; `None` if anybody might.
    bar: Option<Bar>,
}

/// How a candidate comes among others: by where it stands first.
type Bar = (Reverse<Footing>, Place);

/// Who may own the addresses of a Service, and who of them should.
struct Contest<'a> {
    advertisements: Vec<&'a L2Advertisement>,
    elected: Elected<'a>,
    footing: Footing,
}

impl Contest<'_> {
    fn bar(&self) -> Option<Bar> {
        self.elected.second.map(|place| (Reverse(self.footing), place))
    }
}

impl Ownership {
    /// Nothing known yet, nothing owned. `gossip` tells whether [`Self::set_members`] will be used; without
    /// it every Node is taken to have a speaker.
    pub fn new(me: NodeName, gossip: bool, ignore_exclude_label: bool) -> Self {
        Self {
            me,
            ignore_exclude_label,
            pools: Vec::new(),
            advertisements: Vec::new(),
            selected: BTreeSet::new(),
            nodes: BTreeMap::new(),
            members: gossip.then(BTreeMap::new),
            standing: Standing::default(),
            interfaces: None,
            services: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            stale: BTreeSet::new(),
        }
    }

    /// Replaces pools and advertisements.
    pub fn set_config(&mut self, pools: &[Pool], advertisements: &[L2Advertisement]) {
        if self.pools != pools || self.advertisements != advertisements {
            self.pools = pools.to_vec();
            self.advertisements = advertisements.to_vec();
            let named = advertisements.iter().flat_map(|a| &a.interfaces);
            self.selected = named.map(|name| tag(name)).collect();
            self.all_stale();
        }
    }

    /// A Node is new or changed.
    pub fn set_node(&mut self, node: Node) {
        if self.nodes.get(&node.name) != Some(&node) {
            let name = BTreeSet::from([node.name.clone()]);
            self.nodes.insert(node.name.clone(), node);
            self.review(name.clone(), &name);
        }
    }

    /// A Node is gone.
    pub fn remove_node(&mut self, name: &NodeName) {
        if self.nodes.remove(name).is_some() {
            self.review(BTreeSet::from([name.clone()]), &BTreeSet::new());
        }
    }

    /// Replaces what is known of the speakers. Nothing is looked at but what those that changed own or come next for, or
    /// now would.
    pub fn set_members(&mut self, members: Vec<Member>) {
        let Some(known) = &mut self.members else {
            return;
        };
        let next: BTreeMap<NodeName, Member> = members.into_iter().map(|m| (m.node.clone(), m)).collect();
        let before = core::mem::replace(known, next);
        let standing = Standing::of(known.values());
        let rearranged = standing.differs_from(&self.standing, &self.selected);
        self.standing = standing;
        if rearranged {
            return self.all_stale();
        }
        let only_in = |those: &BTreeMap<NodeName, Member>, others: &BTreeMap<NodeName, Member>| {
            let usable = those.values().filter(|m| m.is_usable());
            let only = usable.filter(|m| !others.get(&m.node).is_some_and(Member::is_usable));
            only.map(|m| m.node.clone()).collect::<BTreeSet<_>>()
        };
        let gained = only_in(known, &before);
        let mut changed = only_in(&before, known);
        let suspected = before.values().filter(|m| is_suspect(m));
        changed.extend(suspected.map(|m| m.node.clone()));
        changed.extend(gained.iter().cloned());
        self.review(changed, &gained);
    }

    /// Replaces the names of the interfaces that can announce here.
    pub fn set_interfaces(&mut self, names: BTreeSet<String>) {
        if self.interfaces.as_ref() != Some(&names) {
            self.interfaces = Some(names);
            self.all_stale();
        }
    }

    /// A Service is new or changed.
    pub fn set_service(&mut self, service: Exposure) {
        if self.services.get(&service.key) != Some(&service) {
            self.stale.insert(service.key.clone());
            self.services.insert(service.key.clone(), service);
        }
    }

    /// A Service is gone, or no longer ours.
    pub fn remove_service(&mut self, key: &ServiceKey) {
        if self.services.remove(key).is_some() {
            self.stale.insert(key.clone());
        }
    }

    /// Replaces the usable endpoints of a Service; `None` when it has no slices.
    pub fn set_endpoints(&mut self, key: ServiceKey, endpoints: Option<Endpoints>) {
        let before = match endpoints.clone() {
            Some(endpoints) => self.endpoints.insert(key.clone(), endpoints),
            None => self.endpoints.remove(&key),
        };
        if before != endpoints && self.services.contains_key(&key) {
            self.stale.insert(key);
        }
    }

    /// The next verdict that differs from what was told before.
    pub fn poll_change(&mut self) -> Option<Change> {
        while let Some(service) = self.stale.pop_first() {
            let outcome = self.services.get(&service).map(|exposure| self.decide(exposure));
            let after = outcome.as_ref().map(|outcome| outcome.verdict.clone());
            let before = match outcome {
                Some(outcome) => self.outcomes.insert(service.clone(), outcome),
                None => self.outcomes.remove(&service),
            };
            let before = before.map(|outcome| outcome.verdict);
            if before != after {
                return Some(Change {
                    service,
                    before,
                    after,
                });
            }
        }
        None
    }

    /// What holds for a Service, as last polled.
    pub fn verdict(&self, key: &ServiceKey) -> Option<&Verdict> {
        self.outcomes.get(key).map(|outcome| &outcome.verdict)
    }

    /// Every node with its preference score for a Service, or why it may not own it; an error when no node may.
    pub fn candidates(
        &self,
        key: &ServiceKey,
    ) -> Result<BTreeMap<&NodeName, Result<i64, Exclusion>>, Exclusion> {
        let none = Endpoints::default();
        let service = self.services.get(key).ok_or(Exclusion::NoAddress)?;
        let endpoints = self.endpoints.get(key).unwrap_or(&none);
        let view = self.view();
        let advertisements = view.advertisements_of(service, endpoints)?;
        let scores = self.nodes.iter();
        let mut scores: BTreeMap<_, _> = scores
            .map(|(name, node)| (name, view.score(service, endpoints, &advertisements, node)))
            .collect();
        let eligible = scores.iter().filter(|(_, score)| score.is_ok());
        let footings: BTreeMap<&NodeName, Footing> = eligible
            .map(|(name, _)| (*name, self.footing(service, &advertisements, &self.nodes[*name])))
            .collect();
        let best = footings.values().copied().max().unwrap_or_default();
        for (name, footing) in footings.iter().filter(|(_, footing)| **footing < best) {
            let exclusion = if footing.has_interface == best.has_interface {
                Exclusion::NoLeg
            } else {
                Exclusion::NoInterface(interfaces(&advertisements, &self.nodes[*name]).unwrap_or_default())
            };
            scores.insert(name, Err(exclusion));
        }
        Ok(scores)
    }

    fn footing(&self, service: &Exposure, advertisements: &[&L2Advertisement], node: &Node) -> Footing {
        let selected = interfaces(advertisements, node);
        let mut footing = self
            .standing
            .footing(&node.name, &service.addresses, selected.as_ref());
        // Gossip has not yet told what has just gone here.
        footing.has_interface &= node.name != self.me || self.has_interface(selected.as_ref());
        footing
    }

    /// Whether one of these exists here, as far as is known; `None` is any.
    fn has_interface(&self, selected: Option<&BTreeSet<String>>) -> bool {
        match (selected, &self.interfaces) {
            (Some(selected), Some(existing)) => !selected.is_disjoint(existing),
            (None, _) | (_, None) => true,
        }
    }

    /// Whether `node` would be preferred to this one for a Service if both were alive: what speakers go by when they
    /// meet on the wire though gossip does not connect them.
    pub fn outranks(&self, node: &NodeName, key: &ServiceKey) -> bool {
        let Some(service) = self.services.get(key) else {
            return false;
        };
        let none = Endpoints::default();
        let endpoints = self.endpoints.get(key).unwrap_or(&none);
        let view = View {
            members: None,
            ..self.view()
        };
        let (Ok(advertisements), Some(first)) = (
            view.advertisements_of(service, endpoints),
            service.addresses.first(),
        ) else {
            return false;
        };
        let rank = |name: &NodeName| {
            let node = self.nodes.get(name)?;
            let score = view.score(service, endpoints, &advertisements, node).ok()?;
            Some(Rank::new(name, *first, score))
        };
        match (rank(node), rank(&self.me)) {
            (Some(theirs), Some(mine)) => theirs < mine,
            (theirs, None) => theirs.is_some(),
            (None, Some(_)) => false,
        }
    }

    fn decide(&self, service: &Exposure) -> Outcome {
        let contest = self.contest(service);
        let bar = contest.as_ref().ok().and_then(Contest::bar);
        let verdict = contest.and_then(|contest| self.verdict_of(service, &contest));
        Outcome {
            verdict: verdict.unwrap_or_else(Verdict::Unowned),
            bar,
        }
    }

    fn contest(&self, service: &Exposure) -> Result<Contest<'_>, Exclusion> {
        let none = Endpoints::default();
        let endpoints = self.endpoints.get(&service.key).unwrap_or(&none);
        let view = self.view();
        let advertisements = view.advertisements_of(service, endpoints)?;
        let mut candidates = Vec::new();
        let mut best = Footing::default();
        for node in self.nodes.values() {
            let Ok(score) = view.score(service, endpoints, &advertisements, node) else {
                continue;
            };
            let footing = self.footing(service, &advertisements, node);
            best = footing.max(best);
            candidates.push((footing, self.candidate(&node.name, score)));
        }
        // The election is keyed by the first address, for dual stack too: both are announced by one node.
        let first = service.addresses.first().ok_or(Exclusion::NoAddress)?;
        let firm = candidates.into_iter().filter(|(footing, _)| *footing == best);
        let elected = election::elect(*first, firm.map(|(_, candidate)| candidate));
        Ok(Contest {
            advertisements,
            elected: elected.ok_or(Exclusion::NoCandidate)?,
            footing: best,
        })
    }

    fn verdict_of(&self, service: &Exposure, contest: &Contest<'_>) -> Result<Verdict, Exclusion> {
        let Elected {
            owner, heir, deputy, ..
        } = contest.elected;
        let (is_owner, is_deputy) = (*owner == self.me, deputy == Some(&self.me));
        let is_heir = !is_owner && self.is_suspect(owner) && heir == Some(&self.me);
        let standby = || Verdict::Standby {
            owner: owner.clone(),
            deputy: deputy.cloned(),
        };
        if !is_owner && !is_heir && !is_deputy {
            return Ok(standby());
        }
        let me = self.nodes.get(&self.me).ok_or(Exclusion::NoCandidate)?;
        let interfaces = interfaces(&contest.advertisements, me);
        if !self.has_interface(interfaces.as_ref()) {
            if !is_owner {
                return Ok(standby());
            }
            return Err(Exclusion::NoInterface(interfaces.unwrap_or_default()));
        }
        let claim = Claim {
            addresses: service.addresses.clone(),
            interfaces,
            conflict_detection: self.view().pool_of(service)?.conflict_detection,
        };
        let of = owner.clone();
        Ok(match (is_owner, is_heir) {
            (true, _) => Verdict::Owner(claim),
            (_, true) => Verdict::Heir { of, claim },
            (false, false) => Verdict::Deputy { of, claim },
        })
    }

    /// Looks again at the Services whose verdict names one of those that `changed`, and at those for which one of those
    /// that can now own what they could not comes before the second. An owner that is suspected counts as changed, as
    /// its heir may be any of those after it.
    fn review(&mut self, mut changed: BTreeSet<NodeName>, gained: &BTreeSet<NodeName>) {
        changed.extend(self.suspects().cloned());
        if changed.is_empty() {
            return;
        }
        let affected = self
            .outcomes
            .iter()
            .filter(|(key, outcome)| {
                outcome.verdict.names_any_of(&changed, &self.me)
                    || (!gained.is_empty() && self.is_contested(key, outcome, gained))
            })
            .map(|(key, _)| key.clone());
        let affected: Vec<ServiceKey> = affected.collect();
        self.stale.extend(affected);
    }

    /// Whether the outcome may be another one with these nodes.
    fn is_contested(&self, key: &ServiceKey, outcome: &Outcome, nodes: &BTreeSet<NodeName>) -> bool {
        let none = Endpoints::default();
        let endpoints = self.endpoints.get(key).unwrap_or(&none);
        let view = self.view();
        let Some(service) = self.services.get(key) else {
            return false;
        };
        let (Ok(advertisements), Some(first)) = (
            view.advertisements_of(service, endpoints),
            service.addresses.first(),
        ) else {
            return false;
        };
        let mut nodes = nodes.iter().filter_map(|node| self.nodes.get(node));
        nodes.any(|node| {
            let Ok(score) = view.score(service, endpoints, &advertisements, node) else {
                return false;
            };
            outcome.bar.is_none_or(|bar| {
                let footing = self.footing(service, &advertisements, node);
                (Reverse(footing), self.candidate(&node.name, score).place(*first)) < bar
            })
        })
    }

    fn candidate<'a>(&self, node: &'a NodeName, score: i64) -> Candidate<'a> {
        Candidate {
            node,
            score,
            restless: self.standing.is_restless(node),
            suspect: self.is_suspect(node),
        }
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

    fn view(&self) -> View<'_> {
        View {
            pools: &self.pools,
            advertisements: &self.advertisements,
            nodes: &self.nodes,
            members: self.members.as_ref(),
            ignore_exclude_label: self.ignore_exclude_label,
        }
    }

    fn all_stale(&mut self) {
        self.stale.extend(self.services.keys().cloned());
    }
}

/// Whether a member could own something, if it is alive.
fn is_suspect(member: &Member) -> bool {
    member.liveness == Liveness::Suspect && member.state == NodeState::Ready
}

#[cfg(test)]
mod tests;
