//! Reviews of changes that are about to be made. Also a standby answers: it knows what the active controller knows.

use super::Controller;
use crate::admission::{ProposedChange, ReviewRequest, review_resource, review_service};

impl Controller {
    /// Answers a review; none before all is listed.
    pub(super) fn review(&mut self, (change, answer): ReviewRequest) {
        if self.listing.is_some() {
            return;
        }
        self.apply_configuration();
        let now = self.now();
        let verdict = match change {
            ProposedChange::Resource { change, keeps_spec } => {
                let (catalog, effects) = (self.configuration.catalog(), &self.resources.effects);
                review_resource(change, keeps_spec, catalog, effects, &self.reconciler)
            }
            ProposedChange::Service { service, deprecated } => {
                review_service(&service, deprecated, &mut self.reconciler, now)
            }
        };
        // Fails only when the client is gone.
        let _gone = answer.send(verdict);
    }
}
