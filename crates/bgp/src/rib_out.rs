//! The routes that peers are sent (Adj-RIB-Out, RFC 4271 section 3.2), as bytes for their connections.
//!
//! One [`RibOut`] has the routes of all peers that are to have the same ones. A peer is sent what changed since the last time
//! that its connection took bytes, and each prefix once, as it is now: a peer that reads slowly costs no queue. Peers that
//! negotiated the same and have the same next hop are an update group: their messages are encoded once.
//!
//! The caller takes [`RibOut::poll_messages`] while a connection takes bytes and little waits to be sent, about 64 KiB.

mod limits;
mod sharing;
mod table;

#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use herald_core::Family;

use crate::session::Negotiated;
use crate::wire::update::{UnsendableRoute, emit_end_of_rib};
use crate::wire::{AfiSafi, NextHop, Nlri, PathAttributes, RefreshSubtype, RouteRefresh};
use table::{Position, RouteTable, UpdateGroup};

/// The next hops of the routes to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NextHops {
    /// That of IPv4 routes; without one, the peer has none.
    pub v4: Option<NextHop>,
    /// That of IPv6 routes; without one, the peer has none.
    pub v6: Option<NextHop>,
}

impl NextHops {
    const fn of(self, family: Family) -> Option<NextHop> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// Why a peer is sent all routes of a family, and what marks their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// The session is new: End-of-RIB (RFC 4724 section 2).
    Initial,
    /// The peer asked: EoRR, if it knows that (RFC 7313 section 4).
    Refresh,
}

/// What a peer is sent of one family.
#[derive(Debug)]
struct PeerFamily {
    family: Family,
    group: UpdateGroup,
    position: Position,
    pass: Option<Pass>,
    is_refresh_wanted: bool,
}

impl PeerFamily {
    fn handle_refresh(&mut self) {
        // All routes are still to be sent, so nothing is to be sent again.
        let is_absorbed = self.pass.is_some() && self.position.sent == 0;
        self.is_refresh_wanted |= !is_absorbed;
    }

    /// Returns the next messages, and notes them as sent. Without `is_complete` the first pass does not end.
    fn poll(&mut self, table: &mut RouteTable, marks_refresh: bool, is_complete: bool) -> Option<Arc<[u8]>> {
        loop {
            // RFC 7313 section 4: no BoRR before End-of-RIB. A request during a refresh is met by one more.
            if self.pass.is_none() && self.is_refresh_wanted {
                self.is_refresh_wanted = false;
                self.pass = Some(Pass::Refresh);
                self.position = self.position.rewound();
                if marks_refresh {
                    return Some(refresh_mark(self.family, RefreshSubtype::Begin));
                }
            }
            if let Some(batch) = table.batch(self.group, self.position) {
                self.position.advance(batch.to, self.group.next_hop.is_some());
                if batch.bytes.is_empty() {
                    continue;
                }
                return Some(batch.bytes);
            }
            if self.group.next_hop.is_none() {
                self.position.may_have = 0;
            }
            if self.pass == Some(Pass::Initial) && !is_complete {
                return None;
            }
            match self.pass.take()? {
                Pass::Initial => return Some(end_of_rib(self.family)),
                Pass::Refresh if marks_refresh => {
                    return Some(refresh_mark(self.family, RefreshSubtype::End));
                }
                Pass::Refresh => {}
            }
        }
    }

    fn has_pending(&self, table: &RouteTable) -> bool {
        self.pass.is_some() || self.is_refresh_wanted || table.has_changes_behind(self.position.sent)
    }
}

#[derive(Debug)]
struct PeerRoutes {
    families: Vec<PeerFamily>,
    /// BoRR and EoRR.
    marks_refresh: bool,
}

/// The routes of peers that are to have the same routes. `K` names a peer.
#[derive(Debug)]
pub struct RibOut<K> {
    v4: RouteTable,
    v6: RouteTable,
    /// Each set of attributes once.
    attributes: BTreeSet<Arc<PathAttributes>>,
    peers: BTreeMap<K, PeerRoutes>,
    /// How often a peer came, or got other next hops.
    group_changes: u64,
}

impl<K: Ord> Default for RibOut<K> {
    fn default() -> Self {
        Self {
            v4: RouteTable::new(Family::V4),
            v6: RouteTable::new(Family::V6),
            attributes: BTreeSet::new(),
            peers: BTreeMap::new(),
            group_changes: 0,
        }
    }
}

impl<K: Ord> RibOut<K> {
    /// Announces a prefix with these attributes, or withdraws it. Their AS_PATH is what peers of other ASes see behind the own AS
    /// number.
    pub fn set_route(&mut self, nlri: Nlri, attributes: Option<PathAttributes>) {
        let attributes = attributes.map(|attributes| self.intern(attributes));
        // Only a withdrawal depends on what the peers have.
        let peers = match attributes {
            Some(_) => Vec::new(),
            None => self.positions(nlri.family()),
        };
        let replaced = self.table(nlri.family()).set(nlri, attributes, &peers);
        // This set of attributes has two users left, the variable and the set of all: no route has it.
        if let Some(replaced) = replaced.filter(|replaced| Arc::strong_count(replaced) == 2) {
            self.attributes.remove(&replaced);
        }
    }

