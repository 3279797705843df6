//! The routes of one family in the order in which they changed last, and the messages that bring peers up to date.
//!
//! ```text
//!  change   1    2    3    4    5    6    7         each prefix stands at its last change only
//!           a    b    .    d    e    .    c         c changed again: its change 3 is gone, nobody is sent it any more
//!                     ^              ^
//!                   peer 1         peer 2           a peer is the number of the last change that it was sent
//! ```

mod encode;
mod fingerprint;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use core::ops::Bound;

use herald_core::Family;

use super::NextHops;
use crate::session::Negotiated;
use crate::wire::update::{Encoding, UnsendableRoute};
use crate::wire::{Asn, NextHop, Nlri, PathAttributes, UpdateFormat};
use fingerprint::Fingerprint;

/// What peers have in common that are sent the same messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct UpdateGroup {
    pub(super) format: UpdateFormat,
    /// The own AS number that the peers see.
    pub(super) local_asn: Asn,
    /// Without one, the peers have no routes: those that they were sent are withdrawn.
    pub(super) next_hop: Option<NextHop>,
}

impl UpdateGroup {
    /// Returns the group of a peer for a family.
    pub(super) const fn of(negotiated: &Negotiated, next_hops: NextHops, family: Family) -> Self {
        Self {
            format: negotiated.format,
            local_asn: negotiated.local_asn,
            next_hop: next_hops.of(family),
        }
    }

    /// Returns whether routes of the family can have the next hop.
    pub(super) fn has_next_hop(&self, family: Family) -> bool {
        self.next_hop
            .is_some_and(|next_hop| Encoding::of(family, next_hop).is_ok())
    }

    /// Returns the attributes with the AS_PATH that the peers see (RFC 4271 section 5.1.2).
    fn seen(&self, attributes: &PathAttributes) -> PathAttributes {
        let mut seen = attributes.clone();
        if !self.format.internal {
            seen.as_path.prepend(self.local_asn);
        }
        seen
    }
}

/// How far a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Position {
    /// The number of the last change that was sent.
    pub(super) sent: u64,
    /// The peer has no route that was withdrawn by a change up to this one, so it need not be told.
    pub(super) without_withdrawn: u64,
    /// The peer may have the routes that came up to this change.
    pub(super) may_have: u64,
}

impl Position {
    /// Returns the position before the first change, with what the peer has.
    pub(super) fn rewound(self) -> Self {
        Self {
            sent: 0,
            without_withdrawn: self.needs_no_withdrawal(),
            ..self
        }
    }

    /// Notes that the peer is sent the changes up to this one. `is_announced` tells whether its routes have a next hop.
    pub(super) fn advance(&mut self, sent: u64, is_announced: bool) {
        self.sent = sent;
        if is_announced {
            self.may_have = self.may_have.max(sent);
        }
    }

    /// Returns the change up to which the peer needs no withdrawal.
    fn needs_no_withdrawal(self) -> u64 {
        self.sent.max(self.without_withdrawn)
    }
}

/// Bytes of a batch, about: what a connection takes at once, and what waits at most to be sent to a peer.
const BATCH_BYTES: usize = 64 * 1024;
/// Batches that a group keeps for those of its peers that have not come so far: peers that read about equally fast share all.
const KEPT_BATCHES: usize = 16;

#[derive(Debug)]
struct Route {
    /// Nothing after a withdrawal, while a peer may have the route.
    attributes: Option<Arc<PathAttributes>>,
    changed: u64,
    /// The change since which a peer may have the route, with these attributes or others.
    since: u64,
}

/// Whole messages that bring a peer from one position to another.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    from: Position,
    /// The number of the last change in it.
    pub(super) to: u64,
    /// Whether it depends on what the peer was ever sent.
    has_withdrawn: bool,
    pub(super) bytes: Arc<[u8]>,
}

impl Batch {
    fn is_for(&self, from: Position) -> bool {
        self.from == from || (!self.has_withdrawn && self.from.sent == from.sent)
    }
}

#[derive(Debug, Default)]
struct GroupState {
    kept: VecDeque<Batch>,
    unsendable: BTreeMap<Nlri, UnsendableRoute>,
}

/// The routes of one family.
#[derive(Debug)]
pub(super) struct RouteTable {
    family: Family,
    routes: BTreeMap<Nlri, Route>,
    /// The prefixes by their last change.
    changes: BTreeMap<u64, Nlri>,
    /// The changes that are withdrawals.
    withdrawn: BTreeSet<u64>,
    last: u64,
    fingerprint: Fingerprint,
    groups: BTreeMap<UpdateGroup, GroupState>,
    /// How often the unsendable routes of a group may have changed.
    limit_changes: u64,
}

