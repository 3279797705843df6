//! What peers cannot be sent.

use alloc::sync::Arc;

use herald_core::announce::bgp::SessionLimits;

use super::{RibsOut, SharedRib};

/// When the limits of a peer were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsVersion {
    place: u64,
    changes: u64,
}

impl RibsOut {
    /// Returns what a peer cannot be sent; nothing without a session. Which routes are too long is known as far as it was tried.
    pub fn limits(&self, peer: &Arc<str>) -> Option<SessionLimits> {
        self.shared(peer)?.rib.limits(peer)
    }

    /// Returns whether something waits to be sent to a peer in its session, or is not settled: as long as that is so, it was not tried
    /// which routes are too long.
    pub fn has_pending(&self, peer: &Arc<str>) -> bool {
        let is_unsent = |shared: &SharedRib| shared.rib.has_pending(peer);
        !self.is_settled(peer) || self.shared(peer).is_some_and(is_unsent)
    }

    /// Returns a value that changes whenever [`Self::limits`] may return something else.
    pub fn limits_version(&self, peer: &Arc<str>) -> Option<LimitsVersion> {
        let place = *self.places.get(peer)?;
        let changes = self.ribs.get(&place)?.rib.limit_changes();
        Some(LimitsVersion { place, changes })
    }
}
