//! What a change would lead to, before it is made.

use super::{BgpCatalog, BgpChange, BgpKind};
use crate::config::Problem;

impl BgpCatalog {
    /// Returns the catalog after a change of one resource, and changes nothing. A resource that this catalog does not know counts as
    /// younger than all others, whatever its creation time.
    pub fn after(&self, mut change: BgpChange) -> Self {
        match &mut change {
            BgpChange::ApplyPeer(raw) if !self.has(BgpKind::Peer, &raw.name) => raw.created = i64::MAX,
            BgpChange::ApplyAdvertisement(raw) if !self.has(BgpKind::Advertisement, &raw.name) => {
                raw.created = i64::MAX;
            }
            BgpChange::ApplyCommunities(raw) if !self.has(BgpKind::Communities, &raw.name) => {
                raw.created = i64::MAX;
            }
            BgpChange::ApplyPeer(_)
            | BgpChange::ApplyAdvertisement(_)
            | BgpChange::ApplyCommunities(_)
            | BgpChange::ApplyBfdProfile(_)
            | BgpChange::ApplySecret(_)
            | BgpChange::Delete(..)
            | BgpChange::DeleteSecret(_) => {}
        }
        let mut after = self.clone();
        after.apply([change]);
        after
    }

    /// Returns the problems of one resource.
    pub fn problems_of(&self, kind: BgpKind, name: &str) -> impl Iterator<Item = &Problem<BgpKind>> {
        let problems = self.problems.iter();
        problems.filter(move |problem| problem.kind == kind && problem.name == name)
    }

    /// Returns whether a resource exists, in force or not.
    pub fn has(&self, kind: BgpKind, name: &str) -> bool {
        match kind {
            BgpKind::Peer => self.peers.0.contains_key(name),
            BgpKind::Advertisement => self.advertisements.0.contains_key(name),
            BgpKind::Communities => self.communities.0.contains_key(name),
            BgpKind::BfdProfile => self.bfd_profiles.0.contains_key(name),
        }
    }

    /// Returns the first peer by name that names a `BFDProfile`, in force or not.
    pub fn peer_with_profile(&self, profile: &str) -> Option<&str> {
        let mut peers = self.peers.0.values();
        let peer = peers.find(|record| record.raw.bfd_profile.as_deref() == Some(profile))?;
        Some(&peer.raw.name)
    }
}
