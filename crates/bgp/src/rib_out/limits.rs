//! The routes that peers cannot be sent.

use herald_core::Family;
use herald_core::announce::bgp::{FamilyLimit, SessionLimits};

use super::RibOut;
use crate::wire::update::UnsendableRoute;

impl<K: Ord> RibOut<K> {
    /// Returns what a peer cannot be sent; nothing without a session. Which routes are too long is known as far as it was tried.
    pub fn limits(&self, key: &K) -> Option<SessionLimits> {
        let peer = self.peers.get(key)?;
        let of = |family: Family| {
            let Some(peer) = peer.families.iter().find(|peer| peer.family == family) else {
                return Some(FamilyLimit::NotNegotiated);
            };
            (!peer.group.has_next_hop(family)).then_some(FamilyLimit::NoNextHop)
        };
        let unsendable = self.unsendable(key);
        let too_long = unsendable.filter(|(_, reason)| matches!(reason, UnsendableRoute::TooLong(_)));
        Some(SessionLimits {
            v4: of(Family::V4),
            v6: of(Family::V6),
            too_long: too_long.map(|(nlri, _)| nlri.prefix()).collect(),
        })
    }

    /// Returns how often the limits of a peer may have changed. The number only grows.
    pub fn limit_changes(&self) -> u64 {
        self.group_changes + self.v4.limit_changes() + self.v6.limit_changes()
    }

    /// Returns how many prefixes a peer is to have and can be sent, as far as it was tried. Without a session, those are all.
    pub fn sendable(&self, key: &K) -> usize {
        let Some(peer) = self.peers.get(key) else {
            return self.wanted();
        };
        let families = peer.families.iter();
        families
            .map(|family| self.table_of(family.family).sendable_to(family.group))
            .sum()
    }
}