impl RouteTable {
    pub(super) const fn new(family: Family) -> Self {
        Self {
            family,
            routes: BTreeMap::new(),
            changes: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            last: 0,
            fingerprint: Fingerprint::NONE,
            groups: BTreeMap::new(),
            limit_changes: 0,
        }
    }

    /// Returns a table with the same routes and changes. `intern` returns the attributes as the other table has them.
    pub(super) fn copy(&self, mut intern: impl FnMut(&PathAttributes) -> Arc<PathAttributes>) -> Self {
        let routes = self.routes.iter().map(|(nlri, route)| {
            let attributes = route.attributes.as_deref().map(&mut intern);
            (*nlri, Route { attributes, ..*route })
        });
        let groups = self.groups.iter().map(|(group, state)| {
            let unsendable = state.unsendable.clone();
            let kept = VecDeque::new();
            (*group, GroupState { kept, unsendable })
        });
        Self {
            family: self.family,
            routes: routes.collect(),
            changes: self.changes.clone(),
            withdrawn: self.withdrawn.clone(),
            last: self.last,
            fingerprint: self.fingerprint,
            groups: groups.collect(),
            limit_changes: self.limit_changes,
        }
    }

    /// Returns the attributes of a prefix that is announced.
    pub(super) fn route(&self, nlri: Nlri) -> Option<&PathAttributes> {
        self.routes.get(&nlri)?.attributes.as_deref()
    }

    /// Returns whether both announce the same.
    pub(super) fn has_same_routes(&self, other: &Self) -> bool {
        fn announced(table: &RouteTable) -> impl Iterator<Item = (&Nlri, &PathAttributes)> {
            let routes = table.routes.iter();
            routes.filter_map(|(nlri, route)| Some((nlri, route.attributes.as_deref()?)))
        }
        self.fingerprint == other.fingerprint && announced(self).eq(announced(other))
    }

    /// Announces or withdraws a prefix. Returns the attributes that are replaced; nothing changes if they are the same.
    ///
    /// A withdrawal is remembered only if a peer may have the route: however often a route comes and goes while a peer does not read,
    /// it takes no memory.
    pub(super) fn set(
        &mut self,
        nlri: Nlri,
        attributes: Option<Arc<PathAttributes>>,
        peers: &[(UpdateGroup, Position)],
    ) -> Option<Arc<PathAttributes>> {
        let before = self.routes.remove(&nlri);
        let (before, known) = match before {
            Some(route) => (route.attributes, Some((route.changed, route.since))),
            None => (None, None),
        };
        if before == attributes {
            if let Some((changed, since)) = known {
                self.routes.insert(
                    nlri,
                    Route {
                        attributes,
                        changed,
                        since,
                    },
                );
            }
            return None;
        }
        if let Some(before) = before.as_deref() {
            self.fingerprint.remove(nlri, before);
        }
        if let Some(after) = attributes.as_deref() {
            self.fingerprint.add(nlri, after);
        }
        if let Some((changed, _)) = known {
            self.forget_change(changed);
        }
        for group in self.groups.values_mut() {
            self.limit_changes += u64::from(group.unsendable.remove(&nlri).is_some());
        }
        let told = peers.iter().map(|(_, position)| position.needs_no_withdrawal());
        let told = told.max().unwrap_or(0);
        if attributes.is_none() && known.is_some_and(|(_, since)| since > told) {
            return before;
        }
        self.last += 1;
        let changed = self.last;
        self.changes.insert(changed, nlri);
        if attributes.is_none() {
            self.withdrawn.insert(changed);
        }
        let since = known.map_or(changed, |(_, since)| since);
        self.routes.insert(
            nlri,
            Route {
                attributes,
                changed,
                since,
            },
        );
        before
    }

    /// Returns the position of a peer that has no routes.
    pub(super) const fn start(&self) -> Position {
        Position {
            sent: 0,
            without_withdrawn: self.last,
            may_have: 0,
        }
    }

    /// Returns the position of a peer that has all routes, and notes which of them its group cannot be sent.
    pub(super) fn join(
        &mut self,
        group: UpdateGroup,
        unsendable: impl IntoIterator<Item = (Nlri, UnsendableRoute)>,
    ) -> Position {
        self.limit_changes += 1;
        let state = self.groups.entry(group).or_default();
        state.unsendable.extend(unsendable);
        let mut position = self.start();
        position.advance(self.last, group.next_hop.is_some());
        position
    }

