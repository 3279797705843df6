//! Peers that move from one [`RibOut`] to another: because they are to have other routes from now on, or the same again.

use alloc::collections::BTreeSet;

use herald_core::Family;

use super::RibOut;
use crate::wire::{Nlri, PathAttributes};

impl<K: Ord + Clone> RibOut<K> {
    /// Returns the attributes of a prefix that is announced.
    pub(crate) fn route(&self, nlri: Nlri) -> Option<&PathAttributes> {
        self.table_of(nlri.family()).route(nlri)
    }

    /// Returns whether both announce the same.
    pub(crate) fn has_same_routes(&self, other: &Self) -> bool {
        let families = [Family::V4, Family::V6].into_iter();
        families
            .map(|family| (self.table_of(family), other.table_of(family)))
            .all(|(own, others)| own.has_same_routes(others))
    }

    /// Moves peers into another value with the same routes. What they were sent stays as it is.
    pub(crate) fn split_off(&mut self, keys: &BTreeSet<K>) -> Self {
        let mut other = Self::default();
        other.v4 = self.v4.copy(|attributes| other.intern(attributes.clone()));
        other.v6 = self.v6.copy(|attributes| other.intern(attributes.clone()));
        for key in keys {
            if let Some((key, peer)) = self.peers.remove_entry(key) {
                other.peers.insert(key, peer);
            }
        }
        for rib in [self, &mut other] {
            rib.collect(Family::V4);
            rib.collect(Family::V6);
        }
        other
    }

    /// Takes over a peer of another value with the same routes. Returns whether that could be: not while the other has something to
    /// send to it.
    pub(crate) fn take_over(&mut self, key: &K, other: &mut Self) -> bool {
        if other.has_pending(key) {
            return false;
        }
        let Some(mut peer) = other.peers.remove(key) else {
            // It has no session.
            return true;
        };
        for family in &mut peer.families {
            let unsendable = other.table_of(family.family).unsendable(family.group);
            family.position = self.table(family.family).join(family.group, unsendable);
        }
        self.peers.insert(key.clone(), peer);
        self.group_changes += 1;
        other.collect(Family::V4);
        other.collect(Family::V6);
        true
    }
}
