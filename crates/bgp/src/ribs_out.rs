//! The routes of all peers, by their names. Peers that are to have the same routes share one [`RibOut`]: its routes are in memory
//! once, and encoded once for all peers of an update group.
//!
//! ```text
//!   set_route(peer, ...)                       start_session, end_session, poll_messages
//!            |                                                  |
//!            v                  all peers agree                 v
//!     what some peers differ in --------------> RibOut <----- its peers
//!            |                                    ^
//!            +---- still so after a moment ----> split off, until both are the same again
//! ```
//!
//! Routes arrive peer by peer, so the peers of a `RibOut` differ for a moment whenever a route of all of them changes. A change that
//! all of them have takes effect at once. If some have not got it after [`DIFFERENCE_LASTS`], those that differ get a `RibOut` of their
//! own. A peer that has been sent everything joins another one with the same routes.

mod limits;

#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use herald_core::announce::bgp::{RouteAttributes, RouteChange};
use herald_core::{Family, Time};

use crate::rib_out::{NextHops, RibOut};
use crate::session::Negotiated;
use crate::wire::{AsPath, Nlri, Origin, PathAttributes};
pub use limits::LimitsVersion;

/// How long peers may differ before they are split: the changes of one decision arrive within this time.
pub const DIFFERENCE_LASTS: Duration = Duration::from_millis(5);

/// The changes that some peers of a [`RibOut`] have and others have not.
type Differences = BTreeMap<Nlri, BTreeMap<Arc<str>, Option<PathAttributes>>>;
/// What a peer differs in.
type Difference = BTreeMap<Nlri, Option<PathAttributes>>;

/// Peers with the same routes, but for what they differ in.
#[derive(Debug, Default)]
struct SharedRib {
    rib: RibOut<Arc<str>>,
    peers: BTreeSet<Arc<str>>,
    differences: Differences,
}

/// The routes of all peers. Exactly one task owns it.
#[derive(Debug, Default)]
pub struct RibsOut {
    ribs: BTreeMap<u64, SharedRib>,
    /// The place of each peer among them.
    places: BTreeMap<Arc<str>, u64>,
    next_place: u64,
    /// The peers that are to be forgotten once they have no routes.
    leaving: BTreeSet<Arc<str>>,
    /// When peers that differ are split.
    due: Option<Time>,
    /// Whether changes of a decision are still to come.
    is_deciding: bool,
}

impl RibsOut {
    /// Notes that the changes of a decision follow. Until its end no new session gets End-of-RIB.
    pub const fn begin_decision(&mut self) {
        self.is_deciding = true;
    }

    /// Notes that all changes of a decision were there.
    pub const fn end_decision(&mut self) {
        self.is_deciding = false;
    }

    /// Announces a prefix to a peer, or withdraws it; before the peer has a session, and before it is known otherwise, too.
    ///
    /// # Panics
    /// If the prefix is longer than its family allows.
    pub fn set_route(&mut self, change: RouteChange, now: Time) {
        let prefix = change.prefix;
        let nlri = Nlri::new(prefix.address, prefix.length).expect("a prefix has a length of its family");
        if change.attributes.is_none() && !self.places.contains_key(&change.peer) {
            return;
        }
        let place = self.place_of(&change.peer);
        let Some(shared) = self.ribs.get_mut(&place) else {
            return;
        };
        shared.set_route(change.peer, nlri, change.attributes.map(path_attributes));
        if !shared.differences.is_empty() {
            self.due.get_or_insert(now + DIFFERENCE_LASTS);
        } else if self.due.is_some() && self.ribs.values().all(|shared| shared.differences.is_empty()) {
            self.due = None;
        }
        if !self.leaving.is_empty() {
            self.forget_leaving();
        }
    }

    /// Adds a peer, if it is not known. Those that are added before any of them has routes share them from the first on.
    pub fn add_peer(&mut self, peer: &Arc<str>) {
        self.leaving.remove(peer);
        self.place_of(peer);
    }

    /// Starts to send a peer its routes, of which it has none: [`SessionAction::Up`](crate::session::SessionAction::Up).
    pub fn start_session(&mut self, peer: &Arc<str>, negotiated: &Negotiated, next_hops: NextHops) {
        self.end_session(peer);
        self.leaving.remove(peer);
        self.join(peer);
        let place = self.place_of(peer);
        if let Some(shared) = self.ribs.get_mut(&place) {
            shared.rib.add_peer(Arc::clone(peer), negotiated, next_hops);
        }
    }

    /// Notes that the session with a peer is over. What it is to have stays.
    pub fn end_session(&mut self, peer: &Arc<str>) {
        if let Some(shared) = self.shared_mut(peer) {
            shared.rib.remove_peer(peer);
        }
    }