    /// Adds a peer, which has no routes yet, or replaces it: [`SessionAction::Up`](crate::session::SessionAction::Up).
    pub fn add_peer(&mut self, key: K, negotiated: &Negotiated, next_hops: NextHops) {
        let families = negotiated.families.iter().map(|family| PeerFamily {
            family: *family,
            group: UpdateGroup::of(negotiated, next_hops, *family),
            position: self.table_of(*family).start(),
            pass: Some(Pass::Initial),
            is_refresh_wanted: false,
        });
        let peer = PeerRoutes {
            families: families.collect(),
            marks_refresh: negotiated.enhanced_refresh,
        };
        self.remove_peer(&key);
        self.peers.insert(key, peer);
        self.group_changes += 1;
    }

    /// Replaces the next hops of a peer, which is sent its routes again with them. Where there is none any more, the routes that it
    /// was sent are withdrawn.
    pub fn set_next_hops(&mut self, key: &K, negotiated: &Negotiated, next_hops: NextHops) {
        let peer = self.peers.get_mut(key);
        for peer in peer.into_iter().flat_map(|peer| &mut peer.families) {
            let group = UpdateGroup::of(negotiated, next_hops, peer.family);
            if group == peer.group {
                continue;
            }
            peer.position = peer.position.rewound();
            peer.group = group;
            self.group_changes += 1;
        }
    }

    /// Removes a peer: [`SessionAction::Ended`](crate::session::SessionAction::Ended).
    pub fn remove_peer(&mut self, key: &K) {
        if self.peers.remove(key).is_some() {
            self.collect(Family::V4);
            self.collect(Family::V6);
        }
    }

    /// Sends a peer all routes of a family again: [`SessionAction::Refresh`](crate::session::SessionAction::Refresh).
    pub fn handle_refresh(&mut self, key: &K, family: Family) {
        let peer = self.peers.get_mut(key);
        let families = peer.into_iter().flat_map(|peer| &mut peer.families);
        for peer in families.filter(|peer| peer.family == family) {
            peer.handle_refresh();
        }
    }

    /// Returns whole messages to send to a peer next, and notes them as sent; nothing if the peer has all routes. As long as they are not
    /// `is_complete`, because routes are still to be set, a new session gets no End-of-RIB: the peer would drop what it has kept of the
    /// session before (RFC 4724 section 4.2).
    pub fn poll_messages(&mut self, key: &K, is_complete: bool) -> Option<Arc<[u8]>> {
        let peer = self.peers.get_mut(key)?;
        for family in &mut peer.families {
            let table = match family.family {
                Family::V4 => &mut self.v4,
                Family::V6 => &mut self.v6,
            };
            if let Some(bytes) = family.poll(table, peer.marks_refresh, is_complete) {
                return Some(bytes);
            }
        }
        for family in [Family::V4, Family::V6] {
            if self.table_of(family).has_garbage() {
                self.collect(family);
            }
        }
        None
    }

    /// Returns whether [`RibOut::poll_messages`] has something for the peer.
    pub fn has_pending(&self, key: &K) -> bool {
        let mut families = self.peers.get(key).into_iter().flat_map(|peer| &peer.families);
        families.any(|family| family.has_pending(self.table_of(family.family)))
    }

    /// Returns how many prefixes are announced to the peers, whether they were sent or not.
    pub fn wanted(&self) -> usize {
        self.v4.announced() + self.v6.announced()
    }

    /// Returns how many prefixes the peer was sent as they are now; none without a session. It counts those that wait.
    pub fn announced(&self, key: &K) -> usize {
        let families = self.peers.get(key).into_iter().flat_map(|peer| &peer.families);
        families
            .map(|family| {
                let table = self.table_of(family.family);
                table.announced_to(family.group, family.position.sent)
            })
            .sum()
    }

    /// Returns the routes that cannot be sent to the peer, with the reason, as far as it was tried.
    pub fn unsendable(&self, key: &K) -> impl Iterator<Item = (Nlri, UnsendableRoute)> {
        let families = self.peers.get(key).into_iter().flat_map(|peer| &peer.families);
        families.flat_map(move |family| self.table_of(family.family).unsendable(family.group))
    }

    fn intern(&mut self, attributes: PathAttributes) -> Arc<PathAttributes> {
        if let Some(known) = self.attributes.get(&attributes) {
            return Arc::clone(known);
        }
        let new = Arc::new(attributes);
        self.attributes.insert(Arc::clone(&new));
        new
    }

    /// Forgets what no peer has to be told of any more.
    fn collect(&mut self, family: Family) {
        let positions = self.positions(family);
        self.table(family).collect(&positions);
    }

    /// Returns how far the peers are that are sent routes of a family.
    fn positions(&self, family: Family) -> Vec<(UpdateGroup, Position)> {
        let families = self.peers.values().flat_map(|peer| &peer.families);
        families
            .filter(|peer| peer.family == family)
            .map(|peer| (peer.group, peer.position))
            .collect()
    }

    const fn table_of(&self, family: Family) -> &RouteTable {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    const fn table(&mut self, family: Family) -> &mut RouteTable {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

fn end_of_rib(family: Family) -> Arc<[u8]> {
    let mut bytes = Vec::new();
    emit_end_of_rib(&mut bytes, family);
    bytes.into()
}

fn refresh_mark(family: Family, subtype: RefreshSubtype) -> Arc<[u8]> {
    let mut bytes = Vec::new();
    let family = AfiSafi::unicast(family);
    RouteRefresh { family, subtype }.emit(&mut bytes);
    bytes.into()
}