    /// Returns how many prefixes are announced.
    pub(super) fn announced(&self) -> usize {
        self.changes.len() - self.withdrawn.len()
    }

    /// Returns how many prefixes the peers of a group can be sent, as far as it was tried.
    pub(super) fn sendable_to(&self, group: UpdateGroup) -> usize {
        if !group.has_next_hop(self.family) {
            return 0;
        }
        let unsendable = self.groups.get(&group).map_or(0, |group| group.unsendable.len());
        self.announced().saturating_sub(unsendable)
    }

    /// Returns how many prefixes are announced as the peers of a group at this position know them.
    pub(super) fn announced_to(&self, group: UpdateGroup, sent: u64) -> usize {
        let waiting = self.changes.range(behind(sent)).count();
        let withdrawn = self.withdrawn.range(behind(sent)).count();
        (self.sendable_to(group) + withdrawn).saturating_sub(waiting)
    }

    /// Returns how often the unsendable routes may have changed. The number only grows.
    pub(super) const fn limit_changes(&self) -> u64 {
        self.limit_changes
    }

    /// Returns whether changes behind this one wait.
    pub(super) fn has_changes_behind(&self, sent: u64) -> bool {
        self.changes.range(behind(sent)).next().is_some()
    }

    /// Returns the messages for the changes behind a position, or for the first of them; nothing if there are none.
    pub(super) fn batch(&mut self, group: UpdateGroup, from: Position) -> Option<Batch> {
        let kept = self.groups.entry(group).or_default().kept.iter();
        if let Some(batch) = kept.rev().find(|batch| batch.is_for(from)) {
            return Some(batch.clone());
        }
        let (batch, unsendable) = self.encode(group, from)?;
        self.limit_changes += u64::from(!unsendable.is_empty());
        let state = self.groups.entry(group).or_default();
        state.unsendable.extend(unsendable);
        if state.kept.len() == KEPT_BATCHES {
            state.kept.pop_front();
        }
        state.kept.push_back(batch.clone());
        Some(batch)
    }

    /// Returns the routes that no message of the group can have, with the reason. The group's peers do not have them.
    pub(super) fn unsendable(&self, group: UpdateGroup) -> impl Iterator<Item = (Nlri, UnsendableRoute)> {
        let group = self.groups.get(&group);
        group
            .into_iter()
            .flat_map(|group| &group.unsendable)
            .map(|(nlri, reason)| (*nlri, *reason))
    }

    /// Forgets what no peer has to be told of any more: groups without peers, batches, and withdrawals. `peers` are all peers of
    /// this family.
    pub(super) fn collect(&mut self, peers: &[(UpdateGroup, Position)]) {
        self.groups.retain(|group, state| {
            let of_group = peers.iter().filter(|(other, _)| other == group);
            let Some(slowest) = of_group.map(|(_, position)| position.sent).min() else {
                return false;
            };
            state.kept.retain(|batch| batch.from.sent >= slowest);
            true
        });
        let told = peers.iter().map(|(_, position)| position.needs_no_withdrawal());
        let told = told.min().unwrap_or(u64::MAX);
        while let Some(first) = self.withdrawn.first().copied().filter(|first| *first <= told) {
            if let Some(nlri) = self.changes.get(&first).copied() {
                self.routes.remove(&nlri);
            }
            self.forget_change(first);
        }
    }

    /// Returns whether [`RouteTable::collect`] may find something.
    pub(super) fn has_garbage(&self) -> bool {
        !self.withdrawn.is_empty() || self.groups.values().any(|group| !group.kept.is_empty())
    }

    /// Returns how many prefixes are remembered, withdrawn ones too.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.changes.len()
    }

    /// Returns how many batches are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.groups.values().map(|group| group.kept.len()).sum()
    }

    /// Removes a change, and the batches that have it: nobody is sent what is not true any more.
    fn forget_change(&mut self, changed: u64) {
        self.changes.remove(&changed);
        self.withdrawn.remove(&changed);
        for group in self.groups.values_mut() {
            group
                .kept
                .retain(|batch| changed <= batch.from.sent || batch.to < changed);
        }
    }
}

const fn behind(sent: u64) -> (Bound<u64>, Bound<u64>) {
    (Bound::Excluded(sent), Bound::Unbounded)
}
