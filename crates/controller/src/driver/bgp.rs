//! The resources of BGP, of which the controller only says what is wrong, and which pools they announce.

use tracing::warn;

use super::Controller;

impl Controller {
    /// Logs the kinds of BGP that could not be listed although the kinds that allocation needs are.
    pub(super) fn handle_bgp_time(&mut self) {
        let now = self.now();
        if self.listing.is_none() && self.configuration.bgp.handle_time(now) {
            for unlisted in self.configuration.bgp.unlisted() {
                warn!("{unlisted}");
            }
        }
    }

    /// Takes whether the speakers speak BGP.
    pub(crate) fn set_bgp_enabled(&mut self, is_enabled: bool) {
        self.configuration.bgp.set_enabled(is_enabled);
    }

    /// Puts the resources of BGP in force and reports their new problems.
    pub(super) fn apply_bgp(&mut self) {
        let Some(problems) = self.configuration.bgp.apply() else {
            return;
        };
        if let Some(scopes) = self.configuration.bgp.scopes() {
            let is_disabled = self.configuration.bgp.is_disabled();
            self.resources.effects.set_bgp_scopes(scopes, is_disabled);
        }
        let ineffective = self.configuration.bgp.take_newly_ineffective();
        if self.listing.is_none() {
            self.metrics.set_config(true, self.configuration.is_stale());
        }
        for problem in &problems {
            let namespace = self.configuration.namespace();
            warn!(namespace, "failed to parse the configuration: {problem}");
        }
        for event in &ineffective {
            warn!("{}", event.note);
        }
        if self.standing.is_active() {
            let events = problems.iter();
            for event in events.filter_map(|problem| self.configuration.bgp.event(problem)) {
                self.emit(event);
            }
            for event in ineffective {
                self.emit(event);
            }
        }
        self.show_state();
    }
}