    /// Forgets a peer without a session, now or as soon as it has no routes.
    pub fn forget(&mut self, peer: &Arc<str>) {
        if self.places.contains_key(peer) {
            self.end_session(peer);
            self.leaving.insert(Arc::clone(peer));
            self.forget_leaving();
        }
    }

    /// Forgets those of the peers that leave which have no routes any more.
    fn forget_leaving(&mut self) {
        let shared = |peer: &Arc<str>| self.ribs.get(self.places.get(peer)?);
        let gone = self.leaving.iter().filter(|peer| {
            shared(peer).is_none_or(|shared| {
                let mut differences = shared.differences.values();
                shared.rib.wanted() == 0 && !differences.any(|peers| peers.contains_key(*peer))
            })
        });
        for peer in gone.cloned().collect::<Vec<_>>() {
            self.leaving.remove(&peer);
            self.leave(&peer);
        }
    }

    /// Replaces the next hops of a peer as [`RibOut::set_next_hops`] does.
    pub fn set_next_hops(&mut self, peer: &Arc<str>, negotiated: &Negotiated, next_hops: NextHops) {
        if let Some(shared) = self.shared_mut(peer) {
            shared.rib.set_next_hops(peer, negotiated, next_hops);
        }
    }

    /// Sends a peer all routes of a family again.
    pub fn handle_refresh(&mut self, peer: &Arc<str>, family: Family) {
        if let Some(shared) = self.shared_mut(peer) {
            shared.rib.handle_refresh(peer, family);
        }
    }

    /// Returns whole messages to send to a peer next, and notes them as sent; nothing if the peer has all routes. A new session gets
    /// End-of-RIB only when its routes are settled.
    pub fn poll_messages(&mut self, peer: &Arc<str>) -> Option<Arc<[u8]>> {
        let is_settled = self.is_settled(peer);
        let messages = self.shared_mut(peer)?.rib.poll_messages(peer, is_settled);
        if messages.is_none() {
            self.join(peer);
        }
        messages
    }

    /// Splits peers that still differ.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            let places: BTreeSet<u64> = self.ribs.keys().copied().collect();
            for place in places {
                self.split(place);
            }
            self.forget_leaving();
        }
    }

    /// Returns whether no change of a decision is still to come, and none of a peer waits for the same change of others.
    pub fn is_settled(&self, peer: &Arc<str>) -> bool {
        let shared = self.shared(peer);
        !self.is_deciding && shared.is_none_or(|shared| shared.differences.is_empty())
    }

    /// Returns when [`RibsOut::handle_timeout`] is due.
    pub const fn poll_timeout(&self) -> Option<Time> {
        self.due
    }

    /// Returns how many prefixes a peer is to have and can be sent, but for changes that came just now.
    pub fn sendable(&self, peer: &Arc<str>) -> usize {
        self.shared(peer).map_or(0, |shared| shared.rib.sendable(peer))
    }

    /// Returns how many prefixes a peer is to have but cannot be sent; none without a session.
    pub fn unsendable(&self, peer: &Arc<str>) -> usize {
        let unsendable = |shared: &SharedRib| shared.rib.wanted() - shared.rib.sendable(peer);
        self.shared(peer).map_or(0, unsendable)
    }

    /// Returns how many prefixes a peer was sent in this session as they are now. It counts those that wait to be sent.
    pub fn announced(&self, peer: &Arc<str>) -> usize {
        self.shared(peer).map_or(0, |shared| shared.rib.announced(peer))
    }

    fn shared(&self, peer: &Arc<str>) -> Option<&SharedRib> {
        self.ribs.get(self.places.get(peer)?)
    }

    fn shared_mut(&mut self, peer: &Arc<str>) -> Option<&mut SharedRib> {
        self.ribs.get_mut(self.places.get(peer)?)
    }

    /// Returns the place of a peer. A new peer shares that of peers without routes.
    fn place_of(&mut self, peer: &Arc<str>) -> u64 {
        if let Some(place) = self.places.get(peer) {
            return *place;
        }
        let empty = self.ribs.iter().find(|(_, shared)| shared.is_empty());
        let place = match empty.map(|(place, _)| *place) {
            Some(place) => place,
            None => self.insert(SharedRib::default()),
        };
        self.enter(peer, place);
        place
    }

    fn insert(&mut self, shared: SharedRib) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        self.ribs.insert(place, shared);
        place
    }

    fn enter(&mut self, peer: &Arc<str>, place: u64) {
        self.places.insert(Arc::clone(peer), place);
        if let Some(shared) = self.ribs.get_mut(&place) {
            shared.peers.insert(Arc::clone(peer));
        }
    }

    /// Takes a peer out of its place, which ends with its last peer.
    fn leave(&mut self, peer: &Arc<str>) {
        let Some(place) = self.places.remove(peer) else {
            return;
        };
        if let Some(shared) = self.ribs.get_mut(&place) {
            shared.peers.remove(peer);
            if shared.peers.is_empty() {
                self.ribs.remove(&place);
            }
        }
    }

    /// Moves a peer that has been sent everything, or has no session, to the first place with the same routes. So all peers that
    /// are to have them come together.
    fn join(&mut self, peer: &Arc<str>) {
        let Some(before) = self.places.get(peer).copied() else {
            return;
        };
        let Some(after) = self.place_with_same_routes(before) else {
            return;
        };
        let Some(mut own) = self.ribs.remove(&before) else {
            return;
        };
        if let Some(shared) = self.ribs.get_mut(&after)
            && shared.rib.take_over(peer, &mut own.rib)
        {
            own.peers.remove(peer);
            self.enter(peer, after);
        }
        if !own.peers.is_empty() {
            self.ribs.insert(before, own);
        }
    }

    fn place_with_same_routes(&self, place: u64) -> Option<u64> {
        let own = self.ribs.get(&place).filter(|own| own.differences.is_empty())?;
        let mut others = self.ribs.range(..place);
        let is_same = |other: &SharedRib| other.differences.is_empty() && other.rib.has_same_routes(&own.rib);
        others.find(|(_, other)| is_same(other)).map(|(place, _)| *place)
    }

    /// Gives peers that differ from most others a place of their own, together with those that differ in the same.
    fn split(&mut self, place: u64) {
        let Some(shared) = self.ribs.get_mut(&place) else {
            return;
        };
        if shared.differences.is_empty() {
            return;
        }
        let (common, others) = shared.take_differences();
        let mut split = Vec::new();
        for (difference, peers) in others {
            let mut rib = shared.rib.split_off(&peers);
            apply(&mut rib, difference);
            shared.peers.retain(|peer| !peers.contains(peer));
            split.push((rib, peers));
        }
        apply(&mut shared.rib, common);
        for (rib, peers) in split {
            let place = self.insert(SharedRib {
                rib,
                ..SharedRib::default()
            });
            for peer in &peers {
                self.enter(peer, place);
            }
        }
    }
}

