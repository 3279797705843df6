//! What the session with a peer cannot have, as it was reported last.

use std::sync::Arc;

use herald_bgp::ribs_out::{LimitsVersion, RibsOut};
use herald_core::announce::bgp::SessionLimits;

#[derive(Debug, Default)]
pub(super) struct ReportedLimits {
    /// When the limits were read.
    version: Option<LimitsVersion>,
    limits: Option<SessionLimits>,
}

impl ReportedLimits {
    /// Returns the limits of the session, if they are others than before. Without a session they stay as they are.
    pub(super) fn poll(&mut self, peer: &Arc<str>, routes: &RibsOut) -> Option<SessionLimits> {
        let version = routes.limits_version(peer);
        if self.version == version {
            return None;
        }
        self.version = version;
        let limits = routes.limits(peer)?;
        if self.limits.as_ref() == Some(&limits) {
            return None;
        }
        self.limits = Some(limits.clone());
        Some(limits)
    }
}
