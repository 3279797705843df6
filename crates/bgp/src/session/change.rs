//! A configuration that replaces another, with as little loss as the protocol allows.

use core::mem;

use herald_core::Time;

use super::{BgpSession, SessionConfig, SessionEnd, SessionState};

impl BgpSession {
    /// Replaces the configuration. What the peer was told in the OPEN and cannot be told otherwise takes a new session: AS number,
    /// identifier and families. The pause between KEEPALIVE messages changes in the session. Hold time and graceful restart are those of the
    /// next session.
    pub fn set_config(&mut self, config: SessionConfig, now: Time) {
        if config == self.config {
            return;
        }
        let before = mem::replace(&mut self.config, config);
        self.timers.set_retry(self.config.connect_retry);
        match self.state {
            SessionState::Idle | SessionState::Connect => {}
            // What made attempts fail may be mended.
            SessionState::Active => self.handle_peer_heard(now),
            // The peer may have read the OPEN, and the answer has to fit it.
            SessionState::OpenSent => {
                if before.open(self.is_first) != self.config.open(self.is_first) {
                    self.reset(now);
                }
            }
            SessionState::OpenConfirm | SessionState::Established => {
                if self.needs_new_session(&before) {
                    self.reset(now);
                } else {
                    self.change_keepalive(now);
                }
            }
        }
    }

    /// Ends the session, or the attempt at one, and tries again at once: the connection has to be another one.
    pub fn reset(&mut self, now: Time) {
        if self.state == SessionState::Idle {
            return;
        }
        self.timers.set_retry(self.config.connect_retry);
        self.stop(SessionEnd::Reconfigured, now);
        self.start(now);
    }

    fn needs_new_session(&self, before: &SessionConfig) -> bool {
        let is_peer_expected = self
            .negotiated
            .as_ref()
            .map(|both| self.config.expects(both.peer_asn));
        before.local_asn != self.config.local_asn
            || before.identifier != self.config.identifier
            || before.families != self.config.families
            || before.extended_next_hop != self.config.extended_next_hop
            || is_peer_expected == Some(false)
    }

    fn change_keepalive(&mut self, now: Time) {
        let Some(negotiated) = &mut self.negotiated else {
            return;
        };
        let keepalive = self.config.keepalive_within(negotiated.hold_time);
        if negotiated.keepalive != keepalive {
            negotiated.keepalive = keepalive;
            self.timers.change_keepalive(keepalive, now);
        }
    }
}