fn apply(rib: &mut RibOut<Arc<str>>, difference: Difference) {
    for (nlri, attributes) in difference {
        rib.set_route(nlri, attributes);
    }
}

impl SharedRib {
    /// Returns whether peers without routes may be added.
    fn is_empty(&self) -> bool {
        self.rib.wanted() == 0 && self.differences.is_empty()
    }

    fn set_route(&mut self, peer: Arc<str>, nlri: Nlri, attributes: Option<PathAttributes>) {
        if self.peers.len() == 1 && self.differences.is_empty() {
            self.rib.set_route(nlri, attributes);
            return;
        }
        let is_difference = self.rib.route(nlri) != attributes.as_ref();
        let peers = self.differences.entry(nlri).or_default();
        if is_difference {
            peers.insert(peer, attributes);
        } else {
            peers.remove(&peer);
        }
        let is_agreed = peers.len() == self.peers.len() && {
            let mut all = peers.values();
            let first = all.next();
            all.all(|other| Some(other) == first)
        };
        if is_agreed || peers.is_empty() {
            let agreed = self.differences.remove(&nlri);
            if let Some((_, attributes)) = agreed.and_then(|mut peers| peers.pop_first()) {
                self.rib.set_route(nlri, attributes);
            }
        }
    }

    /// Takes what peers differ in: what most of them have, and the others with what they have.
    fn take_differences(&mut self) -> (Difference, BTreeMap<Difference, BTreeSet<Arc<str>>>) {
        let mut of_peer = BTreeMap::<Arc<str>, Difference>::new();
        for (nlri, peers) in core::mem::take(&mut self.differences) {
            for (peer, attributes) in peers {
                of_peer.entry(peer).or_default().insert(nlri, attributes);
            }
        }
        let mut alike = BTreeMap::<Difference, BTreeSet<Arc<str>>>::new();
        for peer in &self.peers {
            let difference = of_peer.remove(peer).unwrap_or_default();
            alike.entry(difference).or_default().insert(Arc::clone(peer));
        }
        let most = alike.iter().max_by_key(|(_, peers)| peers.len());
        let most = most.map(|(difference, _)| difference.clone()).unwrap_or_default();
        alike.remove(&most);
        (most, alike)
    }
}

fn path_attributes(route: RouteAttributes) -> PathAttributes {
    PathAttributes {
        origin: Origin::Igp,
        as_path: AsPath::default(),
        med: route.med,
        local_pref: route.local_pref,
        communities: route.communities.standard.into_iter().collect(),
        large_communities: route.communities.large.into_iter().collect(),
    }
}
