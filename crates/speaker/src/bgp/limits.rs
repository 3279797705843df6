//! What the session with a peer cannot have, as it was reported last.

use std::sync::Arc;

use herald_bgp::ribs_out::{LimitsVersion, RibsOut};
use herald_core::announce::bgp::SessionLimits;

#[derive(Debug, Default)]
pub(super) struct ReportedLimits {
    /// When the limits were read.
    version: Option<LimitsVersion>,
    /// Whether all routes had been tried then.
    is_complete: bool,
    limits: Option<SessionLimits>,
}

impl ReportedLimits {
    /// Returns the limits of the session, if they are others than before. Without a session they stay as they are, and the prefixes that
    /// were too long are so until all routes were tried: at a new session they are not shown as announced for a moment.
    pub(super) fn poll(&mut self, peer: &Arc<str>, routes: &RibsOut) -> Option<SessionLimits> {
        let version = routes.limits_version(peer);
        let is_complete = !routes.has_pending(peer);
        if (self.version, self.is_complete) == (version, is_complete) {
            return None;
        }
        (self.version, self.is_complete) = (version, is_complete);
        let mut limits = routes.limits(peer)?;
        if let Some(before) = self.limits.as_ref().filter(|_| !is_complete) {
            limits.too_long.extend(&before.too_long);
        }
        if self.limits.as_ref() == Some(&limits) {
            return None;
        }
        self.limits = Some(limits.clone());
        Some(limits)
    }
}
